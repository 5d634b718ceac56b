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
    init: str = "noise"  # as published | "random": the real images of the control `random`
    mirror: bool = True  # views may be mirrored, where that keeps the label
    quick: ClassVar[dict[str, Any]] = {"iterations": 60, "roll": 1}

    def __post_init__(self) -> None:
        self._recovery()

    def _recovery(self) -> Recovery:
        return Recovery.of(self, cross_entropy=1.0, whole=False).aims_at_no_points()

    def condense(self, task: Task) -> CondensedSet:
        from bench_inversion.labels import owners, soft_labels
        from bench_inversion.recovery import recover
        from bench_inversion.starts import at_random
        from bench_inversion.statistics import running

        start = at_random(task) if self.init == "random" else None
        images = recover(task, running(task.teacher), self._recovery(), start=start)
        labels = soft_labels(task, images, self.temperature)
        return CondensedSet(images, labels, classes=owners(task, len(images)))


@dataclass(frozen=True)
class CDA(SRe2L):
    """SRe2L whose crops go from the whole image to small parts of it (Yin and Shen, 2023)."""

    name: str = "cda"
    scale: tuple[float, ...] = (0.08, 1.0)
    curriculum: float = 1.0


# From real images, by small steps: noise costs ten points and more (docs/decisions.md).
SRE2L_FROM_RANDOM = SRe2L("sre2l-from-random", init="random", lr=0.05)
CDA_FROM_RANDOM = CDA("cda-from-random", init="random", lr=0.05)
RANDOM_START = SRe2L("sre2l-random", init="random", iterations=0)  # and what it starts from
