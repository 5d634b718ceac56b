"""Optimal quantisation: a partition of points into k cells with a small sum of squares.

Lloyd's algorithm stops where every point is nearest to the mean of its own cell. With few points
in many dimensions that is almost anywhere, since a point draws the mean of its cell towards
itself. Hartigan's criterion allows for that: point p should leave cell a for cell b if

    n_b / (n_b + 1) |p - b|^2  <  n_a / (n_a - 1) |p - a|^2

(Hartigan, 1975; Telgarsky and Vattani, 2010: its optima are some of Lloyd's). Here all points that
gain move at once, or the better half of them, or of that, until the sum of squares falls: a pass
costs what one of Lloyd's does. Where it ends, one cell may still span two groups while two share
another: while halving a cell gains clearly more than joining two others costs, both are done and
points move again. Every step lowers the sum of squares.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

CLEAR = 0.01  # a point moves to save this share of what it costs, or to be nearer to a mean
TRADED = 0.005  # two cells are joined and one is halved to save this share of the sum of squares


def partition(points: Tensor, k: int, seed: int) -> Tensor:
    """The cell of each of n points [n, d]: int64 [n], from 0 to k - 1, none empty; 1 <= k <= n.

    Each point is nearest to the mean of its own cell.
    """
    points = points - points.mean(0)
    points = points / points.abs().amax().clamp_min(torch.finfo(points.dtype).tiny)
    start = spread(points, k, torch.Generator().manual_seed(seed))
    squares = points.square().sum(1)
    cells = _distances(points[start], points, squares).argmin(0)
    cells[start] = torch.arange(k)  # so that a start among its duplicates has a cell, too
    total = float(points.double().square().sum())
    cells, explained = _exchange(points, squares, cells, k)
    while (traded := _trade(points, squares, cells, k, TRADED * (total - explained))) is not None:
        moved, now = _exchange(points, squares, traded, k)
        if now <= explained:  # the gain was one of rounding
            break
        cells, explained = moved, now
    return cells


def spread(points: Tensor, k: int, generator: Generator) -> Tensor:
    """Positions [k] of k different rows of `points` [n, d] that lie far apart.

    Greedy k-means++ (Arthur and Vassilvitskii, 2007): each is the best of a few rows that are
    drawn in proportion to the squared distance to those before.
    """
    n, trials = len(points), 2 + int(math.log(k))
    picked = [int(torch.randint(n, (1,), generator=generator))]
    squares = points.square().sum(1)
    near = _distances(points[picked], points, squares)[0]  # squared distance to what is picked
    near[picked] = 0
    while len(picked) < k and near.any():
        drawn = torch.multinomial(near, trials, replacement=True, generator=generator)
        nearer = torch.minimum(_distances(points[drawn], points, squares), near)  # [trials, n]
        best = int(nearer.sum(1).argmin())
        picked.append(int(drawn[best]))
        near = nearer[best]
        near[picked[-1]] = 0
    if len(picked) < k:  # all other rows are duplicates
        left = torch.ones(n, dtype=torch.bool)
        left[picked] = False
        picked += left.nonzero()[: k - len(picked), 0].tolist()
    return torch.tensor(picked)


def _distances(centres: Tensor, points: Tensor, squares: Tensor) -> Tensor:
    """Squared, [k, n]; `squares` [n] are those of the points."""
    offsets = centres.square().sum(1)[:, None] + squares
    return torch.addmm(offsets, centres, points.T, alpha=-2).clamp_min_(0)


def _exchange(points: Tensor, squares: Tensor, cells: Tensor, k: int) -> tuple[Tensor, float]:
    """Move points between cells until none gains: the cells [n], and the sum that they explain.

    That sum, of n_j |mean_j|^2, and the sum of squares within cells add up to that of the points.
    """
    cells = cells.clone()
    count, sums = _tally(points, cells, k)
    explained = _explained(count, sums)
    distance = points.new_empty(k, len(points))
    changed, most = torch.arange(k), len(points)
    while True:
        means = sums[changed] / count[changed, None]
        distance[changed] = _distances(means, points, squares)
        own = cells[None]
        fewer, more = 1 - 1 / count, count / (count + 1)
        left = fewer[cells]  # 0: an only point, which never leaves
        leave = torch.where(left > 0, distance.gather(0, own)[0] / left, 0.0)
        cost, target = (distance * more[:, None]).scatter_(0, own, torch.inf).min(0)
        gain = leave - cost
        nearer = 1 - left * more[target]  # the share from which on the target's mean is nearer
        movers = (gain > leave * nearer.clamp_max(CLEAR)).nonzero()[:, 0]
        movers = movers[gain[movers].argsort(descending=True, stable=True)][:most]
        while len(movers):
            source, to, moving = cells[movers], target[movers], points[movers]
            after = count - source.bincount(minlength=k) + to.bincount(minlength=k)
            shifted = sums.index_add(0, source, moving, alpha=-1).index_add_(0, to, moving)
            now = _explained(after, shifted)
            if now > explained and bool((after > 0).all()):
                break
            movers = movers[: len(movers) // 2]
        if not len(movers):
            return cells, explained
        most = 2 * len(movers) + 1  # what failed now would fail again
        cells[movers] = to
        count, sums, explained = after, shifted, now
        touched = torch.zeros(k, dtype=torch.bool)
        touched[source] = touched[to] = True
        changed = touched.nonzero()[:, 0]


def _trade(points: Tensor, squares: Tensor, cells: Tensor, k: int, least: float) -> Tensor | None:
    """The cells after halving the one that gains most by it and joining the two closest others.

    None where that lowers the sum of squares by no more than `least`.
    """
    if k < 3:
        return None
    count, sums = _tally(points, cells, k)
    means = sums / count[:, None]
    gains, half = _halves(points, squares, cells, count, means)
    split = int(gains.argmax())
    # what joining two cells costs (Ward, 1963)
    costs = _distances(means, means, means.square().sum(1))
    costs *= count * count[:, None] / (count + count[:, None])
    costs[split] = costs[:, split] = torch.inf
    costs.fill_diagonal_(torch.inf)
    kept, freed = divmod(int(costs.argmin()), k)
    if float(gains[split] - costs[kept, freed]) <= max(0.0, least):
        return None
    traded = torch.where(cells == freed, kept, cells)
    return torch.where((cells == split) & half, freed, traded)


def _halves(
    points: Tensor, squares: Tensor, cells: Tensor, count: Tensor, means: Tensor, steps: int = 3
) -> tuple[Tensor, Tensor]:
    """Each cell in two by a few steps of 2-means: what that gains [k], and a side for each point.

    The first cut of a cell faces the point that is farthest from its mean.
    """
    n, k, own = len(cells), len(count), cells[None]
    far = _distances(means, points, squares).gather(0, own)[0]
    radius = far.new_zeros(k).scatter_reduce_(0, cells, far, "amax")
    index = torch.where(far < radius[cells], n, torch.arange(n))
    axis = points[torch.full((k,), n).scatter_reduce_(0, cells, index, "amin")] - means
    middle = torch.zeros_like(count)
    for _ in range(steps):
        threshold = middle + (axis * means).sum(1)
        side = (axis @ points.T).gather(0, own)[0] > threshold[cells]
        ones, sums = _tally(points[side], cells[side], k)
        axis = sums - ones[:, None] * means  # the offsets of the other half add up to -axis
        square = axis.square().sum(1)
        gain, other = square / ones.clamp_min(1), square / (count - ones).clamp_min(1)
        middle = (gain - other) / 2
    return torch.where((ones > 0) & (ones < count), gain + other, 0.0), side


def _tally(points: Tensor, cells: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """How many points are in each cell [k], and their sums [k, d]."""
    sums = points.new_zeros(k, points.shape[1]).index_add_(0, cells, points)
    return cells.bincount(minlength=k).to(points), sums


def _explained(count: Tensor, sums: Tensor) -> float:
    return float((sums.double().square().sum(1) / count.clamp_min(1)).sum())
