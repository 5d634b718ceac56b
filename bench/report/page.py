"""Numbers -> pages: `README.md` and `table.csv` of a board, the same bytes on every machine.

A page is a pure function of the board and its records. It holds no date, no seconds and no name
of a machine, so that a regenerated page differs only where a result does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.records.result import Result
from bench.report import (
    agreement,
    composite,
    costs,
    csv,
    gains,
    latex,
    markdown,
    matched,
    part,
    pictures,
    published,
    relations,
    results,
    summary,
)
from bench.report.figures import behind_figures, by_figure, rows_of, tidy
from bench.report.model import (
    MISSING,
    Block,
    Code,
    Frame,
    Items,
    Page,
    Paragraph,
    Section,
    Span,
    Words,
)
from bench.report.numbers import Board, on_board, on_one_scale, scales
from bench.report.published import InPrint
from bench.report.standing import standings, with_standings
from bench.tracks import TRACKS

NOTHING = InPrint()


def build(
    board: Board,
    records: Iterable[Result],
    in_print: InPrint = NOTHING,
    faults: Sequence[str] = (),
    version: str = "",
) -> Page:
    """The page of a board; `faults` are lines of its records that could not be read, `version` is
    that of those that could."""
    shown = relations.flagged(on_one_scale(board, on_board(board, records)))
    scale = scales(board, shown)
    behind = behind_figures(board, shown)
    stand = standings(board, shown, scale, behind)
    table = with_standings(tidy(board, shown, behind), stand)
    figures = by_figure(table)
    measured = results.sections(board, shown, figures, scale)
    return Page(
        board.title,
        (
            *_introduction(board, version),
            *_left_out(faults),
            *(() if measured else [Paragraph(("No records yet.",))]),
        ),
        (*matched.section(board, in_print.values, table), *measured),
        (
            *gains.sections(board, shown),
            *agreement.sections(board, shown),
            *composite.sections(board, shown, table),
            *published.sections(in_print.tables),
            *costs.sections(board, shown),
            *pictures.sections(board, shown),
            *_components(board, shown),
        ),
        _frame(table),
        (
            *_first_lines(board, shown),
            *summary.blocks(board, shown, figures, scale, stand),
            *part.blocks(board, shown, scale),
        ),
    )


def files(page: Page) -> dict[str, str]:
    """The files of a page, by name."""
    tables = {"table.csv": csv.rendered(page.figures), "table.tex": latex.rendered(page)}
    return {"README.md": markdown.rendered(page), **tables}


def check(folder: Path, files: Mapping[str, str]) -> list[str]:
    """The names of the files that are missing in `folder` or hold anything else."""
    return [
        name
        for name, text in files.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode()
    ]


def _first_lines(board: Board, records: Iterable[Result]) -> tuple[Block, ...]:
    """What the board asks, at which scale, and what has to be known before any figure is read."""
    frozen = (Paragraph((Span("Frozen", "strong"), f": {board.frozen}")),) if board.frozen else ()
    said = " ".join(filter(None, (board.question, board.scale and f"Scale: {board.scale}.")))
    return (*frozen, *_partial(records), *([Paragraph((said,))] if said else []))


def _introduction(board: Board, version: str) -> tuple[Block, ...]:
    n = len(board.seeds)
    spread = (
        f"Figures are means; ± is the standard deviation over n = {n} seeds."
        if n > 1
        else "Every figure is of one seed."
    )
    made_from = (
        *("Generated from ", Span("matrix.toml", "code"), " and ", Span("records/", "code")),
        *((", version ", Span(version, "code")) if version else ()),
        "; edits here are overwritten. In this folder:",
    )
    commands = (
        "bench run .  # measure the cells that are missing\n"
        "bench run . --methods NAME --missing  # add a row\n"
        "bench leaderboard .  # rebuild this page, table.csv and table.tex\n"
        "bench site OUT .  # everything as HTML: plots, pictures, tables that sort"
    )
    legend: tuple[Words, ...] = (
        ("IPC: images per class. Images, Bytes: what the condensed set weighs.",),
        (f"{MISSING}: not measured. n/a: declined, for the reason in the footnote.",),
    )
    return (Paragraph(made_from), Code(commands, "sh"), Paragraph((spread,)), Items(legend))


def _partial(records: Iterable[Result]) -> tuple[Block, ...]:
    """Which figures are not those of the data that their names stand for."""
    said = sorted({(r.dataset, r.data["partial"]) for r in records if "partial" in r.data})
    return tuple(
        Paragraph((Span("Partial data", "strong"), f": {name} is {read} here."))
        for name, read in said
    )


def _left_out(faults: Sequence[str]) -> tuple[Block, ...]:
    """What the page lacks: cells whose lines are no records."""
    said = "Left out, since these lines could not be read; mend or delete them:"
    return (Paragraph((said,)), Items(tuple((fault,) for fault in faults))) if faults else ()


def _components(board: Board, records: Iterable[Result]) -> tuple[Section, ...]:
    """What the components of the tables are: the first lines of their docstrings."""
    order = {
        "method": board.every_method,
        "attack": board.attacks,
        "sampler": board.samplers,
        "architecture": board.architectures,
        "dataset": board.datasets,
    }
    about: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        for kind, text in record.about.items():
            if kind in TRACKS[board.track].coordinate and text:
                about[kind, getattr(record, kind)].add(text)
    items: list[Words] = [
        (f"{kind} ", Span(name, "strong"), f": {' / '.join(sorted(about[kind, name]))}")
        for kind, names in order.items()
        for name in names
        if (kind, name) in about
    ]
    return (Section("Components", (Items(tuple(items)),)),) if items else ()


def _frame(table: pd.DataFrame) -> Frame:
    """Every figure; what pandas knows as not a number is not known."""
    rows = (tuple(None if v != v else v for v in row) for row in rows_of(table))
    return Frame(tuple(table.columns), tuple(rows))
