"""Toys that test_generation needs, where worker processes can import them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench import toy
from bench.types import CondensedSet, Task, Trial


@dataclass(frozen=True)
class Asks(toy.ToyMeans):
    """Asks a scorer, and fresh denoisers."""

    name: str = "asks"
    scorer: str = "toy-diffusion"
    fresh_denoisers: ClassVar[bool] = True

    def condense(self, task: Task) -> CondensedSet:
        assert task.scorer.shape == task.denoiser().shape == task.shape
        return super().condense(task)


@dataclass(frozen=True)
class Seen(toy.ToyDistance):
    """How sure the board's classifier is of the samples."""

    name: str = "seen"
    features: str = "toy-teacher"

    def measure(self, trial: Trial) -> float:
        import torch

        assert trial.samples is not None
        with torch.no_grad():
            return float(trial.features(trial.samples).softmax(1).amax(1).double().mean())
