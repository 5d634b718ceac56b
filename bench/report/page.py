"""Numbers -> pages: `README.md` and `table.csv` of a board, the same bytes on every machine.

A page is a pure function of the board and its records. It holds no date, no seconds and no name
of a machine, so that a regenerated page differs only where a result does.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.records.files import write_text
from bench.records.record import Scale
from bench.records.result import Result
from bench.report import costs, pictures, published, relations
from bench.report.consistency import (
    LOOKED,
    OF_COLUMN,
    OF_TABLE,
    inconsistencies,
    recipe_of,
    typical,
    unusual,
)
from bench.report.markdown import escaped
from bench.report.markdown import table as markdown_table
from bench.report.numbers import (
    Board,
    ball,
    best,
    columns,
    display,
    on_board,
    on_one_scale,
    scales,
    tidy,
)
from bench.tracks import TRACKS

Cells = Mapping[tuple[int, str, str], Any]
"""What is known of the cells of one table, by (ipc, method, column)."""

MISSING = "–"
UNKNOWN = Scale(better="neither")  # of a metric without a figure


def render(
    board: Board,
    records: Sequence[Result],
    in_print: tuple[published.Table, ...] = (),
    faults: Sequence[str] = (),
) -> dict[str, str]:
    """The files of a board, by name; `faults` are lines of records that could not be read."""
    shown = relations.flagged(on_one_scale(board, on_board(board, records)))
    table = tidy(board, shown)
    csv = table.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    lines = [
        *_head(board),
        *_left_out(faults),
        *(_tables(board, shown, table) or ["No records yet.", ""]),
        *published.section(in_print),
        *costs.section(board, shown),
        *pictures.section(board, shown),
        *_components(board, shown),
    ]
    return {"README.md": "\n".join(lines).rstrip("\n") + "\n", "table.csv": csv}


def check(folder: Path, files: Mapping[str, str]) -> list[str]:
    """The names of the files that are missing in `folder` or hold anything else."""
    return [
        name
        for name, text in files.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode()
    ]


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write files, each atomically; those whose bytes stay the same are not touched."""
    for name, text in files.items():
        write_text(folder / name, text)


def _head(board: Board) -> list[str]:
    n = len(board.seeds)
    spread = (
        f"Figures are means; ± is the standard deviation over n = {n} seeds; no claim of "
        "significance is made."
        if n > 1
        else "Every figure is of one seed; no claim of significance is made."
    )
    return [
        f"# {escaped(board.title)}",
        "",
        "Generated from `matrix.toml` and `records/`; edits here are overwritten. In this folder:",
        "",
        "```sh",
        "bench run .          # measure the cells that are missing",
        "bench leaderboard .  # rebuild this page and table.csv",
        "```",
        "",
        spread,
        "",
        "- IPC: images per class. Images, Bytes: what the condensed set weighs.",
        "- **Bold**: the best of its IPC as displayed. Ties share it; the full set is left out.",
        "- *Italics*: controls.",
        f"- {MISSING}: not measured. n/a: declined, for the reason in the footnote.",
        "",
    ]


def _left_out(faults: Sequence[str]) -> list[str]:
    """What the page lacks: cells whose lines are no records."""
    said = "Left out, since these lines could not be read; mend or delete them:"
    return [said, "", *(f"- {escaped(fault)}" for fault in faults), ""] if faults else []


def _tables(board: Board, records: Sequence[Result], table: pd.DataFrame) -> list[str]:
    """The sections of all metrics; empty if there is nothing to show."""
    scale = scales(board, records)
    table = table.assign(best=best(table, scale))
    measured: dict[tuple[str, ...], dict[tuple[int, str, str], Any]] = defaultdict(dict)
    for row in table.to_dict("records"):
        place = (row["metric"], row["dataset"], row["architecture"], row["labels"])
        measured[place][row["ipc"], row["method"], row["column"]] = row
    evidence: dict[tuple[str, ...], dict[tuple[int, str, str], list[Result]]] = {}
    for record in records:
        section_of = (record.dataset, record.architecture, record.labels)
        cell = (record.ipc, record.method, record.column)
        evidence.setdefault(section_of, defaultdict(list))[cell].append(record)
    of_dataset = columns(board, records)
    usual = {place: typical(_measured(found)) for place, found in evidence.items()}
    odd = {
        id(record): unusual(record, usual[place])
        for place, found in evidence.items()
        for record in _measured(found)
    }

    lines = []
    for metric in board.metrics:
        section = []
        for dataset, architecture, labels in (
            (d, a, r) for d in board.datasets for a in board.architectures for r in board.labels
        ):
            cells = measured.get((metric, dataset, architecture, labels), {})
            found = evidence.get((dataset, architecture, labels), {})
            asked = metric == board.metrics[0] or _declined(found, metric)
            if not cells and not (found and asked):
                continue
            said = f" · {labels} labels" if board.attacks else ""  # a denoiser is told a class
            section += [f"### {dataset} · {architecture}{said}", ""]
            filled = {column for _, _, column in cells}
            heads = {
                column: attacks
                for column, attacks in of_dataset[dataset].items()
                if column in board.columns or column in filled
            }
            shared = usual.get((dataset, architecture, labels), {})
            section += _table(
                board, metric, heads, cells, found, scale.get(metric, UNKNOWN), shared, odd
            )
        if section:
            looked = {u[LOOKED + metric] for u in usual.values() if LOOKED + metric in u}
            lines += [f"## {_heading(metric, scale.get(metric, UNKNOWN), looked)}", "", *section]
    return lines


def _declined(found: Mapping[tuple[int, str, str], list[Result]], metric: str) -> bool:
    return any(metric in r.refused for group in found.values() for r in group)


def _measured(found: Mapping[tuple[int, str, str], list[Result]]) -> list[Result]:
    return [r for group in found.values() for r in group if r.ok]


def _heading(metric: str, scale: Scale, looked: Iterable[str]) -> str:
    """A metric by its full name: what looks at the images for it is part of that."""
    unit = ", in percent" if scale.rate else ""
    named = f"{metric}-{' / '.join(sorted(looked))}" if looked else metric
    better = "" if scale.better == "neither" else f" ({scale.better} is better)"
    return f"{named}{unit}{better}"


def _table(
    board: Board,
    metric: str,
    heads: Mapping[str, tuple[str, ...]],
    cells: Cells,
    found: Mapping[tuple[int, str, str], list[Result]],
    scale: Scale,
    usual: Mapping[str, Any],
    odd: Mapping[int, Mapping[str, Any]],
) -> list[str]:
    """Caption, table and footnotes of one metric, data set, architecture and regime of labels.

    `heads` are the columns and their attacks, several in a robust one; `cells` are the rows of
    `tidy`, `found` all records; `usual` is what they share, `odd` where they do not.
    """
    notes: dict[str, int] = {}

    def mark(texts: Iterable[str]) -> str:
        return "".join(f" [{notes.setdefault(text, len(notes) + 1)}]" for text in texts)

    records = [record for group in found.values() for record in group]
    header = ["IPC", "Method", "Images", "Bytes"]
    varies = set()
    for column, attacks in heads.items():
        if column not in board.columns:
            texts = [f"share of the images that are right under all of {', '.join(attacks)}"]
        else:
            ran = (r for r in records if r.column == column and r.ok)
            settings = {_attack(r) for r in ran if not {*OF_COLUMN}.isdisjoint(r.about)}
            if len(settings) > 1:
                varies.add(column)
            texts = _distinct(settings) if column not in varies else []
        header.append(column + mark(texts))

    rows = []
    last = None
    present = {(ipc, method) for ipc, method, _ in found}
    absent = [row for row in _rows(board) if row not in present]
    for ipc, method in (row for row in _rows(board) if row in present):
        line = [record for column in heads for record in found.get((ipc, method, column), ())]
        of_row = [cells[ipc, method, column] for column in heads if (ipc, method, column) in cells]
        of_method = _distinct(
            ", ".join(_settings(record.parameters, _of_method(record))) for record in line
        )
        rows.append(
            [
                "" if ipc == last else str(ipc) if ipc else "full set",
                (f"*{method}*" if board.role(method) == "control" else method) + mark(of_method),
                f"{of_row[0]['size']:,}" if of_row else MISSING,
                f"{of_row[0]['bytes']:,}" if of_row else MISSING,
            ]
        )
        last = ipc
        for column, attacks in heads.items():
            cell = cells.get((ipc, method, column))
            group = found.get((ipc, method, column), [])
            reasons = _reasons(group, metric)
            text = _cell(cell, scale) if cell else "n/a" if reasons else MISSING
            remarks = _remarks(board, cell, group, column in varies)
            if cell:
                behind = {attack: found.get((ipc, method, attack), []) for attack in attacks}
                remarks += inconsistencies(metric, [_with(metric, g) for g in behind.values()], odd)
            if cell and column not in board.columns:
                remarks += _of_ball(behind)
            rows[-1].append(text + mark([*reasons, *remarks]))

    return [
        _caption(board, cells, records, usual),
        "",
        *markdown_table(header, rows),
        "",
        *(f"- [{number}] {escaped(text)}" for text, number in notes.items()),
        *([""] if notes else []),
        *(_not_run(absent) if metric == board.metrics[0] else []),
    ]


def _rows(board: Board) -> list[tuple[int, str]]:
    """(ipc, method) of all rows: each method at each budget, and the ceilings."""
    return [
        *((i, m) for i in board.ipc for m in (*board.methods, *board.controls)),
        *((0, method) for method in board.ceiling),
    ]


def _not_run(rows: Iterable[tuple[int, str]]) -> list[str]:
    """One sentence for all rows that were not run: as rows they would hide the others."""
    missing: dict[int, list[str]] = defaultdict(list)
    for ipc, method in rows:
        missing[ipc].append(method)
    budgets = {ipc: f"IPC {ipc}" if ipc else "full set" for ipc in missing}
    said = "; ".join(f"{budgets[ipc]}: {', '.join(names)}" for ipc, names in missing.items())
    return [f"Not run yet: {escaped(said)}.", ""] if said else []


def _cell(row: Mapping[Any, Any], scale: Scale) -> str:
    text = display(row["mean"], scale.rate)
    if row["n"] > 1:
        text += f" ± {display(row['sd'], True) if scale.rate else format(row['sd'], '.2g')}"
    return f"**{text}**" if row["best"] else text


def _remarks(
    board: Board, cell: Mapping[Any, Any] | None, group: Sequence[Result], settings: bool
) -> list[str]:
    """The footnotes of a cell that has a figure."""
    remarks = []
    if cell:
        if settings:
            remarks += _distinct(_attack(record) for record in group)
        if cell["n"] < len(board.seeds):
            remarks.append(f"{cell['n']} of {len(board.seeds)} seeds")
        remarks += _flags(group)
    return remarks


def _of_ball(behind: Mapping[str, Sequence[Result]]) -> list[str]:
    """The footnotes of a robust figure: those of the attacks behind it."""
    declined = [a for a, group in behind.items() if any(not r.ok for r in group)]
    without = [f"without {', '.join(declined)}, which is declined here"] if declined else []
    records = (record for group in behind.values() for record in group)
    return without + _flags(records)


def _flags(records: Iterable[Result]) -> list[str]:
    return _distinct(f"flag: {flag}" for record in records for flag in record.flags)


def _reasons(group: Iterable[Result], metric: str) -> list[str]:
    """Why a cell, or one metric of it, has no figure."""
    refused = (record.refused.get(metric, "") for record in group)
    return _distinct([*(record.reason for record in group), *refused])


def _with(metric: str, group: Iterable[Result]) -> list[Result]:
    """The records that have a metric, in an order of their own."""
    return sorted((r for r in group if metric in r.metrics), key=lambda r: r.seed)


def _caption(
    board: Board, cells: Cells, records: Sequence[Result], usual: Mapping[str, Any]
) -> str:
    n = len(board.seeds)
    parts = [f"n = {n} seeds" if n > 1 else "n = 1 seed"]
    images = {row["images"] for row in cells.values() if row["images"]}
    if images:
        least_and_most = sorted({min(images), max(images)})
        parts.append(f"{' to '.join(map(str, least_and_most))} {board.evaluate} images")
    if usual:
        settings = _settings(usual, OF_TABLE)
    else:  # all is declined
        settings = _distinct(
            s for record in records for s in _settings(record.parameters, OF_TABLE)
        )
    recipe = recipe_of(usual)
    caption = f"{', '.join([*parts, *map(escaped, settings)])}."
    return f"{caption} Recipe: {escaped(recipe)}." if recipe else caption


def _attack(record: Result) -> str:
    """The ball of a record's attack and what differs from its defaults; "" if it never ran."""
    if not record.ok:
        return ""
    where = ball(record)  # says what its eps is
    settings = _settings(record.parameters, OF_COLUMN, without="eps" if where else "")
    return "; ".join(filter(None, (where, ", ".join(settings))))


def _of_method(record: Result) -> list[str]:
    """The kinds of parameters that belong to a row: all but those of columns and captions."""
    others = ("attack", "sampler", *OF_TABLE)
    return [kind for kind in sorted(record.parameters) if kind not in others]


def _settings(parameters: Mapping[str, Any], kinds: Iterable[str], without: str = "") -> list[str]:
    """Fields that differ from their defaults, as "attack.steps = 100"."""
    return [
        f"{kind}.{name} = {json.dumps(value)}"
        for kind in kinds
        for name, value in sorted(parameters.get(kind, {}).items())
        if name != without
    ]


def _distinct(texts: Iterable[str]) -> list[str]:
    """The texts that say something, sorted, each once: records come in any order."""
    return sorted({text for text in texts if text})


def _components(board: Board, records: Sequence[Result]) -> list[str]:
    """What the components of the tables are: the first lines of their docstrings."""
    order = {
        "method": (*board.methods, *board.controls, *board.ceiling),
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
    lines = [
        f"- {kind} **{name}**: {escaped(' / '.join(sorted(about[kind, name])))}"
        for kind, names in order.items()
        for name in names
        if (kind, name) in about
    ]
    return ["## Components", "", *lines, ""] if lines else []
