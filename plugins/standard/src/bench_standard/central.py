"""The coreset of a class's middle; apart from the others, so that their code stays what it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench import CondensedSet, Task
from bench_standard.coresets import coreset
from bench_standard.features import check_space, points

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Central:
    """The images nearest to the mean of their class, by features of the teacher.

    The first one is herding's, and the others are like it: herding picks what the first ones lack,
    this does not. Some published rows of "herding" fall below random images from 10 images a class
    on, as these do and those of Welling's herding do not. Of images as near, the one of lower index
    comes first.
    """

    name: str = "nearest-mean"
    teacher: str = "standard"
    space: str = "features"  # "features" (what the classifier sees) | "pixels"
    selects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_space(self)

    def condense(self, task: Task) -> CondensedSet:
        def order(members: Tensor) -> Tensor:
            found = points(task, members, self.space).double()
            return (found - found.mean(0)).square().sum(1).argsort(stable=True)

        return coreset(task, order)
