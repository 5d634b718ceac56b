"""WMDD, its barycenters, and the arms of its ablation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, CondensedSet, Task
from bench_inversion.settings import Recovery

if TYPE_CHECKING:
    from torch import Tensor

BARYCENTERS = ("free", "uniform", "sliced", "mmd")
STATISTICS = ("class", "global")


@dataclass(frozen=True)
class WMDD:
    """Features at the Wasserstein barycenter of each class, BatchNorm by class (Liu et al., 2025).

    Of each class: `ipc` weighted points that are nearest to its features in Wasserstein distance.
    Each image aims at one point with its features, and the images of a class together, weighted
    as the points are, at the statistics of the class in every BatchNorm layer. A class of fewer
    images than `ipc` has that many points; several images then aim at one and share its weight.
    """

    name: str = "wmdd"
    teacher: str = "standard"
    barycenter: str = "free"  # "free" (weights, too) | "uniform" | "sliced" | "mmd" (control)
    bandwidth: float = 1.0  # of the kernel of "mmd", in median distances
    statistics: str = "class"  # of BatchNorm: of each "class" | "global", what the teacher keeps
    features: float = 1.0  # weight of the distance to the barycenter; 0: none is computed
    feature_loss: str = "norm"  # Frobenius, of a batch, as in the released code | "squared"
    cross_entropy: float = 0.0  # weight of the cross-entropy with the class
    lam: float = 10.0  # weight of the BatchNorm statistics
    first_bn: float = 1.0  # factor of the first layer in it
    iterations: int = 1000
    lr: float = 0.25
    scale: tuple[float, ...] = (1.0, 1.0)  # area of the random resized crop of each step
    roll: int = 2  # largest shift of each step, in pixels
    batch: int = 100  # images optimised at once; a class stays whole
    temperature: float = 1.0  # of the labels
    init: str = "noise"  # as published | real images: "random" | "nearest" to the points
    mirror: bool = True  # views may be mirrored, where that keeps the label
    quick: ClassVar[dict[str, Any]] = {"iterations": 60, "roll": 1}
    preload: ClassVar[tuple[str, ...]] = ("ot",)

    def __post_init__(self) -> None:
        for field, choices in (("barycenter", BARYCENTERS), ("statistics", STATISTICS)):
            if (value := getattr(self, field)) not in choices:
                raise BenchError(
                    f"{self.name}: {field} is {value!r}; expected one of {', '.join(choices)}"
                )
        if not self.bandwidth > 0:
            raise BenchError(f"{self.name}: bandwidth is {self.bandwidth}; expected more than 0")
        how = Recovery.of(self)
        if not self.features:
            how.aims_at_no_points()

    def condense(self, task: Task) -> CondensedSet:
        import torch

        from bench_inversion.labels import owners, soft_labels
        from bench_inversion.recovery import recover
        from bench_inversion.starts import at_random, nearest
        from bench_inversion.statistics import running, stacked, survey

        aimed = running(task.teacher)  # declines a teacher without BatchNorm before any work
        statistics, supports, near = [], [], []
        for label in range(len(task.classes)):
            if not self.features and self.statistics == "global":
                break  # nothing is asked of the real images
            members = (task.train.labels == label).nonzero().squeeze(1)
            of_class, points = survey(task.teacher, task.train, members, device=task.device)
            statistics.append(of_class)
            if self.features:
                supports.append(self.support(points, task.ipc, task.seed))
            if self.init == "nearest":
                near.append(members[nearest(supports[-1][0], points)])
            task.progress(label + 1, len(task.classes))
        if self.statistics == "class":
            aimed = stacked(statistics)
        features = weights = None
        if supports:
            features, weights = (torch.cat(parts) for parts in zip(*supports, strict=True))
        start = torch.cat(near) if near else at_random(task) if self.init == "random" else None
        images = recover(
            task, aimed, Recovery.of(self), features=features, weights=weights, start=start
        )
        labels = soft_labels(task, images, self.temperature)
        return CondensedSet(images, labels, weights, classes=owners(task, len(images)))

    def support(self, points: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """`count` points [count, d] that stand for `points` [n, d], and weights of mean 1 [count].

        Of fewer points than `count` there are n, repeated in turn; repeats share a weight.
        """
        import torch

        found, mass = self._solve(points, min(count, len(points)), seed)
        turn = torch.arange(count) % len(found)
        shared = (mass / turn.bincount())[turn]
        return found[turn].float(), (shared / shared.mean()).float()

    def _solve(self, points: Tensor, k: int, seed: int) -> tuple[Tensor, Tensor]:
        if self.barycenter == "sliced":
            from bench_wmdd.sliced import sliced

            return sliced(points, k, seed=seed)
        if self.barycenter == "mmd":
            from bench_wmdd.mmd import mmd

            return mmd(points, k, factor=self.bandwidth, seed=seed)
        from bench_wmdd.supports import barycenter

        return barycenter(points, k, weights=self.barycenter, seed=seed)


UNIFORM = WMDD("wmdd-uniform", barycenter="uniform")
SLICED = WMDD("wmdd-sliced", barycenter="sliced")
MMD = WMDD("wmdd-mmd", barycenter="mmd")

# From the real images nearest to the points, by small steps; and those images as they are.
FROM_NEAREST = WMDD("wmdd-from-nearest", init="nearest", lr=0.05)
NEAREST = WMDD("wmdd-nearest", init="nearest", iterations=0)

# What each of the two terms brings: with the barycenter or cross-entropy, by class or over all.
BN = WMDD("wmdd-bn", statistics="global")
CE = WMDD("wmdd-ce", features=0.0, cross_entropy=1.0)
CE_BN = WMDD("wmdd-ce-bn", features=0.0, cross_entropy=1.0, statistics="global")
