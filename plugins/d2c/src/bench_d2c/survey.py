"""How hard images are for a denoiser, as a survey: asked of the data once for all budgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import Task

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Difficulty:
    """The denoising losses [T, times * noises] of all training images: "losses"."""

    name: str = "difficulty"
    scorer: str = "diffusion"
    times: int = 10
    noises: int = 1

    def survey(self, task: Task) -> dict[str, Tensor]:
        from bench_d2c.difficulty import difficulty

        return {"losses": difficulty(task, self.times, self.noises)}
