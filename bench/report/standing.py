"""Where a figure stands among those that it is compared with.

The arithmetic is `bench.report.statistics`; here records are brought into its terms: which rows
compete, and which of them share seeds, test images and teachers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct

from bench.records.record import Scale
from bench.records.result import Result, unpack
from bench.report import consistency
from bench.report.figures import FIGURE, behind_figures, rows_of
from bench.report.numbers import Board
from bench.report.statistics import Bits, Difference, Row, all_alike, estimates, intervals
from bench.report.verdicts import verdicts

Key = tuple[str, str, str, int, str, str, str]
"""data set, architecture, labels, IPC, method, column, metric"""

Group = tuple[str, str, str, int, str, str]
"""The same without the method: rows of one group compete."""

ASKED = 10  # seeds that a board could have
SAME = 1e-5  # how far a share of right images, which is rounded, may lie from its bits


class Standing(Struct, frozen=True):
    """Of one figure: its 95 % interval, and its place among those that it competes with.

    `ranks` are the first and the last place that it may have; () where it does not compete. `over`
    is the difference to the baseline, and its p value after Holm's correction; `beyond` is that to
    the row that it was recovered from.
    `mixed`: rows that it competes with have another teacher of one seed, or another protocol.
    """

    interval: tuple[float, float] | None = None
    ranks: tuple[int, int] | tuple[()] = ()
    over: tuple[Difference, float] | None = None
    beyond: tuple[Difference, float] | None = None
    mixed: bool = False

    @property
    def leads(self) -> bool:
        """May it be the best?"""
        return self.ranks[:1] == (1,)

    @property
    def tied(self) -> bool:
        """May it be the best, among rows that were measured alike?"""
        return self.leads and not self.mixed


@dataclass(frozen=True)
class Standings:
    """Of all figures of a board; of its main metric, how many adjacent ranks are told apart, and
    how many `ASKED` seeds would tell."""

    of: Mapping[Key, Standing] = field(default_factory=dict)
    adjacent: int = 0
    separable: int = 0
    with_more: int = 0

    def get(self, key: Key) -> Standing:
        return self.of.get(key, Standing())


@dataclass(frozen=True)
class Known:
    """What has been read out of records, by their `id`: they stand behind several figures each."""

    common: consistency.Known = field(default_factory=consistency.Known)
    made: dict[tuple[Any, ...], Mapping[str, str]] = field(default_factory=dict)

    def made_by(self, record: Result) -> Mapping[str, str]:
        """What rows may share of it, by name; one object for all that say the same."""
        teachers = self.common.teachers(record)
        place = (record.protocol, record.images_hash, id(record.data), id(teachers))
        if place not in self.made:
            shared = {"protocol": str(record.protocol), "images": record.images_hash}
            self.made[place] = {**shared, **record.data, **teachers}
        return self.made[place]


def standings(
    board: Board,
    records: Sequence[Result],
    scale: Mapping[str, Scale],
    behind: Mapping[tuple[Any, ...], list[Result]] | None = None,
) -> Standings:
    """Compare all rows of a board that compete; `scale` is that of `numbers.scales`.

    `behind` is what `figures.behind_figures` says, where that is known.
    """
    groups: dict[Group, dict[str, list[Result]]] = defaultdict(dict)
    figures = behind_figures(board, records) if behind is None else behind
    for (*place, method, column, metric), of_row in figures.items():
        groups[(*place, column, metric)][method] = of_row
    found: dict[Key, Standing] = {}
    adjacent = separable = with_more = 0
    known = Known()
    for group, methods in groups.items():
        rows = {name: row_for(name, group[5], of_row, known) for name, of_row in methods.items()}
        within = dict(zip(rows, intervals(estimates([*rows.values()])), strict=True))
        better = scale[group[5]].better
        competing = [
            row
            for name, row in rows.items()
            if board.role(name) != "ceiling"
            and better != "neither"
            and within[name]  # one seed says nothing of others
        ]
        mixed = not all_alike(competing)
        said = verdicts(
            competing, higher=better == "higher", baseline=board.baseline, starts=board.starts
        )
        if group[5] == board.metrics[0]:
            adjacent += len(said.neighbours)
            separable += said.separable
            with_more += said.separable_with(ASKED)
        for name, row in rows.items():
            found[(*group[:4], name, *group[4:])] = Standing(
                _interval(row, within[name]),
                said.ranks.get(name, ()),
                said.over.get(name),
                said.beyond.get(name),
                mixed,
            )
    return Standings(found, adjacent, separable, with_more)


def with_standings(table: pd.DataFrame, found: Standings) -> pd.DataFrame:
    """`tidy` with `low` and `high` (95 %), `rank_low` and `rank_high` (its place is between them),
    and `tied` (may it be the best?)."""
    stand = [found.get(key) for key in rows_of(table[[*FIGURE]])]
    intervals = [one.interval or (np.nan, np.nan) for one in stand]
    ranks = [one.ranks or (None, None) for one in stand]
    return table.assign(
        low=[low for low, _ in intervals],
        high=[high for _, high in intervals],
        # as objects, whole numbers stay whole beside what is not known
        rank_low=pd.Series([low for low, _ in ranks], dtype=object),
        rank_high=pd.Series([high for _, high in ranks], dtype=object),
        tied=[one.tied for one in stand],
    )


def _interval(row: Row, found: tuple[float, float] | None) -> tuple[float, float] | None:
    """95 %, within what a share can be."""
    if found is None or row.right is None:
        return found
    return max(found[0], 0.0), min(found[1], 1.0)


def row_for(name: str, metric: str, records: Iterable[Result], known: Known) -> Row:
    """The records of a row; `known` keeps what was read out of them, for other metrics."""
    by_seed = {record.seed: record for record in sorted(records, key=attrgetter("seed"))}
    values = {seed: float(record.metrics[metric]) for seed, record in by_seed.items()}
    found = by_seed.values()
    images = {(record.images_hash, record.images) for record in found}
    shares = len(images) == 1 and all(
        record.correct and abs(record.share - values[record.seed]) <= SAME for record in found
    )
    return Row(
        name,
        values,
        _bits(found, min(images)[1]) if shares else None,
        min(images)[0],
        {seed: known.made_by(record) for seed, record in by_seed.items()},
    )


def _bits(records: Iterable[Result], images: int) -> Bits:
    """Which images were right, [S, P], of records that have looked at the same ones."""
    return unpack([record.correct for record in records], images).view(np.int8)
