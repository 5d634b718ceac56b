"""Random perturbations: what an attack must beat to deserve the name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench_standard.attacks.fields import BALLS, check, check_choice

if TYPE_CHECKING:
    from torch import Generator, Size, Tensor, nn


@dataclass(frozen=True)
class Noise:
    """Uniform noise in the ball: no attack, but the floor of all attacks.

    Of several draws, an image keeps the first that fools the model.
    """

    name: str = "uniform-noise"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    norm: str = "linf"  # "linf" | "l2"
    draws: int = 1
    search: ClassVar[str] = "noise"

    def __post_init__(self) -> None:
        check(self, eps=0, draws=1)
        check_choice(self, "norm", BALLS)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        from bench_standard.attacks.search import search

        def draw(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            noise = self._noise(images.shape, generator).to(images.device)
            return (images + self.eps * noise).clamp(0, 1)

        runs = [draw] * self.draws
        return search(runs, model, images, labels, generator, all_first=True)

    def _noise(self, shape: Size, generator: Generator) -> Tensor:
        """Even in the ball of radius 1 [B, C, H, W], on the CPU."""
        import torch

        if self.norm == "linf":
            return 2 * torch.rand(shape, generator=generator) - 1
        noise = torch.randn(shape, generator=generator)  # a direction,
        inner = torch.rand(shape[0], 1, 1, 1, generator=generator) ** (1 / noise[0].numel())
        length = noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        noise *= inner / length  # and a radius such that the ball is filled evenly
        return noise
