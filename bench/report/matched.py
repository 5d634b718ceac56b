"""Values in print beside those that a board has measured: which of them stand.

A `[[value]]` of `published.toml` names cells of the board, and what its source prints for them.
They have a section of their own, and stand in no table of measured figures.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pandas as pd
from msgspec import Meta
from scipy.special import stdtrit

from bench.contract.errors import BenchError
from bench.contract.fields import suggest
from bench.contract.typed import Text
from bench.contract.typed import read as typed
from bench.report.figures import by_figure
from bench.report.model import (
    Block,
    Cell,
    Column,
    Form,
    Items,
    Name,
    Paragraph,
    Section,
    Span,
    Table,
    Value,
    Words,
    budget,
    capital,
)
from bench.report.numbers import Board

Source = Annotated[
    str, Meta(pattern=r"\S", description="text: the article, and which of its tables")
]
Address = Annotated[
    str,
    Meta(pattern=r"^https?://[^\s()<>]+$", description="the address of the source, http(s)://..."),
]
Mean = Annotated[
    tuple[float, ...],
    Meta(min_length=1, max_length=2, description="[mean] or [mean, ±], as in [0.514, 0.038]"),
]
Runs = Annotated[
    Annotated[int, Meta(ge=2)] | None,
    Meta(description="the number of runs that ± is over, 2 or more"),
]

TITLE = "Published and measured"
POINTS = 0.02  # how far means may lie apart where one side has no ±, or one of too few seeds
FEWEST = 3  # seeds of a ±: that of two bears out nearly anything
MATCHED, DIFFERS, OPEN = "paper-matched", "differs", "open"


@dataclass(frozen=True, kw_only=True)
class Printed:
    """What one source prints for cells of a board: `rows` by method and IPC, as fractions.

    IPC 0 is the full set. `n` is how many runs ± is the standard deviation of; None is not in
    print, and then as many are assumed as were measured. What is `second_hand` says so in its note.
    """

    source: Source
    url: Address
    metric: Text
    rows: Annotated[
        Mapping[str, Annotated[Mapping[str, Mean], Meta(min_length=1)]], Meta(min_length=1)
    ]
    attack: str = ""  # "": the board's first
    dataset: str = ""  # this and those below: "" where the board has only one
    architecture: str = ""
    labels: str = ""
    tier: str = ""  # what sets these values apart, as "JPEG copies of the images"
    n: Runs = None
    second_hand: bool = False  # read elsewhere than in the source
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """A value in print, and what was measured of its cell: nothing where `n` is 0."""

    method: str
    ipc: int
    printed: tuple[float, ...]  # (mean,) or (mean, sd)
    runs: int | None  # behind the printed sd
    mean: float = math.nan
    sd: float = math.nan
    n: int = 0

    @property
    def spread(self) -> float | None:
        return self.printed[1] if len(self.printed) > 1 else None

    @property
    def difference(self) -> float:
        return self.mean - self.printed[0]

    @property
    def allowed(self) -> float:
        """Half the 95 % interval of the difference (Welch, 1947), or `POINTS`."""
        if self.spread is None or self.n < FEWEST:
            return POINTS
        runs = self.runs or self.n
        ours, theirs = self.sd**2 / self.n, self.spread**2 / runs
        if not (both := ours + theirs):
            return 0.0
        freedom = both**2 / (ours**2 / (self.n - 1) + theirs**2 / (runs - 1))
        return float(stdtrit(freedom, 0.975)) * math.sqrt(both)

    @property
    def verdict(self) -> str:
        if not self.n:
            return OPEN
        return MATCHED if abs(self.difference) <= self.allowed + 1e-9 else DIFFERS


# ---- reading


def parse(tables: Any, board: Board) -> tuple[Printed, ...]:
    """The entries [[value]] of a board. Raises BenchError for what is wrong with them."""
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise BenchError("`value` is not an array of tables; expected entries [[value]]")
    return tuple(_entry(one, f"[[value]] number {n}", board) for n, one in enumerate(tables, 1))


def _entry(given: Mapping[str, Any], place: str, board: Board) -> Printed:
    entry = Printed(**typed(Printed, given, place))
    found: dict[str, Any] = {}
    if not board.attacks:
        raise BenchError(f"{place}: this board has no attacks; use a [[table]] for its values")
    _on_axis(entry.metric, board.metrics, f"{place}: metric")
    axes = {
        "attack": board.attacks[:1],
        "dataset": board.datasets,
        "architecture": board.architectures,
        "labels": board.labels,
    }
    for axis, usual in axes.items():
        name: str = getattr(entry, axis)
        if not name and len(usual) > 1:
            raise BenchError(f"{place}: {axis} is missing; expected one of: {', '.join(usual)}")
        _on_axis(name or usual[0], board.attacks if axis == "attack" else usual, f"{place}: {axis}")
        found[axis] = name or usual[0]
    for method, values in entry.rows.items():
        _on_axis(method, board.every_method, f"{place}: method")
        budgets = ("0",) if method in board.ceiling else tuple(map(str, board.ipc))
        for ipc, value in values.items():
            _on_axis(ipc, budgets, f"{place}: ipc of {method}")
            if not all(0 <= number <= 1 for number in value):
                raise BenchError(
                    f"{place}: rows.{method}.{ipc} is {list(value)}; expected fractions in "
                    "[0, 1]; divide percents by 100"
                )
    return replace(entry, **found)


def _on_axis(name: str, names: Iterable[str], what: str) -> None:
    if name not in names:
        raise BenchError(f"{what} {name!r} is not on this board{suggest(name, names)}")


# ---- the page


def section(board: Board, printed: tuple[Printed, ...], table: pd.DataFrame) -> tuple[Section, ...]:
    """The part of a page that says which values stand; none if none is in print.

    `table` is that of `figures.tidy`.
    """
    if not printed:
        return ()
    tiers: dict[str, list[tuple[Printed, list[Pair]]]] = defaultdict(list)
    for one in sorted(pairs(printed, table), key=lambda one: one[0].tier != ""):
        tiers[one[0].tier].append(one)
    blocks: list[Block] = [Paragraph((_stand(tiers),)), RULE]
    for tier, found in tiers.items():
        tables = tuple(_table(board, entry, listed) for entry, listed in found)
        blocks += (Section(capital(tier), tables),) if tier else tables
    return (Section(TITLE, tuple(blocks)),)


def pairs(printed: Iterable[Printed], table: pd.DataFrame) -> Iterator[tuple[Printed, list[Pair]]]:
    """Each entry, and its values beside those of a frame of `figures.tidy`."""
    known = by_figure(table)
    for entry in printed:
        yield entry, list(_pairs(entry, known))


ALLOWED = (
    "It is half the 95 % interval of the difference (Welch's t, of both standard deviations), or "
    "two points where no ± is in print or fewer than three seeds were measured."
)
RULE = Items(
    (
        (
            Span(MATCHED, "strong"),
            f": the means differ by no more than the ± behind the difference. {ALLOWED}",
        ),
        (Span(DIFFERS, "strong"), ": they differ by more."),
        (Span(OPEN, "strong"), ": not measured yet."),
    )
)


def _pairs(entry: Printed, known: Mapping[tuple[Any, ...], Mapping[Any, Any]]) -> Iterator[Pair]:
    for method, values in entry.rows.items():
        for ipc, value in values.items():
            where = (entry.dataset, entry.architecture, entry.labels, int(ipc), method)
            pair = Pair(method, int(ipc), value, entry.n)
            if row := known.get((*where, entry.attack, entry.metric)):
                pair = replace(pair, mean=row["mean"], sd=row["sd"], n=row["n"])
            yield pair


def _stand(tiers: Mapping[str, list[tuple[Printed, list[Pair]]]]) -> str:
    """ "7 of 9 published values stand.", and as much of each tier."""
    counts = []
    for tier, found in tiers.items():
        verdicts = [pair.verdict for _, pairs in found for pair in pairs]
        right, total = verdicts.count(MATCHED), len(verdicts)
        said = f"{right} of {total} published values {'stands' if right == 1 else 'stand'}"
        if pending := verdicts.count(OPEN):
            said += f" ({pending} open)"
        counts.append(f"{tier}: {said}" if tier else said)
    return capital(f"{'; '.join(counts)}.")


def _table(board: Board, entry: Printed, pairs: list[Pair]) -> Table:
    form = as_printed(number for pair in pairs for number in pair.printed)
    heads = (
        Column("Method", key=True, left=True, merged=True),
        Column("IPC", key=True),
        *map(Column, ("Measured", "n", "Published", "Difference")),
        Column("Verdict", left=True),
    )
    rows = tuple(_row(board, pair, form) for pair in pairs)
    return Table(heads, rows, tuple(_caption(entry, pairs)))


def _row(board: Board, pair: Pair, form: Form) -> tuple[Cell, ...]:
    name = Name(pair.method, board.role(pair.method))
    printed = Value(pair.printed[0], pair.spread, form=form)
    if not pair.n:
        return (name, budget(pair.ipc), Value(), Value(), printed, Value(), Name(pair.verdict))
    seeds = len(board.seeds)
    partly = (f"{pair.n} of {seeds} seeds",) if pair.n < seeds else ()
    return (
        name,
        budget(pair.ipc),
        Value(pair.mean, pair.sd if pair.n > 1 else None, pair.n, form, notes=partly),
        Value(pair.n, form=Form(".0f")),
        printed,
        Value(pair.difference, pair.allowed, form=replace(form, number=f"+{form.number}")),
        Name(pair.verdict),
    )


def _caption(entry: Printed, pairs: list[Pair]) -> Iterator[Words]:
    place = f"{entry.dataset} · {entry.architecture} · {entry.labels} labels · {entry.attack}"
    yield (
        f"{place}: {entry.metric}, in percent. Source: ",
        Span(entry.source, "link", entry.url),
        ".",
    )
    if any(pair.spread is not None for pair in pairs):
        runs = (
            f"{entry.n} runs" if entry.n else "as many runs as were measured, its number not said"
        )
        yield (f"± in print is taken as the standard deviation over {runs}.",)
    if entry.note:
        yield (entry.note,)


def as_printed(rates: Iterable[float]) -> Form:
    """In percent, with as many decimals as the rates are printed with: 0.2387 has two."""
    decimals = [len(f"{100 * rate:.4f}".rstrip("0").partition(".")[2]) for rate in rates]
    form = f".{max([1, *decimals])}f"
    return Form(form, form, percent=True)
