"""Which differences are real: intervals of rows, and differences of two.

A row of a table was measured with some seeds on some test images, and both are samples: another
seed gives another student, other test images another share of right ones. They are crossed (each
student sees each image), so the variance of a mean is that of a two-way random design. A metric
that is no share of right images has its seeds alone.

Pure functions of arrays; sums of bits are whole numbers, so no order can change a digit.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.special import gammaln, stdtr, stdtrit

LEVEL = 0.05
ROUNDING = 1e-9  # figures that differ by less, as shares of their mean, do not differ
STEPS = 12  # of Newton, that find a quantile to the last digit but one
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
        return fmean(self.values.values())

    def at(self, seeds: tuple[int, ...]) -> Bits:
        """The bits of some seeds."""
        assert self.right is not None
        if self.seeds == seeds:
            return self.right
        return self.right[[self.seeds.index(seed) for seed in seeds]]


class Estimate(Struct, frozen=True):
    """A mean, its variance, and of which sources that is: (share, degrees of freedom).

    A variance of None is not known: one seed says nothing of others. Its distribution is a mixture
    of Student's t, by shares. Satterthwaite's one t counts the many images for the few seeds
    whenever seeds differ little by chance: with three seeds, 8 of 100 equal rows were told apart.
    """

    mean: float
    variance: float | None
    sources: tuple[tuple[float, float], ...] = ((1.0, math.inf),)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %."""
        return intervals([self])[0]

    @property
    def p(self) -> float:
        """Of a mean of 0, two-sided; 1 where nothing can be said."""
        if not self.variance or self.mean == 0:
            return 1.0
        return self._tails(abs(self.mean) / math.sqrt(self.variance))

    def _tails(self, t: float) -> float:
        return math.fsum(share * 2 * float(stdtr(f, -t)) for share, f in self.sources)


def intervals(estimates: Sequence[Estimate]) -> list[tuple[float, float] | None]:
    """Of each estimate, 95 %, or None where its variance is not known.

    The tails of a mixture fall, and ever less, so that Newton's steps from its lightest tail never
    go too far: all estimates take the same steps, till none moves.
    """
    known = [one for one in estimates if one.variance is not None]
    if not known:
        return [None] * len(estimates)
    most = max(len(one.sources) for one in known)
    padded = [(*one.sources, *[(0.0, math.inf)] * (most - len(one.sources))) for one in known]
    shares, freedom = np.moveaxis(np.array(padded), 2, 0)  # [N, most] each
    t = stdtrit(np.where(shares > 0, freedom, 0.0).max(1), 1 - LEVEL / 2)
    density = _density(freedom)
    for _ in range(STEPS):
        over = (shares * 2 * stdtr(freedom, -t[:, None])).sum(1) - LEVEL
        t = t + over / (shares * 2 * density(t[:, None])).sum(1)
    half = t * np.sqrt([one.variance or 0.0 for one in known])
    found = zip((one.mean for one in known), half.tolist(), strict=True)
    return [None if one.variance is None else _around(*next(found)) for one in estimates]


def _around(mean: float, half: float) -> tuple[float, float]:
    return mean - half, mean + half


def _density(
    freedom: NDArray[np.float64],
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Of Student's t."""
    f = np.minimum(freedom, 1e6)  # the normal distribution, to six digits
    scale = np.exp(gammaln((f + 1) / 2) - gammaln(f / 2)) / np.sqrt(np.pi * f)
    return lambda t: scale * (1 + t**2 / f) ** (-(f + 1) / 2)


class Difference(Struct, frozen=True):
    """One row minus another; `paired` where seeds and teachers are shared."""

    estimate: Estimate
    paired: bool
    seeds: int  # of the row that has fewer, or that both share


# ---- one row


def estimates(rows: Sequence[Row]) -> list[Estimate]:
    """The mean of each row and its variance."""
    of_bits = iter(crossed([row.right for row in rows if row.right is not None]))
    return [
        of_seeds([*row.values.values()]) if row.right is None else next(of_bits) for row in rows
    ]


def of_seeds(values: Sequence[float]) -> Estimate:
    """Of figures [S], one a seed; figures that do not differ say nothing of how they would."""
    n = len(values)
    mean = fmean(values)
    squares = math.fsum((v - mean) ** 2 for v in values)
    if n < 2 or squares <= n * (ROUNDING * mean) ** 2:
        return Estimate(mean, None)
    return Estimate(mean, squares / (n - 1) / n, ((1.0, n - 1),))


def crossed(tables: Sequence[Bits]) -> list[Estimate]:
    """Of tables [S, P] of -1, 0 and 1, whose rows are seeds and whose columns are images.

    Var = (MS_seeds + MS_images - MS_rest) / (S P), where MS are the mean squares of a two-way
    analysis of variance without repetition; never less than what seeds or images alone say, nor
    than `FLOOR` images: of no failure in P, no more is known than that their rate is under 3 / P.
    """
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, table in enumerate(tables):
        by_shape[table.shape].append(number)
    found: dict[int, Estimate] = {}
    for numbers in by_shape.values():
        stack = np.stack([tables[number] for number in numbers])
        found.update(zip(numbers, _crossed(stack), strict=True))
    return [found[number] for number in range(len(tables))]


def _crossed(stack: Bits) -> Iterable[Estimate]:
    """Of tables of one shape, [n, S, P]."""
    _, seeds, images = stack.shape
    by_seed, by_image = stack.sum(2, dtype=np.int64), stack.sum(1, dtype=np.int64)
    totals, cells = by_seed.sum(1), seeds * images
    means = (totals / cells).tolist()
    if seeds < 2 or images < 2:
        return [Estimate(mean, None) for mean in means]
    shared = totals**2 / cells
    squares = np.count_nonzero(stack, axis=(1, 2)) - shared
    ss_seeds = (by_seed**2).sum(1) / images - shared
    ss_images = (by_image**2).sum(1) / seeds - shared
    rest = np.maximum(squares - ss_seeds - ss_images, 0.0) / (seeds - 1) / (images - 1)
    parts = (ss_seeds / (seeds - 1), ss_images / (images - 1), rest)
    return [
        _of(mean, [(of_seed, seeds - 1)], of_image, left, cells, images)
        for mean, of_seed, of_image, left in zip(means, *(p.tolist() for p in parts), strict=True)
    ]


def _of(
    mean: float,
    seeds: Sequence[tuple[float, float]],
    of_image: float,
    rest: float,
    cells: float,
    images: int,
) -> Estimate:
    """An estimate from mean squares: of seeds (with degrees of freedom), of images, of the rest."""
    of_seeds = math.fsum(square for square, _ in seeds)
    variance = max(of_seeds + of_image - rest, of_seeds, of_image) / cells
    if variance < (least := (FLOOR / images) ** 2):
        return Estimate(mean, least)
    parts = [(square / cells / variance, f) for square, f in seeds]
    left = max(0.0, 1 - math.fsum(share for share, _ in parts))
    return Estimate(mean, variance, (*parts, (left, images - 1)))


# ---- two rows


def difference(one: Row, other: Row) -> Difference:
    """`differences` of two rows."""
    return differences([(one, other)])[0]


def differences(pairs: Sequence[tuple[Row, Row]]) -> list[Difference]:
    """Of each pair, one minus the other: paired at the seeds and images that they share, as far as
    they do.

    Where a seed's teacher differs, seeds are independent, and test images pair all the same;
    where images differ, nothing pairs (Welch, 1947).
    """
    gaps = [_gaps(one, other) for one, other in pairs]
    of_bits = iter(crossed([found for found in gaps if isinstance(found, np.ndarray)]))
    return [
        _unpaired(*pair)
        if found is None
        else Difference(
            of_seeds(found) if isinstance(found, list) else next(of_bits), True, len(found)
        )
        for pair, found in zip(pairs, gaps, strict=True)
    ]


def _gaps(one: Row, other: Row) -> Bits | list[float] | None:
    """One minus the other, a table or a figure a seed; None where they are not paired."""
    shared = tuple(seed for seed in one.seeds if seed in other.values)
    if not shared or not alike(one, other):
        return None
    if one.right is None or other.right is None:
        return [one.values[seed] - other.values[seed] for seed in shared]
    return one.at(shared) - other.at(shared) if _same_images(one, other) else None


def _same_images(one: Row, other: Row) -> tuple[Bits, Bits] | None:
    """The tables of two rows, if they are of the same images."""
    mine, theirs = one.right, other.right
    if mine is None or theirs is None or one.images != other.images:
        return None
    return (mine, theirs) if mine.shape[1] == theirs.shape[1] else None


def _unpaired(one: Row, other: Row) -> Difference:
    fewest = min(len(one.values), len(other.values))
    if tables := _same_images(one, other):
        return Difference(_images_alone(*tables), False, fewest)
    if one.right is None or other.right is None:
        both = [of_seeds([*row.values.values()]) for row in (one, other)]
    else:
        both = crossed([one.right, other.right])
    return Difference(_welch(*both), False, fewest)


def seeds_needed(found: Difference, most: int = 100) -> int | None:
    """How many seeds would tell two paired rows apart at 5 %, if this difference and its variances
    were the true ones; None if `most` would not, or nothing is known.

    More seeds shrink the share of the variance that is theirs; that of the test images stays. At
    that many seeds, half of such comparisons are significant.
    """
    one = found.estimate
    if not found.paired or one.variance is None or one.mean == 0:
        return None
    (share, _), *images = one.sources
    if images or math.isfinite(one.sources[0][1]):
        of_seeds, rest = one.variance * share * found.seeds, one.variance * (1 - share)
    else:  # no more is known than the number of images
        of_seeds, rest = 0.0, one.variance

    def tell(seeds: int) -> bool:
        variance = of_seeds / seeds + rest
        parts = [(of_seeds / seeds / variance, float(seeds - 1))]
        left = [(rest / variance, f) for _, f in images] or [(rest / variance, math.inf)]
        return Estimate(one.mean, variance, (*parts, *left)).p <= LEVEL

    # fewer never tell more
    return next(filter(tell, range(2, most + 1))) if most > 1 and tell(most) else None


def alike(one: Row, other: Row) -> bool:
    """Is what made two rows the same at each seed that they share, as far as both name it?"""
    seeds = one.made_by.keys() & other.made_by.keys()
    both = [(one.made_by[seed], other.made_by[seed]) for seed in seeds]
    return all(
        mine is theirs or all(mine[k] == theirs[k] for k in mine.keys() & theirs.keys())
        for mine, theirs in both
    )


def all_alike(rows: Iterable[Row]) -> bool:
    """Are any two of these rows alike?"""
    named: dict[tuple[int, str], str] = {}
    return all(
        named.setdefault((seed, key), value) == value
        for row in rows
        for seed, made in row.made_by.items()
        for key, value in made.items()
    )


def _welch(one: Estimate, other: Estimate) -> Estimate:
    """Of two independent estimates."""
    mean = one.mean - other.mean
    if one.variance is None or other.variance is None:
        return Estimate(mean, None)
    variance = one.variance + other.variance
    sides = [(side.variance or 0.0, side.sources) for side in (one, other)]
    if all(len(sources) == 1 for _, sources in sides):  # of seeds alone (Welch, 1947)
        squares = math.fsum(v**2 / sources[0][1] for v, sources in sides)
        return Estimate(mean, variance, ((1.0, variance**2 / squares if squares else math.inf),))
    shares = [(v / variance * share, f) for v, sources in sides for share, f in sources]
    return Estimate(mean, variance, tuple(shares))


def _images_alone(one: Bits, other: Bits) -> Estimate:
    """Of tables [S, P] and [T, P] whose images are the same and whose seeds are not."""
    mean = one.sum(dtype=np.int64) / one.size - other.sum(dtype=np.int64) / other.size
    if len(one) < 2 or len(other) < 2:
        return Estimate(float(mean), None)
    images = one.shape[1]
    of_image = float((one.mean(0) - other.mean(0)).var(ddof=1)) / images
    seeds, rest = [], 0.0
    for table in (one, other):
        rates = table.mean(1)
        seeds.append((float(rates.var(ddof=1)) / len(table), len(table) - 1))
        left = table - rates[:, None] - table.mean(0) + table.mean()
        rest += float((left**2).sum()) / (len(table) - 1) / (images - 1) / table.size
    return _of(float(mean), seeds, of_image, rest, 1, images)
