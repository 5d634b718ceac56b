"""Wasserstein barycenters: few weighted points that stand for many.

For n points P with masses 1/n, find k positions X and weights w that minimise

    W2^2 = min_T  sum_ji T_ji |X_j - P_i|^2,  T >= 0, rows of T sum to w, columns to 1/n.

Of several measures this is the barycenter of Cuturi and Doucet (2014), found by solving for
weights and positions in turn. Of one measure, which is what a class is, it is optimal
quantisation: with X fixed the best weights are the masses of the cells of the points nearest to
each X_j, with the cells fixed the best positions are their means, so that the minimum over both
is that of k-means (Pollard, 1982; Graf and Luschgy, 2000, section 4). No transport needs to be
solved. With weights fixed to 1/k the cells have equal masses, and each step is a transport.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bench import BenchError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = ("free", "uniform")


def barycenter(
    points: Tensor, k: int, *, weights: str = "free", seed: int = 0
) -> tuple[Tensor, Tensor]:
    """k positions [k, d] and weights [k] (positive, sum 1) near to `points` [n, d] in W2.

    In the units of the points, and in their dtype (float32 or float64; others become float32).
    weights  "free": each the mass of the points nearest to it (`bench_wmdd.quantisation`);
             "uniform": 1/k, by `ot.lp.free_support_barycenter` (POT) from points far apart.
    Both are local minima.
    k = 1 gives the mean, k = n the points. Where fewer than k points differ, positions repeat.
    Raises BenchError unless 1 <= k <= n, the points are a finite [n, d] and `weights` is known.
    """
    import torch

    from bench_wmdd.quantisation import partition

    if weights not in WEIGHTS:
        raise BenchError(f"weights is {weights!r}; expected one of {', '.join(WEIGHTS)}")
    found = checked(points, k)
    if weights == "uniform":
        positions = _uniform(found, k, seed)
        mass = torch.full((k,), 1 / k, dtype=torch.float64)
    else:
        cells = partition(found, k, seed)
        count = cells.bincount(minlength=k).double()
        sums = torch.zeros(k, found.shape[1], dtype=torch.float64)
        positions = sums.index_add_(0, cells, found.double()) / count[:, None]
        mass = count / len(found)
    return positions.to(found.dtype).to(points.device), mass.to(found.dtype).to(points.device)


def barycenters(
    points_by_class: Iterable[Tensor], k: int, *, weights: str = "free", seed: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """`barycenter` of each class in turn: positions [k, d] and weights [k].

    Classes may differ in size. One is asked for when its turn comes, and none is kept, so a
    generator that makes the features of a class on demand needs the memory of one. The result of
    a class does not depend on the others. An error says at which class.
    """
    for label, points in enumerate(points_by_class):
        try:
            found = barycenter(points, k, weights=weights, seed=seed)
        except BenchError as error:
            raise BenchError(f"class {label}: {error}") from None
        del points
        yield found


def checked(points: Tensor, k: int) -> Tensor:
    """The points as finite floats [n, d] on the CPU, with 1 <= k <= n. Raises BenchError."""
    import torch

    if k < 1:
        raise BenchError(f"k is {k}; expected 1 or more support points; raise k")
    if points.ndim != 2 or not points.shape[1]:
        raise BenchError(
            f"the points are of shape {list(points.shape)}; expected [n, d]; flatten the features"
        )
    if len(points) < k:
        raise BenchError(
            f"there are {len(points)} points for a support of {k}; expected at least as many; "
            "lower k (the images per class)"
        )
    found = points.detach().cpu()
    if found.dtype not in (torch.float32, torch.float64):
        found = found.float()
    if not bool(found.isfinite().all()):
        bad = int((~found.isfinite()).any(1).sum())
        raise BenchError(
            f"{bad} of {len(found)} points hold NaN or infinity; expected finite features; "
            "look at the teacher that gave them"
        )
    return found


def scattered(points: Tensor, k: int, seed: int) -> Tensor:
    """k of the points [k, d] that lie far apart (k-means++): where iterations start."""
    import torch

    from bench_wmdd.quantisation import spread

    return points[spread(points, k, torch.Generator().manual_seed(seed))]


def _uniform(points: Tensor, k: int, seed: int) -> Tensor:
    import numpy as np
    import ot
    import torch

    centre = points.double().mean(0)
    centred = points.double() - centre
    found = ot.lp.free_support_barycenter(
        [centred.numpy()],
        [np.full(len(points), 1 / len(points))],
        scattered(centred, k, seed).numpy(),
        b=np.full(k, 1 / k),
    )
    return torch.from_numpy(found) + centre
