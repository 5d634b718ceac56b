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
