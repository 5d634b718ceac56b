"""All comparisons of many rows at once: what `statistics.difference` says, as matrices.

The rows of a column are compared each with each, so that a board of some hundred methods has some
ten thousand comparisons a column. Of rows with the same seeds and images, which are most, all sums
of squares come from products of matrices of whole numbers, which are exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from bench.report.statistics import FLOOR, LEVEL, ROUNDING, Row, difference

NORMAL = 1.9599  # standard deviations: a little less than those of 5 %
Matrix = NDArray[np.float64]  # [n, n]


@dataclass(frozen=True)
class Pairs:
    """Of n rows: the mean of row i minus that of row j, and its p value of a difference of 0.

    A p value above 5 % is 1: nobody asks how far above, and most are, of rows of one kind.
    """

    means: Matrix
    p: Matrix


def pairs(rows: Sequence[Row]) -> Pairs:
    """Each row compared with each other one, as `difference` does."""
    found = Pairs(np.zeros((len(rows), len(rows))), np.ones((len(rows), len(rows))))
    groups: dict[object, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[_like(row)].append(number)
    for group in groups.values():
        block = np.ix_(group, group)
        members = [rows[number] for number in group]
        found.means[block], found.p[block] = (_figures if members[0].right is None else _shares)(
            members
        )
    for one, other in combinations(groups.values(), 2):
        for i in one:
            for j in other:
                estimate = difference(rows[i], rows[j]).estimate
                found.means[i, j], found.means[j, i] = estimate.mean, -estimate.mean
                found.p[i, j] = found.p[j, i] = estimate.p if estimate.p <= LEVEL else 1.0
    return found


def _like(row: Row) -> object:
    """Rows of one value are paired with each other in the same way."""
    made_by = [(seed, tuple(sorted(made.items()))) for seed, made in sorted(row.made_by.items())]
    shape = None if row.right is None else row.right.shape
    return tuple(row.seeds), row.images if shape else "", shape, tuple(made_by)


def _figures(rows: Sequence[Row]) -> tuple[Matrix, Matrix]:
    """Of paired figures [n, S]: `statistics.of_seeds` of all their differences."""
    values = np.array([list(row.values.values()) for row in rows])
    gaps = values[:, None] - values[None]  # [n, n, S]
    means, seeds = gaps.mean(2), gaps.shape[2]
    if seeds < 2:
        return means, np.ones_like(means)
    variances = gaps.var(2, ddof=1) / seeds
    variances[variances * (seeds - 1) <= (ROUNDING * means) ** 2] = 0.0  # they do not differ
    return means, _p(means, variances, [(np.ones_like(means), seeds - 1)])


def _shares(rows: Sequence[Row]) -> tuple[Matrix, Matrix]:
    """Of paired tables of bits [n, S, P]: `statistics.crossed` of all their differences."""
    bits = np.stack([row.right for row in rows if row.right is not None]).astype(np.float64)
    _, seeds, images = bits.shape
    cells = seeds * images
    by_seed, by_image = bits.sum(2), bits.sum(1)  # [n, S], [n, P]
    totals = by_seed.sum(1)
    means = (totals[:, None] - totals[None]) / cells
    if seeds < 2 or images < 2:
        return means, np.ones_like(means)
    shared = (totals[:, None] - totals[None]) ** 2 / cells
    # products of bits are exact in 32 bits as long as there are fewer than 2^24
    exact = np.float32 if cells < 2**24 else np.float64
    squares = _squares(bits.reshape(len(rows), cells).astype(exact)) - shared
    ss_seeds = _squares(by_seed) / images - shared
    ss_images = _squares(by_image) / seeds - shared
    rest = np.maximum(squares - ss_seeds - ss_images, 0.0) / (seeds - 1) / (images - 1)
    of_seed, of_image = ss_seeds / (seeds - 1), ss_images / (images - 1)
    variances = np.maximum.reduce([of_seed + of_image - rest, of_seed, of_image]) / cells
    least = (FLOOR / images) ** 2
    floored = variances < least
    share = np.where(floored, 0.0, of_seed / cells / np.where(floored, 1.0, variances))
    left = np.where(floored, 0.0, np.maximum(0.0, 1 - share))
    parts = [(share, seeds - 1.0), (left, images - 1.0), (1.0 * floored, np.inf)]
    return means, _p(means, np.where(floored, least, variances), parts)


def _squares(rows: NDArray[np.floating[Any]]) -> Matrix:
    """The squared distances of rows [n, k] of whole numbers from each other: exact, as products."""
    products = (rows @ rows.T).astype(np.float64)
    own = np.diag(products)
    squares: Matrix = own[:, None] + own[None] - 2 * products
    return squares


def _p(means: Matrix, variances: Matrix, parts: Sequence[tuple[Matrix, float]]) -> Matrix:
    """As `Estimate.p`: two-sided, under a mixture of Student's t by shares."""
    deviations = np.sqrt(np.where(variances > 0, variances, np.inf))
    # no tail is lighter than the normal distribution's
    i, j = np.nonzero(np.triu(np.abs(means) > NORMAL * deviations, 1))
    t = np.abs(means[i, j]) / deviations[i, j]
    p = np.ones_like(means)
    p[i, j] = p[j, i] = sum(share[i, j] * 2 * stdtr(freedom, -t) for share, freedom in parts)
    p[p > LEVEL] = 1.0
    return p
