"""SRe2L and CDA: images recovered by cross-entropy and the statistics of all images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bench import CondensedSet, Task
from bench_inversion.settings import Recovery


@dataclass(frozen=True)
class SRe2L:
    """Squeeze, recover, relabel: cross-entropy and BatchNorm statistics (Yin et al., 2023).

    Batches hold one image a class, and as a whole match the running statistics of the teacher.
    The labels of the set are the teacher's on the final images; for the published relabelling of
    every augmented view, run it with labels = "teacher".
    """

    name: str = "sre2l"
    teacher: str = "standard"
    iterations: int = 1000
    lr: float = 0.25
    lam: float = 0.01  # weight of the BatchNorm statistics
    first_bn: float = 10.0  # factor of the first layer in it
    scale: tuple[float, ...] = (1.0, 1.0)  # area of the random resized crop of each step
    curriculum: float = 0.0  # part of the run in which the smallest area falls from the largest
    roll: int = 4  # largest shift of each step, in pixels
    batch: int = 100  # images optimised at once
    temperature: float = 1.0  # of the labels
    quick: ClassVar[dict[str, Any]] = {"iterations": 60, "roll": 1}

    def __post_init__(self) -> None:
        self._recovery()

    def _recovery(self) -> Recovery:
        return Recovery.of(self, cross_entropy=1.0, whole=False)

    def condense(self, task: Task) -> CondensedSet:
        from bench_inversion.labels import owners, soft_labels
        from bench_inversion.recovery import recover
        from bench_inversion.statistics import running

        images = recover(task, running(task.teacher), self._recovery())
        labels = soft_labels(task, images, self.temperature)
        return CondensedSet(images, labels, classes=owners(task, len(images)))


@dataclass(frozen=True)
class CDA(SRe2L):
    """SRe2L whose crops go from the whole image to small parts of it (Yin and Shen, 2023)."""

    name: str = "cda"
    scale: tuple[float, ...] = (0.08, 1.0)
    curriculum: float = 1.0
