"""Does the order survive? Rankings of the same methods by other students, recipes and labels.

A method that wins under one protocol alone has won little. Only the places of one data set and
one IPC are compared, so that each method comes with the same sets.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.records.result import Result
from bench.report.gains import natural
from bench.report.model import (
    Cell,
    Column,
    Form,
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
from bench.report.numbers import Board, row_of, scales
from bench.report.pairs import pairs
from bench.report.standing import Known, row_for
from bench.report.statistics import LEVEL, Row
from bench.report.verdicts import holm

FEWEST = 4  # methods that two rankings share; of fewer, chance makes any order
TAU = Form("+.2f")

Place = tuple[str, str]  # architecture, labels
Names = tuple[str, str]  # of two methods


@dataclass(frozen=True)
class Agreement:
    """Of two rankings of the `methods` that both have.

    `tau` is Kendall's tau-b: 1 for the same order, -1 for the opposite one. Of the pairs of methods
    that are `told` apart at 5 % in both (Holm, over all pairs of a ranking), those `against` stand
    in the opposite order: the first is the better one in the first ranking.
    """

    tau: float
    methods: tuple[str, ...]
    told: int
    against: tuple[Names, ...]


@dataclass(frozen=True, eq=False)
class Ranking:
    """The rows of a place, of figures more of which is better; `told` [n, n] is 1 where row i is
    certainly better than row j, -1 where it is certainly worse (5 %, Holm over all pairs), else 0.
    """

    names: tuple[str, ...]
    means: NDArray[np.float64]
    told: NDArray[np.float64]


def turned(row: Row) -> Row:
    """A row of a metric that is to be low, as one of figures more of which is better."""
    right = None if row.right is None else -row.right
    return replace(row, values={seed: -value for seed, value in row.values.items()}, right=right)


def ranking(rows: Sequence[Row]) -> Ranking:
    """Each row of a place compared with each other one: figures more of which is better."""
    found = pairs(rows)
    upper = np.triu_indices(len(rows), 1)
    certain = np.zeros_like(found.p)
    certain[upper] = holm(found.p[upper]) <= LEVEL
    told = np.sign(found.means) * (certain + certain.T)
    return Ranking(tuple(row.name for row in rows), np.array([row.mean for row in rows]), told)


def agreement(one: Ranking, other: Ranking) -> Agreement | None:
    """How far two rankings agree; None where they share fewer methods than `FEWEST`."""
    common = sorted({*one.names} & {*other.names})
    if len(common) < FEWEST:
        return None
    at = [[side.names.index(name) for name in common] for side in (one, other)]
    sides = [*zip((one, other), at, strict=True)]
    tau = _tau(*(side.means[index] for side, index in sides))
    first, second = (side.told[np.ix_(index, index)] for side, index in sides)
    both = [*zip(*np.nonzero(np.triu(first * second)), strict=True)]
    opposite = [(i, j) for i, j in both if first[i, j] != second[i, j]]
    against = [(i, j) if first[i, j] > 0 else (j, i) for i, j in opposite]
    named = tuple((common[i], common[j]) for i, j in against)
    return Agreement(tau, tuple(common), len(both), named)


def _tau(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Kendall's tau-b of two figures of the same n methods, [n] each.

    That of scipy.stats, whose import takes longer than most boards' pages; tested against it.
    """
    orders = [np.sign(np.subtract.outer(means, means)) for means in (one, other)]
    apart = [np.count_nonzero(order) for order in orders]  # pairs that are not tied, twice
    return float(
        (orders[0] * orders[1]).sum() / math.sqrt(math.prod(apart)) if all(apart) else math.nan
    )


# ---- the page


def sections(board: Board, records: Sequence[Result]) -> tuple[Section, ...]:
    """ "Does the order survive?", where methods compete in several places; else nothing."""
    metric, column = board.metrics[0], natural(board, records)
    order = [*product(board.architectures, board.labels)]
    behind: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
    for r in records if len(order) > 1 else ():
        if (
            r.ok
            and r.column == column
            and metric in r.metrics
            and board.role(r.method) != "ceiling"
        ):
            behind[row_of(r)].append(r)
    ranked: dict[tuple[str, int], dict[Place, list[Row]]] = defaultdict(dict)
    known, low = Known(), behind and scales(board, records)[metric].better == "lower"
    for (dataset, architecture, labels, ipc, method), of_row in behind.items():
        place = ranked[dataset, ipc].setdefault((architecture, labels), [])
        row = row_for(method, metric, of_row, known)
        place.append(turned(row) if low else row)
    parts = []
    for dataset, ipc in product(board.datasets, board.ipc):
        of_places = ranked.get((dataset, ipc), {})
        if len(of_places) < 2:
            continue
        found = {_named(p): ranking(of_places[p]) for p in order if p in of_places}
        if compared := table(found):
            parts.append(Section(f"{dataset} · {budget_named(ipc)}", (compared,)))
    said = (
        *("Kendall's tau between two rankings of the same methods by ", Span(metric, "code")),
        ": 1 is the same order, 0 is no agreement, -1 is the opposite order.",
    )
    return (Section("Does the order survive?", (Paragraph(said), *parts)),) if parts else ()


def table(rows: Mapping[str, Ranking]) -> Table | None:
    """Each ranking, by name, against those before it; None where no two share enough methods."""
    found = {
        (one, other): agreed
        for one, other in combinations(rows, 2)
        if (agreed := agreement(rows[one], rows[other]))
    }
    if not found:
        return None
    compared = [name for name in rows if any(name in both for both in found)]
    heads = (Column("Ranking", key=True, left=True), *map(Column, compared[:-1]))
    lines: list[tuple[Cell, ...]] = []
    for number, name in enumerate(compared[1:], 1):
        cells = [_cell(found.get((before, name))) for before in compared[:number]]
        blank = [Name("")] * (len(compared) - 1 - number)
        lines.append((Name(name), *cells, *blank))
    return Table(heads, tuple(lines), (_summary(found),))


def _cell(agreed: Agreement | None) -> Value:
    if not agreed:
        return Value(notes=(f"fewer than {FEWEST} methods in common",))
    if math.isnan(agreed.tau):
        return Value(notes=("all figures of one of the two are the same",))
    return Value(agreed.tau, form=TAU, notes=(f"{len(agreed.methods)} methods",))


def _named(place: Place) -> str:
    return f"{place[0]}, {place[1]} labels"


def _summary(found: Mapping[tuple[str, str], Agreement]) -> Words:
    """What of all this is certain."""
    told = sum(agreed.told for agreed in found.values())
    if not told:
        return ("No two methods are told apart at 5 % in two of these rankings.",)
    against = [
        f"{better} above {worse} by {one}, below it by {other}"
        for (one, other), agreed in found.items()
        for better, worse in agreed.against
    ]
    said = f"{told} times two methods are told apart at 5 % in two of these rankings (Holm)"
    if not against:
        return (f"{said}, each time in the same order.",)
    return (f"{said}; {len(against)} of these stand in the opposite order: {few(against)}.",)
