"""A sampler: from noise to images, by what a denoiser says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import hookimpl

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


@dataclass(frozen=True)
class Example:
    """What the denoiser says again and again (an example of the contract, and no sampler)."""

    name: str = "example"
    steps: int = 4

    def sample(
        self,
        model: nn.Module,
        labels: Tensor,
        extras: Mapping[str, Tensor],
        shape: tuple[int, int, int],
        generator: Generator,
    ) -> Tensor:
        import torch

        x = torch.randn(len(labels), *shape, generator=generator).to(labels.device)
        with torch.no_grad():
            for step in range(self.steps):
                t = torch.full((len(labels),), 1 - step / self.steps, device=labels.device)
                x = model(x, t, labels, extras)  # model.schedule says what it was trained on
        return x


@hookimpl
def bench_samplers() -> Sequence[Example]:
    return [Example()]
