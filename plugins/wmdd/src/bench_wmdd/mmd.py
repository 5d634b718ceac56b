"""The control: points that are near in maximum mean discrepancy instead of Wasserstein distance.

MMD^2(X, P) = mean k(x, x') - 2 mean k(x, p) + mean k(p, p') (Gretton et al., 2012), with
k(x, y) = exp(-|x - y|^2 / (2 h^2)). The width h of the kernel is the median distance between
points, times a factor; what comes out depends on it, where a Wasserstein barycenter has nothing
to set (`docs/barycenters.md` has figures).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench import BenchError
from bench_wmdd.supports import checked, scattered

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE = 1000  # points of which the median distance is taken


def mmd(
    points: Tensor, k: int, *, factor: float = 1.0, steps: int = 100, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """k positions [k, d] at a local minimum of the MMD to `points` [n, d], and weights 1/k [k].

    factor  of the median distance, the width of the kernel
    steps   of L-BFGS, from points that lie far apart
    Raises BenchError as `barycenter` does, and unless the factor is positive.
    """
    import torch

    if not (math.isfinite(factor) and factor > 0):
        raise BenchError(f"factor is {factor}; expected a positive number; 1 is the median")
    found = checked(points, k)
    width = factor * median_distance(found, seed)
    unit = (found.double() - found.double().mean(0)) / width  # so that steps know no unit
    with torch.enable_grad():
        x = scattered(unit, k, seed).clone().requires_grad_()
        search = torch.optim.LBFGS([x], max_iter=steps, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            value = k * discrepancy(x, unit)  # the part of a point does not fall with k
            value.backward()  # type: ignore[no-untyped-call]
            return value

        search.step(loss)  # type: ignore[no-untyped-call]
    positions = x.detach() * width + found.double().mean(0)
    weights = torch.full((k,), 1 / k, dtype=found.dtype)
    return positions.to(found.dtype).to(points.device), weights.to(points.device)


def discrepancy(x: Tensor, points: Tensor) -> Tensor:
    """MMD^2 between x [k, d] and points [n, d], less the part of the points alone; h = 1."""
    return _kernel(x, x).mean() - 2 * _kernel(x, points).mean()


def median_distance(points: Tensor, seed: int = 0) -> float:
    """Between different points; of at most a thousand of them. 1 where none differ."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    some = points[torch.randperm(len(points), generator=generator)[:SAMPLE]]
    distances = torch.nn.functional.pdist(some.double())
    distances = distances[distances > 0]
    return float(distances.median()) if len(distances) else 1.0


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    import torch

    squares = x.square().sum(1)[:, None] + y.square().sum(1)
    return torch.exp(-torch.addmm(squares, x, y.T, alpha=-2).clamp_min(0) / 2)
