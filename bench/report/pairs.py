"""All comparisons of many rows at once: what `statistics.difference` says, as matrices.

The rows of a column are compared each with each, so that a board of some hundred methods has some
ten thousand comparisons a column. Of rows with the same seeds and images, which are most, all sums
of squares come from products of matrices of whole numbers, which are exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from bench.report.statistics import FLOOR, LEVEL, ROUNDING, Row, difference

NORMAL = 1.9599  # standard deviations: a little less than those of 5 %
Matrix = NDArray[np.float64]  # [n, n]
Vector = NDArray[np.float64]  # [k], of k pairs
Index = NDArray[np.intp]  # [k], which rows they are of


@dataclass(frozen=True)
class Pairs:
    """Of n rows: the mean of row i minus that of row j, and its p value of a difference of 0.

    A p value above 5 % is 1: nobody asks how far above, and most are, of rows of one kind.
    """

    means: Matrix
    p: Matrix

    def put(self, i: Any, j: Any, means: Any, p: Any) -> None:
        """Note what is known of some pairs, both ways round."""
        self.means[i, j], self.means[j, i] = means, -means
        self.p[i, j] = self.p[j, i] = np.where(p > LEVEL, 1.0, p)


def pairs(rows: Sequence[Row]) -> Pairs:
    """Each row compared with each other one, as `difference` does."""
    found = Pairs(np.zeros((len(rows), len(rows))), np.ones((len(rows), len(rows))))
    groups: dict[object, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[_like(row)].append(number)
    for group in groups.values():
        members, place = [rows[number] for number in group], np.array(group)
        i, j = np.triu_indices(len(group), 1)
        compared = _figures if members[0].right is None else _shares
        found.put(place[i], place[j], *compared(members, i, j))
    for some, others in combinations(groups.values(), 2):
        for one, other in product(some, others):
            estimate = difference(rows[one], rows[other]).estimate
            found.put(one, other, estimate.mean, estimate.p)
    return found


def _like(row: Row) -> object:
    """Rows of one value are paired with each other in the same way.

    What made them is told by `id`: where it is the same, `standing.Known` gives one object.
    """
    made_by = {(seed, id(made)) for seed, made in row.made_by.items()}
    shape = None if row.right is None else row.right.shape
    return row.seeds, row.images if shape else "", shape, frozenset(made_by)


def _figures(rows: Sequence[Row], i: Index, j: Index) -> tuple[Vector, Vector]:
    """Of paired figures, S a row: `statistics.of_seeds` of differences."""
    values = np.array([list(row.values.values()) for row in rows]).T
    gaps = values[:, i] - values[:, j]  # [S, k]
    means, seeds = gaps.mean(0), len(gaps)
    if seeds < 2:
        return means, np.ones_like(means)
    variances = gaps.var(0, ddof=1) / seeds
    variances[variances * (seeds - 1) <= (ROUNDING * means) ** 2] = 0.0  # they do not differ
    return means, _p(means, variances, [(np.ones_like(means), seeds - 1)])


def _shares(rows: Sequence[Row], i: Index, j: Index) -> tuple[Vector, Vector]:
    """Of paired tables of bits, [S, P] a row: `statistics.crossed` of differences."""
    right = np.stack([row.right for row in rows if row.right is not None])
    _, seeds, images = right.shape
    cells = seeds * images
    # sums and products of bits are exact in 32 bits as long as there are fewer than 2^24
    bits = right.astype(np.float32 if cells < 2**24 else np.float64)
    by_seed = (bits @ np.ones(images, bits.dtype)).astype(np.float64)  # [n, S]
    by_image = bits.sum(1).astype(np.float64)  # [n, P]
    totals = by_seed.sum(1)
    gaps = totals[i] - totals[j]
    means = gaps / cells
    if seeds < 2 or images < 2:
        return means, np.ones_like(means)
    shared = gaps**2 / cells
    squares = _squares(bits.reshape(-1, cells), i, j) - shared
    ss_seeds = _squares(by_seed, i, j) / images - shared
    ss_images = _squares(by_image, i, j) / seeds - shared
    rest = np.maximum(squares - ss_seeds - ss_images, 0.0) / (seeds - 1) / (images - 1)
    of_seed, of_image = ss_seeds / (seeds - 1), ss_images / (images - 1)
    variances = np.maximum.reduce([of_seed + of_image - rest, of_seed, of_image]) / cells
    least = (FLOOR / images) ** 2
    floored = variances < least
    share = np.where(floored, 0.0, of_seed / cells / np.where(floored, 1.0, variances))
    left = np.where(floored, 0.0, np.maximum(0.0, 1 - share))
    parts = [(share, seeds - 1.0), (left, images - 1.0), (1.0 * floored, np.inf)]
    return means, _p(means, np.where(floored, least, variances), parts)


def _squares(rows: NDArray[Any], i: Index, j: Index) -> Vector:
    """Squared distances between rows [n, k] of whole numbers: exact, as products."""
    products = (rows @ rows.T).astype(np.float64)
    own = np.diag(products)
    squares: Vector = own[i] + own[j] - 2 * products[i, j]
    return squares


def _p(means: Vector, variances: Vector, parts: Sequence[tuple[Vector, float]]) -> Vector:
    """As `Estimate.p`: two-sided, under a mixture of Student's t by shares."""
    deviations = np.sqrt(np.where(variances > 0, variances, np.inf))
    # no tail is lighter than the normal distribution's
    asked = np.abs(means) > NORMAL * deviations
    t = np.abs(means[asked]) / deviations[asked]
    p = np.ones_like(means)
    p[asked] = sum(share[asked] * 2 * stdtr(freedom, -t) for share, freedom in parts)
    return p
