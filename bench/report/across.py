"""One ranking of methods across boards: how often each beats others, and its mean rank.

A unit is one place in which methods compete: a board's data set, network, labels and IPC, in the
first column of its tables, by its main metric. Boards agree on neither data nor recipe, so only
ranks within a unit are compared.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import pandas as pd

DRAWS, SEED = 2000, 0
FEWEST = 3  # boards that an interval wants

Interval = tuple[float, float]


@dataclass(frozen=True)
class Unit:
    """The means of methods that compete; `higher` says which way is better."""

    board: str
    scores: dict[str, float]
    higher: bool = True


@dataclass(frozen=True)
class Standing:
    """Where a method stands over `units` of `boards`.

    `wins` is the share of opponents that it beats, a tie being half a win; `rank` is 1 for the best
    and shared by ties; `of` is how many compete. Each board weighs the same, so that one with many
    places does not outvote the others. Intervals are at 95 %; None on fewer boards than `FEWEST`.
    """

    method: str
    boards: int
    units: int
    wins: float
    rank: float
    of: float
    wins_interval: Interval | None
    rank_interval: Interval | None


def ranking(units: Iterable[Unit]) -> tuple[Standing, ...]:
    """All methods, the highest win rate first; ties by rank, then by name.

    A unit in which nobody has an opponent says nothing. Figures that are not numbers lose to all.
    """
    places: dict[str, dict[str, list[tuple[float, float, int]]]] = defaultdict(dict)
    for unit in units:
        if len(unit.scores) > 1:
            for method, place in _places(unit).items():
                places[method].setdefault(unit.board, []).append(place)
    found = (_standing(method, of_boards) for method, of_boards in places.items())
    return tuple(sorted(found, key=lambda one: (-one.wins, one.rank, one.method)))


def _places(unit: Unit) -> dict[str, tuple[float, float, int]]:
    """Method -> its win rate, its rank, and how many compete."""
    n = len(unit.scores)
    ranks = pd.Series(unit.scores).rank(ascending=not unit.higher, na_option="bottom")
    return {str(method): ((n - rank) / (n - 1), rank, n) for method, rank in ranks.items()}


def _standing(method: str, of_boards: dict[str, list[tuple[float, float, int]]]) -> Standing:
    by_board = [
        tuple(fmean(column) for column in zip(*of_boards[name], strict=True))
        for name in sorted(of_boards)  # so that the order of units changes no digit
    ]
    wins, ranks, of = ([*column] for column in zip(*by_board, strict=True))
    return Standing(
        method,
        len(by_board),
        sum(map(len, of_boards.values())),
        *(fmean(wins), fmean(ranks), fmean(of)),
        *(interval(wins), interval(ranks)),
    )


def interval(values: Sequence[float]) -> Interval | None:
    """The 95 % percentile interval of a mean, boards being drawn again with replacement.

    The draws are the same on every machine. With few boards it is a rough one.
    """
    if len(values) < FEWEST:
        return None
    draw = random.Random(SEED)
    means = sorted(fmean(draw.choices(values, k=len(values))) for _ in range(DRAWS))
    return means[round(0.025 * (DRAWS - 1))], means[round(0.975 * (DRAWS - 1))]
