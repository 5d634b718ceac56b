"""Which differences are real: intervals, paired differences, tie groups and ranks.

A row of a table was measured with some seeds on some test images, and both are samples: another
seed gives another student, other test images another share of right ones. They are crossed (each
student sees each image), so the variance of a mean is that of a two-way random design. A metric
that is no share of right images has its seeds alone.

Pure functions of arrays; sums of bits are whole numbers, so no order can change a digit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

LEVEL = 0.05
POWER = 0.8
FLOOR = 1.5  # standard errors are at least so many images: twice that is the "rule of three"

Bits = NDArray[np.int8]  # [S, P], S seeds and P test images


@dataclass(frozen=True, eq=False)
class Row:
    """What was measured of one row: a figure a seed, and which images were right, if that is it.

    `images` names the test images; rows of one name share them. `made_by` says by seed what else a
    result depends on that rows may share, by name (its teacher, the protocol): two rows are paired
    where all that both name is the same.
    """

    name: str
    values: Mapping[int, float]  # by seed
    right: Bits | None = None  # [S, P], in the order of `values`
    images: str = ""
    made_by: Mapping[int, Mapping[str, str]] = field(default_factory=dict)

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.values)

    @property
    def mean(self) -> float:
        return math.fsum(self.values.values()) / len(self.values)

    def at(self, seeds: Sequence[int]) -> Bits:
        """The bits of some seeds."""
        assert self.right is not None
        return self.right[[self.seeds.index(seed) for seed in seeds]]


@dataclass(frozen=True)
class Estimate:
    """A mean and its variance, with the degrees of freedom of the latter (Satterthwaite, 1946).

    A variance of None is not known: one seed of a metric that has nothing but seeds.
    """

    mean: float
    variance: float | None
    freedom: float = math.inf
    parts: tuple[float, float, float] | None = None  # of seeds, of images, of what is left

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %."""
        if self.variance is None:
            return None
        half = float(stdtrit(self.freedom, 1 - LEVEL / 2)) * math.sqrt(self.variance)
        return self.mean - half, self.mean + half

    @property
    def p(self) -> float:
        """Of a mean of 0, two-sided; 1 where nothing can be said."""
        if self.variance is None or self.mean == 0:
            return 1.0
        if self.variance == 0:
            return 0.0
        return float(2 * stdtr(self.freedom, -abs(self.mean) / math.sqrt(self.variance)))


@dataclass(frozen=True)
class Difference:
    """One row minus another; `paired` where seeds and teachers are shared."""

    estimate: Estimate
    paired: bool
    seeds: int  # of the row that has fewer, or that both share
    images: int = 0

    @property
    def seeds_needed(self) -> int | None:
        """Seeds that would tell the rows apart at 5 % with a power of 80 %.

        None where no number would: test images alone blur as much, or the rows do not differ.
        """
        if not self.estimate.parts or not self.estimate.mean or not self.images:
            return None
        of_seeds, of_images, left = self.estimate.parts
        needed = float(ndtri(1 - LEVEL / 2) + ndtri(POWER))
        room = (self.estimate.mean / needed) ** 2 - of_images / self.images
        if room <= 0:
            return None
        return max(2, math.ceil((of_seeds + left / self.images) / room))


# ---- one row


def estimate(row: Row) -> Estimate:
    """The mean of a row and its variance."""
    if row.right is None:
        return of_seeds(list(row.values.values()))
    return crossed(row.right)


def of_seeds(values: Sequence[float]) -> Estimate:
    """Of figures [S], one a seed."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return Estimate(mean, None)
    return Estimate(mean, math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n, n - 1)


def crossed(table: NDArray[np.int8]) -> Estimate:
    """Of a table [S, P] of whole numbers, whose rows are seeds and whose columns are images.

    Var = (MS_seeds + MS_images - MS_rest) / (S P), where MS are the mean squares of a two-way
    analysis of variance without repetition; never less than what seeds or images alone say, nor
    than `FLOOR` images: of no failure in P, no more is known than that their rate is under 3 / P.
    """
    seeds, images = table.shape
    by_seed = table.sum(1, dtype=np.int64)
    by_image = table.sum(0, dtype=np.int64)
    total, cells = int(by_seed.sum()), seeds * images
    shared = total**2 / cells
    squares = int(np.count_nonzero(table)) - shared  # -1, 0 and 1 are their own squares, or 1
    ss_seeds = int((by_seed**2).sum()) / images - shared
    ss_images = int((by_image**2).sum()) / seeds - shared
    free_seeds, free_images = seeds - 1, images - 1
    ms_images = ss_images / max(free_images, 1)
    if seeds == 1:
        variance = ms_images / images
        parts = (0.0, 0.0, ms_images)
        return _floored(total / cells, variance, max(free_images, 1), images, parts)
    ms_seeds = ss_seeds / free_seeds
    free_rest = free_seeds * max(free_images, 1)
    ms_rest = max(squares - ss_seeds - ss_images, 0.0) / free_rest
    terms = (
        (ms_seeds / cells, free_seeds),
        (ms_images / cells, max(free_images, 1)),
        (-ms_rest / cells, free_rest),
    )
    parts = (
        max(0.0, (ms_seeds - ms_rest) / images),
        max(0.0, (ms_images - ms_rest) / seeds),
        ms_rest,
    )
    return _joined(total / cells, terms, images, parts)


def _joined(
    mean: float,
    terms: Sequence[tuple[float, float]],
    images: int,
    parts: tuple[float, float, float] | None,
) -> Estimate:
    """A variance that is a sum of estimates, each with its degrees of freedom."""
    variance = math.fsum(v for v, _ in terms)
    alone, freedom = max((v, f) for v, f in terms)
    if variance <= alone:
        return _floored(mean, alone, freedom, images, parts)
    freedom = variance**2 / math.fsum(v**2 / f for v, f in terms)
    return _floored(mean, variance, freedom, images, parts)


def _floored(
    mean: float,
    variance: float,
    freedom: float,
    images: int,
    parts: tuple[float, float, float] | None,
) -> Estimate:
    least = (FLOOR / images) ** 2
    if variance < least:
        return Estimate(mean, least, math.inf, parts)
    return Estimate(mean, variance, freedom, parts)


# ---- two rows


def difference(one: Row, other: Row) -> Difference:
    """`one` minus `other`: paired at the seeds and images that they share, as far as they do.

    Where a seed's teacher differs, seeds are independent, and test images pair all the same;
    where images differ, nothing pairs (Welch, 1947).
    """
    shared = [seed for seed in one.seeds if seed in other.values]
    paired = bool(shared) and alike(one, other)
    if one.right is None or other.right is None:
        if paired:
            gaps = [one.values[seed] - other.values[seed] for seed in shared]
            return Difference(of_seeds(gaps), True, len(shared))
        both = [of_seeds(list(row.values.values())) for row in (one, other)]
        return Difference(_welch(*both), False, min(len(one.values), len(other.values)))
    same_images = one.images == other.images and one.right.shape[1] == other.right.shape[1]
    images = one.right.shape[1]
    if paired and same_images:
        found = crossed(one.at(shared) - other.at(shared))
        return Difference(found, True, len(shared), images)
    fewest = min(len(one.values), len(other.values))
    if not same_images:
        return Difference(_welch(crossed(one.right), crossed(other.right)), False, fewest)
    return Difference(_images_alone(one.right, other.right), False, fewest, images)


def alike(one: Row, other: Row) -> bool:
    """Is what made two rows the same at each seed that they share, as far as both name it?"""
    seeds = one.made_by.keys() & other.made_by.keys()
    both = [(one.made_by[seed], other.made_by[seed]) for seed in seeds]
    return all(mine[k] == theirs[k] for mine, theirs in both for k in mine.keys() & theirs.keys())


def _welch(one: Estimate, other: Estimate) -> Estimate:
    mean = one.mean - other.mean
    if one.variance is None or other.variance is None:
        return Estimate(mean, None)
    variance = one.variance + other.variance
    if not variance:
        return Estimate(mean, 0.0)
    squares = one.variance**2 / one.freedom + other.variance**2 / other.freedom
    return Estimate(mean, variance, variance**2 / squares if squares else math.inf)


def _images_alone(one: Bits, other: Bits) -> Estimate:
    """Of tables [S, P] and [T, P] whose images are the same and whose seeds are not."""
    images = one.shape[1]
    gap = one.mean(0) - other.mean(0)  # [P]
    mean = one.sum(dtype=np.int64) / one.size - other.sum(dtype=np.int64) / other.size
    terms: list[tuple[float, float]] = [(float(gap.var(ddof=1)) / images, images - 1)]
    for table in (one, other):
        seeds = len(table)
        if seeds > 1:
            rates = table.mean(1)
            terms.append((float(rates.var(ddof=1)) / seeds, seeds - 1))
            rest = table - rates[:, None] - table.mean(0) + table.mean()
            free = (seeds - 1) * (images - 1)
            terms.append((-float((rest**2).sum()) / free / table.size, free))
    return _joined(float(mean), terms, images, None)


# ---- many rows


@dataclass(frozen=True)
class Verdicts:
    """What can be said of the rows of one column, which are given the best first.

    `ranks` are the places that each may have, of the comparisons of that row with all others;
    `over` are the differences to the baseline, with their p values after Holm's correction;
    `separable` of `neighbours` adjacent rows are told apart.
    """

    ranks: Mapping[str, tuple[int, int]]
    over: Mapping[str, tuple[Difference, float]]
    neighbours: tuple[tuple[str, str, Difference, float], ...]

    @property
    def separable(self) -> int:
        return sum(p <= LEVEL for _, _, _, p in self.neighbours)


def verdicts(rows: Sequence[Row], *, higher: bool, baseline: str = "") -> Verdicts:
    """Compare rows, at 5 % within each family of comparisons (Holm, 1979).

    A row's rank interval comes from its comparisons with all others (Mogstad et al., 2024: a
    marginal interval); rows whose interval begins at 1 may be the best, and are the tie group.
    """
    sign = 1 if higher else -1
    ordered = sorted(rows, key=lambda row: (-sign * row.mean, row.name))
    apart = {
        (a.name, b.name): difference(a, b) for i, a in enumerate(ordered) for b in ordered[i + 1 :]
    }
    ranks = {}
    for place, row in enumerate(ordered):
        above = [apart[other.name, row.name] for other in ordered[:place]]
        below = [apart[row.name, other.name] for other in ordered[place + 1 :]]
        adjusted = holm([one.estimate.p for one in (*above, *below)])
        certain = [p <= LEVEL for p in adjusted]
        better, worse = sum(certain[:place]), sum(certain[place:])
        ranks[row.name] = (1 + better, len(ordered) - worse)
    with_base = [row for row in ordered if row.name != baseline] if baseline else []
    base = next((row for row in ordered if row.name == baseline), None)
    over = [difference(row, base) for row in with_base] if base else []
    near = [apart[a.name, b.name] for a, b in pairwise(ordered)]
    return Verdicts(
        ranks,
        {
            row.name: (one, p)
            for row, one, p in zip(
                with_base if base else [], over, holm([o.estimate.p for o in over]), strict=True
            )
        },
        tuple(
            (a.name, b.name, one, p)
            for (a, b), one, p in zip(
                pairwise(ordered), near, holm([o.estimate.p for o in near]), strict=True
            )
        ),
    )


def holm(values: Sequence[float]) -> list[float]:
    """p values of one family, corrected so that 5 % holds for all of them (Holm, 1979)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, least = [1.0] * len(values), 0.0
    for position, index in enumerate(order):
        least = max(least, min(1.0, (len(values) - position) * values[index]))
        adjusted[index] = least
    return adjusted
