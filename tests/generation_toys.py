"""Toys that test_generation needs, where worker processes can import them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from bench.contract.errors import Unsupported
from bench.contract.task import CondensedSet, Task
from bench.training import toy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Asks(toy.ToyMeans):
    """Asks a scorer, and fresh denoisers."""

    name: str = "asks"
    scorer: str = "toy-diffusion"
    fresh_denoisers: ClassVar[bool] = True

    def condense(self, task: Task) -> CondensedSet:
        assert task.scorer.shape == task.denoiser().shape == task.shape
        with suppress(Unsupported):  # this network has no use for texts
            task.denoiser({"class.text": (2, 3)})
            raise AssertionError("it was built without the shapes of what it is to be told")
        return super().condense(task)


@dataclass(frozen=True)
class Losses:
    """How hard images are for a scorer, in one draw of noise of its own."""

    name: str = "losses"
    scorer: str = "toy-diffusion"
    offset: float = 0.0

    def survey(self, task: Task) -> dict[str, Tensor]:
        import torch

        index = torch.arange(len(task.train.labels))
        x = task.scorer.encode(task.train.images(index))
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(task.seed))
        with torch.no_grad():
            said = task.scorer(x + noise, torch.full((len(x),), 0.5), task.train.labels, {})
        return {"losses": (said - x).square().flatten(1).mean(1) + self.offset}


@dataclass(frozen=True)
class Ranks:
    """The easiest images of each class, by what a survey has found."""

    name: str = "ranks"
    scorer: str = "toy-diffusion"
    hardest: bool = False
    selects: ClassVar[bool] = True

    @property
    def survey(self) -> Losses:
        return Losses()

    def condense(self, task: Task) -> CondensedSet:
        import torch
        from torch.nn import functional as F

        from bench.contract.task import Selection

        losses = task.surveyed(Losses())["losses"]
        order, labels = losses.argsort(descending=self.hardest), task.train.labels
        index = [order[labels[order] == k][: task.ipc] for k in range(len(task.classes))]
        chosen = torch.cat(index)
        one_hot = F.one_hot(labels[chosen], len(task.classes)).float()
        return CondensedSet(Selection(chosen), one_hot)


@dataclass(frozen=True)
class RanksItself(Ranks):
    """The same, and nobody is told of it beforehand."""

    name: str = "ranks-itself"
    survey: ClassVar[None] = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Straight(toy.ToySampler):
    """Walks straight paths alone."""

    name: str = "straight"

    def sample(self, model: Any, *given: Any) -> Tensor:
        if model.schedule.noise != "straight":
            raise Unsupported(f"it walks straight paths, not {model.schedule.noise} ones")
        return super().sample(model, *given)


@dataclass(frozen=True)
class Broken(toy.ToySampler):
    """Gives one sample too few."""

    name: str = "broken"

    def sample(self, model: Any, *given: Any) -> Tensor:
        return super().sample(model, *given)[1:]


@dataclass(frozen=True)
class Noted(toy.ToyMeans):
    """The class means, with a note of how they came about."""

    name: str = "noted"
    teacher: str = ""
    note: float = 0.0

    def condense(self, task: Task) -> CondensedSet:
        import torch

        found = super().condense(task)
        return replace(found, notes={"curve": torch.tensor([self.note])})
