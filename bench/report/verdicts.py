"""What can be said of all rows of a column: ranks, tie groups, and who is told from whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bench.report.pairs import pairs
from bench.report.statistics import LEVEL, Difference, Row, differences, seeds_needed

NO_STARTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Verdicts:
    """What can be said of the rows of one column, which are given the best first.

    `ranks` are the places that each may have, of the comparisons of that row with all others;
    `over` are the differences to the baseline, with their p values after Holm's correction, and
    `beyond` those of recovered rows to their starts;
    `separable` of `neighbours`, which stand beside each other, are told apart.
    """

    rows: Sequence[Row]
    ranks: Mapping[str, tuple[int, int]]
    over: Mapping[str, tuple[Difference, float]]
    beyond: Mapping[str, tuple[Difference, float]]

    @cached_property
    def neighbours(self) -> Sequence[tuple[Difference, float]]:
        return _family(pairwise(self.rows))

    @property
    def separable(self) -> int:
        return sum(p <= LEVEL for _, p in self.neighbours)

    def separable_with(self, seeds: int) -> int:
        """How many it would be with so many seeds, as far as today's estimates say."""
        needed = [p <= LEVEL or seeds_needed(one, seeds) for one, p in self.neighbours]
        return sum(map(bool, needed))


def verdicts(
    rows: Sequence[Row],
    *,
    higher: bool,
    baseline: str = "",
    starts: Mapping[str, str] = NO_STARTS,
) -> Verdicts:
    """Compare rows, at 5 % within each family of comparisons (Holm, 1979).

    `starts` names, by row, the one that it was recovered from.

    A row's rank interval comes from its comparisons with all others (Mogstad et al., 2024: a
    marginal interval); rows whose interval begins at 1 may be the best, and are the tie group.
    """
    sign = 1 if higher else -1
    ordered = sorted(rows, key=lambda row: (-sign * row.mean, row.name))
    base = next((row for row in ordered if row.name == baseline), None)
    over = [row for row in ordered if base and row is not base]
    to_base = _family((row, base) for row in over if base)
    by_name = {row.name: row for row in ordered}
    recovered = [name for name in by_name if starts.get(name) in by_name]
    to_start = _family((by_name[name], by_name[starts[name]]) for name in recovered)
    return Verdicts(
        ordered,
        dict(zip((row.name for row in ordered), _ranks(ordered, sign), strict=True)),
        dict(zip((row.name for row in over), to_base, strict=True)),
        dict(zip(recovered, to_start, strict=True)),
    )


def _family(compared: Iterable[tuple[Row, Row]]) -> list[tuple[Difference, float]]:
    """Differences of rows, with the p values of this family of comparisons."""
    found = differences([*compared])
    return list(zip(found, holm([one.estimate.p for one in found]).tolist(), strict=True))


def _ranks(ordered: Sequence[Row], sign: int) -> list[tuple[int, int]]:
    """The places that each row may have; `ordered` are the best first."""
    found, n = pairs(ordered), len(ordered)
    above = np.tri(n, k=-1, dtype=bool)  # [n, n]: is the row of a column a better one?
    # over the seeds that two rows share, their order may be another: that decides nothing
    certain = np.where(above, -sign * found.means, sign * found.means) > 0
    others = ~np.eye(n, dtype=bool)
    corrected = holm(found.p[others].reshape(n, max(n - 1, 0)))
    certain[others] &= corrected.reshape(-1) <= LEVEL
    certain &= others
    better, worse = (certain & above).sum(1), (certain & ~above).sum(1)
    return [*zip((1 + better).tolist(), (n - worse).tolist(), strict=True)]


def holm(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """p values of a family, corrected so that 5 % holds for all of them (Holm, 1979).

    Of several families, each is a row.
    """
    p = np.asarray(values, np.float64)
    order = np.argsort(p, axis=-1, kind="stable")
    left = p.shape[-1] - np.arange(p.shape[-1])
    least = np.minimum(left * np.take_along_axis(p, order, -1), 1.0)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(least, axis=-1), -1)
    return adjusted
