"""The coreset of k-means, apart from the others so that they do not depend on scikit-learn."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench import CondensedSet, Task
from bench_standard.coresets import coreset
from bench_standard.features import check_space, points

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Medoid:
    """The images nearest to the k-means centres of each class, by features of the teacher.

    k-means++ (Arthur and Vassilvitskii, 2007) with one start. A larger budget has other centres,
    so its set need not hold that of a smaller one.
    """

    name: str = "medoid"
    teacher: str = "standard"
    space: str = "features"  # "features" (what the classifier sees) | "pixels"
    selects: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = ("sklearn.cluster",)

    def __post_init__(self) -> None:
        check_space(self)

    def condense(self, task: Task) -> CondensedSet:
        def order(members: Tensor) -> Tensor:
            return medoids(points(task, members, self.space), task.ipc, task.seed)

        return coreset(task, order)


def medoids(points: Tensor, count: int, seed: int) -> Tensor:
    """Positions [count] in `points` [n, D]: the nearest to each of `count` k-means centres.

    None is picked twice: a centre whose nearest is taken gets the next nearest, the lower
    position first. So duplicates fill up a class in which fewer than `count` points differ.
    """
    import numpy as np
    import torch
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    found = points.double().numpy()
    kmeans = KMeans(count, n_init=1, random_state=seed % 2**32)
    # threads would add up in an order that changes
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer points differ than `count`
        centres = kmeans.fit(found).cluster_centers_
    picked: list[int] = []
    for centre in centres:
        distance = np.square(found - centre).sum(1)  # [n]
        distance[picked] = np.inf
        picked.append(int(distance.argmin()))
    return torch.tensor(picked)
