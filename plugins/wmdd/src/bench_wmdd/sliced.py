"""Barycenters in the sliced Wasserstein distance: transport on lines, where it is sorting.

SW2^2(X, P) is the mean over directions of W2^2 between the projections of X and of P (Rabin,
Peyre, Delon and Bernot, 2012; Bonneel et al., 2015). On one line k points of mass 1/k match n
points best by rank: the j-th smallest takes the mean of the j-th of k equal parts of the sorted
projections. Each step moves the projections on a few orthogonal directions to what they match.
The directions are new in every step: fixed ones hold the points where their ranks happen to be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench_wmdd.supports import checked

if TYPE_CHECKING:
    from torch import Tensor


def sliced(
    points: Tensor, k: int, *, directions: int = 64, steps: int = 100, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """k positions [k, d] near to `points` [n, d] in the sliced distance, and weights 1/k [k].

    directions  orthogonal unit vectors of a step; all dimensions where there are fewer
    steps       from random points; their length falls from 1 to 0
    Raises BenchError as `barycenter` does.
    """
    import torch

    found = checked(points, k)
    centre = found.mean(0)
    centred = found - centre
    generator = torch.Generator().manual_seed(seed)
    positions = centred[torch.randperm(len(found), generator=generator)[:k]]
    for step in range(steps):
        drawn = torch.randn(
            found.shape[1],
            min(directions, found.shape[1]),
            generator=generator,
            dtype=found.dtype,
        )
        lines = torch.linalg.qr(drawn).Q  # [d, directions]
        projected = positions @ lines
        ranks = projected.argsort(dim=0, stable=True).argsort(dim=0)
        target = quantiles(centred @ lines, k).gather(0, ranks)
        positions = positions + (1 - step / steps) * (target - projected) @ lines.T
    weights = torch.full((k,), 1 / k, dtype=found.dtype)
    return (positions + centre).to(points.device), weights.to(points.device)


def quantiles(values: Tensor, k: int) -> Tensor:
    """Means of k equal parts of each column of `values` [n, m], sorted: [k, m].

    A value on the border of two parts is shared between them.
    """
    import torch

    n = len(values)
    sums = values.double().sort(0).values.cumsum(0)
    sums = torch.cat([torch.zeros_like(sums[:1]), sums])  # of the least 0, 1, ... n values
    ends = torch.arange(k + 1, dtype=torch.float64) * n / k
    low = ends.floor().long().clamp_max(n - 1)
    share = (ends - low)[:, None]
    until = sums[low] + share * (sums[low + 1] - sums[low])
    return (until.diff(dim=0) * k / n).to(values.dtype)
