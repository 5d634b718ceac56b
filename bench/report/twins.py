"""The same sets on two boards: how they rank as training data of classifiers, and of generators.

A set that teaches the one well may teach the other badly. Only sets that both boards have judged
are compared: the same bytes, of the same method, budget and seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from statistics import fmean

from bench.records.record import Scale
from bench.records.result import Result
from bench.report import agreement
from bench.report.model import (
    PERCENT,
    PLAIN,
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
    budget_named,
    few,
)
from bench.report.numbers import Board, on_one_scale, qualifying, scales
from bench.report.standing import Known, row_for
from bench.report.statistics import Row
from bench.report.verdicts import verdicts

Set = tuple[str, int, str, int]  # data set, IPC, method, seed
Place = tuple[str, str]  # architecture, labels
TITLE = "The same sets on both tracks"


@dataclass(frozen=True, eq=False)
class Side:
    """A board, and the results on its axes."""

    board: Board
    results: Sequence[Result]

    @cached_property
    def scales(self) -> Mapping[str, Scale]:
        return scales(self.board, self.results)

    @cached_property
    def column(self) -> str:
        """The first attack or sampler that has a figure; of a training, its end."""
        metric = self.board.metrics[0]
        filled = {r.column for r in self.results if metric in r.metrics}
        wanted = self.board.samplers or self.board.attacks
        return next((column for column in wanted if column in filled), "")

    @cached_property
    def judged(self) -> dict[Set, dict[Place, Result]]:
        """What was measured of each set that has a budget, by where."""
        found: dict[Set, dict[Place, Result]] = defaultdict(dict)
        for r in on_one_scale(self.board, self.results):
            if r.column == self.column and r.ipc and self.board.metrics[0] in r.metrics:
                found[r.dataset, r.ipc, r.method, r.seed][r.architecture, r.labels] = r
        return found

    def content(self, one: Set) -> str:
        """The hash of a set."""
        return next((r.content.get("set", "") for r in self.judged.get(one, {}).values()), "")

    def named(self, place: Place) -> str:
        """What ranks at a place: metric, column, network, and labels where they say something."""
        architecture, labels = place
        words = [self.board.metrics[0], self.column, architecture]
        return ", ".join([*words, *([f"{labels} labels"] if self.board.attacks else [])])


@dataclass(frozen=True, eq=False)
class _Ranked:
    """The rows of a place, better ones first: of a metric that is to be low, minus its figures."""

    name: str
    rows: Mapping[str, Row]  # by method, of figures more of which is better
    scale: Scale
    seeds: int  # of the board
    beside: Mapping[str, tuple[Mapping[str, float], Scale]]  # what qualifies them, by metric

    @cached_property
    def places(self) -> dict[str, str]:
        """The place of each method by its mean, and those that it may have at 5 %."""
        ordered = sorted(self.rows.values(), key=lambda row: -row.mean)
        may = verdicts(ordered, higher=True).ranks
        both = [(number, *may[row.name]) for number, row in enumerate(ordered, 1)]
        said = [f"{own}" if low == high else f"{own} ({low} to {high})" for own, low, high in both]
        return dict(zip((row.name for row in ordered), said, strict=True))


def sections(here: Side, there: Side, folder: str) -> tuple[Section, ...]:
    """The section on the first screen of `here`, whose twin lies in `folder`; none where the two
    have judged no set of one method, budget and seed.
    """
    both = [one for one in here.judged if one in there.judged]
    same = {one for one in both if here.content(one) == there.content(one) != ""}
    parts = [*_parts(here, there, same)]
    if not both:
        return ()
    title = Span(there.board.title, "link", f"../{folder}/")
    said: Words = ("No set of this board and of ", title, " is byte for byte the same.")
    if same:
        said = (
            *("Sets that this board and ", title),
            " have both judged, byte for byte the same. ",
            "Rank: by mean, and in brackets the places that a row may have at 5 % (Holm). ",
            "Kendall's tau: 1 is the same order, -1 the opposite one.",
        )
    apart = sorted({(ipc, method) for _, ipc, method, _ in {*both} - same})
    left = few([f"{method} ({budget_named(ipc)})" for ipc, method in apart])
    notes = [Items(((f"Other sets on the two boards, so not compared here: {left}.",),))]
    blocks: list[Block] = [Paragraph(said), *parts, *(notes if apart else [])]
    return (Section(TITLE, tuple(blocks)),)


def absent(folder: str) -> Section:
    """What a page says of a twin that does not lie beside its board."""
    said = "Not compared: matrix.toml names the twin ", Span(folder, "code"), ", and there is no "
    return Section(TITLE, (Paragraph((*said, "such board in the folder beside this one.")),))


def _parts(here: Side, there: Side, same: set[Set]) -> Iterator[Section]:
    for dataset, ipc in product(here.board.datasets, here.board.ipc):
        chosen = {one for one in same if one[:2] == (dataset, ipc)}
        ranked = [found for side in (there, here) for found in _ranked(side, chosen)]
        methods = [m for m in here.board.every_method if any(m in one.rows for one in ranked)]
        if methods:
            orders = {one.name: agreement.ranking([*one.rows.values()]) for one in ranked}
            compared = agreement.table(orders)
            tables = (_table(here.board, methods, ranked), *([compared] if compared else []))
            yield Section(f"{dataset} · {budget_named(ipc)}", tables)


def _ranked(side: Side, chosen: set[Set]) -> Iterator[_Ranked]:
    """The rankings of some sets on a board: one for each network and regime of labels."""
    board, metric, known = side.board, side.board.metrics[0], Known()
    more = qualifying(board, side.scales)
    for place in product(board.architectures, board.labels):
        behind: dict[str, list[Result]] = defaultdict(list)
        for one in sorted(chosen):
            if place in side.judged[one]:
                behind[one[2]].append(side.judged[one][place])
        if behind:
            rows = {name: row_for(name, metric, of_row, known) for name, of_row in behind.items()}
            if side.scales[metric].better == "lower":
                rows = {name: agreement.turned(row) for name, row in rows.items()}
            beside = {name: (_means(name, behind), side.scales[name]) for name in more}
            yield _Ranked(side.named(place), rows, side.scales[metric], len(board.seeds), beside)


def _means(metric: str, behind: Mapping[str, Sequence[Result]]) -> dict[str, float]:
    values = {
        method: [float(r.metrics[metric]) for r in results if metric in r.metrics]
        for method, results in behind.items()
    }
    return {method: fmean(found) for method, found in values.items() if found}


def _table(board: Board, methods: Sequence[str], ranked: Sequence[_Ranked]) -> Table:
    """A line a method: its rank and its figure at each place, and what qualifies that."""
    heads = [Column("Method", key=True, left=True)]
    for one in ranked:
        heads += [Column("Rank"), Column(_headed(one.name, one.scale))]
        heads += [Column(_headed(metric, scale)) for metric, (_, scale) in one.beside.items()]
    lines = []
    for method in methods:
        cells: list[Cell] = [Name(method, board.role(method))]
        for one in ranked:
            cells += [Name(one.places.get(method, "")), _figure(one, method)]
            cells += [
                Value(means.get(method), form=_form(scale)) for means, scale in one.beside.values()
            ]
        lines.append(tuple(cells))
    return Table(tuple(heads), tuple(lines))


def _headed(name: str, scale: Scale) -> str:
    return f"{name}, %" if scale.rate else name


def _form(scale: Scale) -> Form:
    return PERCENT if scale.rate else PLAIN


def _figure(one: _Ranked, method: str) -> Value:
    row = one.rows.get(method)
    if not row:
        return Value()
    mean, n = -row.mean if one.scale.better == "lower" else row.mean, len(row.values)
    notes = (f"{n} of {one.seeds} seeds",) if n < one.seeds else ()
    return Value(mean, n=n, form=_form(one.scale), notes=notes)
