"""A student, trained on a condensed set: a classifier, or a denoiser."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from bench.contract.data import Split
from bench.contract.task import CondensedSet, Selection
from bench.stages.stage import Result, Stage, Upstream
from bench.training.recipe import DiffusionRecipe, Recipe

if TYPE_CHECKING:
    from torch import nn

    from bench.stages.io import Desk


@dataclass(frozen=True, eq=False)
class Train(Stage):
    """A student. The last one is the student: nothing is selected."""

    kind: ClassVar[str] = "train"

    set: Upstream
    architecture: Any
    recipe: Recipe | DiffusionRecipe
    labels: str
    teacher: Upstream | None  # labels the views; with soft labels, the real images of a set

    @property
    def words(self) -> str:
        said = "" if isinstance(self.recipe, DiffusionRecipe) else f", {self.labels} labels"
        return f"student {self.architecture.name} of {self.set.words}{said}"

    @property
    def effort(self) -> int:
        images: int = self.set.images
        return self.recipe.shown(images)

    def run(self, desk: Desk) -> Result:
        from bench.stages.io import examples_of
        from bench.training import networks
        from bench.training.classifier import fit
        from bench.training.gates import check_finite
        from bench.training.sets import bytes_of

        if isinstance(self.recipe, DiffusionRecipe):
            return self._denoiser(desk, self.recipe)
        student = desk.built(self, self.architecture)
        teacher = desk.network(self.teacher, self.dataset) if self.teacher else None
        for network in filter(None, (student, teacher)):
            desk.passes.count(network)
        condensed, real = desk.condensed(self.set), desk.source(self.dataset).split("train")
        labelled: dict[str, Any] = {}
        if teacher and self.labels == "soft":
            condensed = labelled_by(teacher, condensed, real, desk.device)
            labelled = {"bytes": {"labels": bytes_of({"": condensed.labels})}}
        fit(
            student,
            examples_of(condensed, real, self.labels),
            self.recipe,
            classes=condensed.labels.shape[1],
            seed=self.seed,
            regime=self.labels,
            teacher=teacher,
            flip=self.dataset.facts["flip"],
            device=desk.device,
            checkpoint=desk.checkpoint,
            progress=desk.progress,
        )
        state = networks.state(student)
        check_finite(state)
        return {"result": state}, {"passes": desk.passes.as_json(), **labelled}

    def _denoiser(self, desk: Desk, recipe: DiffusionRecipe) -> Result:
        from bench.stages.io import examples_of
        from bench.training import denoiser, diffusion, networks
        from bench.training.diffusion import Denoiser, Schedule
        from bench.training.gates import check_finite

        condensed = desk.condensed(self.set)
        schedule = Schedule(recipe.noise, recipe.prediction, recipe.timesteps)
        extras = diffusion.rows_of(condensed.extras)
        student = desk.built(self, self.architecture, schedule=schedule, extras=extras)
        assert isinstance(student, Denoiser)
        desk.passes.count(student)
        checkpoints = denoiser.fit(
            student,
            examples_of(condensed, desk.source(self.dataset).split("train")),
            recipe,
            seed=self.seed,
            extras=condensed.extras,
            flip=self.dataset.facts["flip"],
            device=desk.device,
            checkpoint=desk.checkpoint,
            progress=desk.progress,
        )
        files = {"result": networks.state(student)}
        files |= {f"step-{step}": state for step, state in checkpoints.items()}
        for state in files.values():
            check_finite(state)
        value = {"passes": desk.passes.as_json(), "schedule": asdict(schedule), "extras": extras}
        return files, value


def labelled_by(
    teacher: nn.Module, condensed: CondensedSet, real: Split, device: str = "cpu"
) -> CondensedSet:
    """A selection of real images with the teacher's distributions, at temperature 1, as labels.

    So that controls have what methods have where these bring soft labels; classes stay.
    """
    from bench.training.networks import predict

    assert isinstance(condensed.images, Selection)
    logits = predict(teacher, real, condensed.images.indices, device=device)
    return replace(condensed, labels=logits.softmax(1))
