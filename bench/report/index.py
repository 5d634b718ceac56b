"""The first page of a site: all boards, and one ranking of methods across them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.board.sets import KeptSet
from bench.records.result import Result
from bench.report import archive
from bench.report.across import FEWEST, Standing, Unit, ranking
from bench.report.frames import frame_of
from bench.report.model import (
    COUNT,
    Block,
    Cell,
    Column,
    Form,
    Frame,
    Name,
    Page,
    Paragraph,
    Section,
    Table,
    Value,
)
from bench.report.numbers import ROW, Board, scales

TITLE = "Boards"
STATES = ("open", "frozen", "not run yet")  # in the order of the index
RATE, RANK = Form(".0f", percent=True), Form(".1f")


@dataclass(frozen=True)
class Entry:
    """A board on the index; `page` is that of its folder `name`."""

    name: str
    board: Board
    page: Page
    records: tuple[Result, ...]
    changed: str = ""  # the day of its last commit, where that is known
    sets: tuple[KeptSet, ...] = ()  # that it keeps
    version: str = ""  # of its records, as its page names it

    @property
    def state(self) -> str:
        """One of `STATES`."""
        return "frozen" if self.board.frozen else "open" if self.records else "not run yet"

    @property
    def rows(self) -> int:
        """Rows with a figure: data set, network, labels, IPC and method."""
        return len(frame_of(self.page).drop_duplicates([*ROW]))


def answers(readme: str) -> dict[str, str]:
    """Board -> what came of it, as the third column of the table of boards in a README says.

    People write that; question and scale stand in the board's matrix.toml.
    """
    found: dict[str, str] = {}
    for line in readme.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4:
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cells[2]).replace("`", "")
            for name in re.findall(r"\]\((?:[\w./-]*/)?([\w.-]+)/README\.md\)", cells[0]):
                found[name] = plain
    return found


def build(entries: Iterable[Entry], about: Mapping[str, str]) -> Page:
    """The index of boards."""
    entries = tuple(entries)
    sections = (_boards(entries, about), *_across(entries), *archive.section(entries))
    said = (
        "What dataset-condensation methods give on each board, measured by one harness. "
        "A board's page has every table, with its settings, costs and pictures."
    )
    cite = "To cite a figure, name its board, the board's version, and the day of its last change."
    intro = (Paragraph((said,)), Paragraph((cite,)))
    return Page(TITLE, (*intro, *sections), (), (), Frame((), ()))


def _boards(entries: Sequence[Entry], about: Mapping[str, str]) -> Section:
    dated = any(one.changed for one in entries)
    columns = (
        Column("Board", key=True, left=True),
        *(Column(name, left=True) for name in ("Asks", "Answer", "Scale")),
        *(Column("Rows"), Column("Seeds")),
        *(Column(name, left=True) for name in ("State", "Version")),
        *([Column("Last change", left=True)] if dated else []),
    )
    rows: list[tuple[Cell, ...]] = []
    for entry in sorted(entries, key=lambda one: (STATES.index(one.state), one.name)):
        board, answer = entry.board, about.get(entry.name, "")
        rows.append(
            (
                Name(entry.name, url=f"{entry.name}/index.html"),
                *(Name(t) for t in (board.question or board.title, answer, board.scale)),
                Value(entry.rows, form=COUNT),
                Value(len(entry.board.seeds), form=COUNT),
                *(Name(entry.state), Name(entry.version)),
                *([Name(entry.changed)] if dated else []),
            )
        )
    caption = (("Rows have a figure: a method at an IPC, on a data set, network and labels.",),)
    return Section("All boards", (Table(columns, tuple(rows), caption),))


def units(entry: Entry) -> Iterator[Unit]:
    """The places of a board in which methods compete, by its main metric, clean or first column.

    A ceiling stands on the full set and does not compete; a board whose split is no test split
    chooses settings, and takes no part.
    """
    board, metric, column = entry.board, entry.board.metrics[0], entry.board.columns[0]
    scale = scales(board, entry.records).get(metric)
    if board.evaluate != "test" or scale is None or scale.better == "neither":
        return
    figures = frame_of(entry.page)
    shown = (figures["metric"] == metric) & (figures["column"] == column)
    competing = figures[shown & (figures["role"] != "ceiling")].dropna(subset=["mean"])
    for _, found in competing.groupby([*ROW[:-1]], sort=False):
        scores = dict(zip(found["method"], found["mean"], strict=True))
        yield Unit(entry.name, scores, scale.better == "higher")


def _across(entries: tuple[Entry, ...]) -> tuple[Section, ...]:
    each = {entry.name: tuple(units(entry)) for entry in entries}
    standings = ranking(unit for found in each.values() for unit in found)
    if not standings:
        return ()
    competing = [e for e in entries if any(len(unit.scores) > 1 for unit in each[e.name])]
    names = [entry.name for entry in competing]
    frozen = [entry.name for entry in competing if entry.board.frozen]
    said = (
        "Methods compete within a board at one data set, network, labels and IPC, by the board's "
        "main metric in its first column. A win rate is the share of opponents beaten, a tie being "
        "half a win. Boards weigh the same. Intervals are at 95 %, from drawing boards again; "
        f"fewer than {FEWEST} boards give none. Methods that met other opponents, or on other "
        "boards, are compared only loosely, and a name may have other settings on another board."
    )
    which = f"Boards: {', '.join(names)}."
    which += f" Frozen, yet counted: {', '.join(frozen)}." if frozen else ""
    columns = (
        Column("Method", key=True, left=True),
        *(Column(name) for name in ("Boards", "Places", "Win rate, %", "95 % interval")),
        *(Column(name) for name in ("Mean rank", "95 % interval", "Of")),
    )
    broad = [one for one in standings if one.boards >= FEWEST]
    narrow = [one for one in standings if one.boards < FEWEST]
    parts: list[Block] = [Paragraph((said,))]
    if broad:
        parts.append(Table(columns, tuple(map(_row, broad)), ((which,),)))
    if narrow:
        few = Table(columns, tuple(map(_row, narrow)))
        parts.append(Section(f"Methods on fewer than {FEWEST} boards", (few,)))
    return (Section("Methods across boards", tuple(parts)),)


def _row(one: Standing) -> tuple[Cell, ...]:
    return (
        Name(one.method),
        *(Value(one.boards, form=COUNT), Value(one.units, form=COUNT)),
        *(Value(one.wins, form=RATE), _between(one.wins_interval, RATE)),
        *(Value(one.rank, form=RANK), _between(one.rank_interval, RANK)),
        Value(one.of, form=RANK),
    )


def _between(interval: tuple[float, float] | None, form: Form) -> Cell:
    if interval is None:
        return Value()
    return Name(" to ".join(map(form.shown, interval)))
