"""What trainings on the real data tell of each image, as a survey: asked once for all budgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench import Task

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Trainings:
    """Fresh networks, looked at after each epoch: what `bench_standard.dynamics.Dynamics` holds."""

    name: str = "trainings"
    networks: int = 1
    epochs: int = 200
    batch: int = 128
    lr: float = 0.1
    schedule: str = "cosine"
    crop: int = 0
    flip: bool = True
    fresh_networks: ClassVar[bool] = True

    def survey(self, task: Task) -> dict[str, Tensor]:
        from bench_standard.dynamics import dynamics

        return dict(vars(dynamics(task, self)))
