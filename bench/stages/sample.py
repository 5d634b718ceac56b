"""Samples of a student, or images of a set in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.records.result import at_step
from bench.stages.stage import Result, Stage, Upstream

if TYPE_CHECKING:
    from bench.stages.io import Desk


@dataclass(frozen=True, eq=False)
class Sample(Stage):
    """What a student gives for the labels of the test images; without a student, images of the
    set as they are, the same whatever the network and the sampler."""

    kind: ClassVar[str] = "sample"

    set: Upstream
    student: Upstream | None
    sampler: Any
    images: int
    step: int  # of the training; 0: its end

    @property
    def words(self) -> str:
        if not self.student:
            return f"images of {self.set.words}"
        return f"{at_step(self.sampler.name, self.step)} of {self.student.words}"

    @property
    def effort(self) -> int:
        return self.images or int(self.dataset.facts["test"])

    def run(self, desk: Desk) -> Result:
        from bench.stages import sampling
        from bench.stages.io import examples_of
        from bench.training import diffusion
        from bench.training.diffusion import Denoiser
        from bench.training.loading import probed_images

        source, condensed = desk.source(self.dataset), desk.condensed(self.set)
        facts, test = self.dataset.facts, source.split("test")
        index = probed_images(test, facts["digest"], self.images)
        if not self.student:
            examples = examples_of(condensed, source.split("train"))
            return sampling.drawn(examples, test, index, seed=self.seed)
        student = desk.network(self.student, self.dataset, self.step)
        assert isinstance(student, Denoiser)
        return sampling.sample(
            self.sampler,
            student,
            test,
            index,
            diffusion.of_classes(condensed.extras),
            shape=tuple(facts["shape"]),
            seed=self.seed,
            device=desk.device,
            progress=desk.progress,
        )
