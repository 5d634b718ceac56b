"""Coresets: methods that select real images, class by class, and the full set as a ceiling.

Each of these orders a class and takes the first `ipc` of it, so the set of a small budget is
part of the set of a larger one (`medoid`, in a module of its own, is another matter). Labels are
one-hot; the field `teacher` also names the network that labels the views where a board asks for
teacher labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench import BenchError, CondensedSet, Selection, Task
from bench_standard.features import check_space, losses, points

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Random:
    """Images drawn uniformly from each class."""

    name: str = "random"
    teacher: str = ""  # labels the views where a board asks for it; empty: the board's choice
    selects: ClassVar[bool] = True

    def condense(self, task: Task) -> CondensedSet:
        import torch

        generator = torch.Generator().manual_seed(task.seed)
        return coreset(task, lambda members: torch.randperm(len(members), generator=generator))


@dataclass(frozen=True)
class KCenter:
    """Greedy k-center in each class, by features of the teacher (Sener and Savarese, 2018).

    The first image is the one nearest to the mean of its class; each further one is the
    farthest from all picked before.
    """

    name: str = "kcenter"
    teacher: str = "standard"
    space: str = "features"  # "features" (what the classifier sees) | "pixels"
    selects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_space(self)

    def condense(self, task: Task) -> CondensedSet:
        return coreset(
            task, lambda members: greedy_k_center(points(task, members, self.space), task.ipc)
        )


@dataclass(frozen=True)
class Herding:
    """Herding in each class (Welling, 2009), by unit-length features (iCaRL, Rebuffi et al., 2017).

    Each image is the one that brings the mean of those picked nearest to the mean of its class.
    """

    name: str = "herding"
    teacher: str = "standard"
    space: str = "features"  # "features" (what the classifier sees) | "pixels"
    selects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_space(self)

    def condense(self, task: Task) -> CondensedSet:
        return coreset(task, lambda members: herd(points(task, members, self.space), task.ipc))


@dataclass(frozen=True)
class Easiest:
    """The images of each class on which the teacher has the lowest cross-entropy.

    Of images with equal loss, the one of lower index comes first.
    """

    name: str = "easiest"
    teacher: str = "standard"
    selects: ClassVar[bool] = True

    def condense(self, task: Task) -> CondensedSet:
        return coreset(task, lambda members: losses(task, members).argsort(stable=True))


@dataclass(frozen=True)
class Hardest:
    """The images of each class on which the teacher has the highest cross-entropy.

    Of images with equal loss, the one of lower index comes first.
    """

    name: str = "hardest"
    teacher: str = "standard"
    selects: ClassVar[bool] = True

    def condense(self, task: Task) -> CondensedSet:
        return coreset(task, lambda members: (-losses(task, members)).argsort(stable=True))


@dataclass(frozen=True)
class Full:
    """The whole training split."""

    name: str = "full"
    teacher: str = ""  # as for `random`
    selects: ClassVar[bool] = True
    ceiling: ClassVar[bool] = True

    def condense(self, task: Task) -> CondensedSet:
        import torch

        return _selected(task, torch.arange(len(task.train.labels)))


def greedy_k_center(points: Tensor, count: int) -> Tensor:
    """Positions [count] in `points` [n, D], in the order picked: a 2-approximation of k-center.

    Ties go to the lower position.
    """
    import torch

    distance = (points - points.mean(0)).square().sum(1)  # [n]
    picked = [int(distance.argmin())]
    distance = torch.full_like(distance, torch.inf)  # squared, to the nearest picked
    while len(picked) < count:
        distance = distance.minimum((points - points[picked[-1]]).square().sum(1))
        distance[picked] = -1  # never twice, not even where all that is left are duplicates
        picked.append(int(distance.argmax()))
    return torch.tensor(picked)


def herd(points: Tensor, count: int) -> Tensor:
    """Positions [count] in `points` [n, D], in the order picked, none twice.

    On vectors of unit length, the one that brings the running mean nearest to `mean` is the one
    with the largest inner product with what the sum still lacks: Welling's update.
    """
    import torch

    unit = torch.nn.functional.normalize(points.double(), dim=1)
    mean = unit.mean(0)
    lacking = mean.clone()  # k * mean - sum of the k - 1 picked so far
    picked: list[int] = []
    for _ in range(count):
        score = unit @ lacking  # [n]
        score[picked] = -torch.inf
        picked.append(int(score.argmax()))
        lacking += mean - unit[picked[-1]]
    return torch.tensor(picked)


def coreset(task: Task, order: Callable[[Tensor], Tensor]) -> CondensedSet:
    """The first `task.ipc` of each class, by `order`: indices [n] of a class to positions."""
    import torch

    chosen = []
    for label, name in enumerate(task.classes):
        members = (task.train.labels == label).nonzero().squeeze(1)
        if not 1 <= task.ipc <= len(members):
            raise BenchError(
                f"ipc is {task.ipc} but class {name!r} has {len(members)} training images; "
                "expected 1 or more, and no more than the smallest class holds; change `ipc`"
            )
        chosen.append(members[order(members)[: task.ipc]])
        task.progress(label + 1, len(task.classes))
    return _selected(task, torch.cat(chosen))


def _selected(task: Task, index: Tensor) -> CondensedSet:
    import torch

    # not F.one_hot, which would first make them of int64: 10 GB for ImageNet-1K
    labels = task.train.labels[index]
    one_hot = torch.zeros(len(index), len(task.classes)).scatter_(1, labels[:, None], 1.0)
    return CondensedSet(Selection(index), one_hot)
