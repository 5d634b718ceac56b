"""Toy components of the generation track; `bench.training.toy` has the others, and all by kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.contract.errors import Unsupported
from bench.contract.task import Task, Trial

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


@dataclass(frozen=True)
class ToyDiffusion:
    """A short training of a denoiser on the whole training split."""

    name: str = "toy-diffusion"
    steps: int = 60
    track: ClassVar[str] = "generation"

    def squeeze(self, task: Task) -> nn.Module:
        import torch

        from bench.training.classifier import Examples
        from bench.training.denoiser import fit
        from bench.training.recipe import DiffusionRecipe

        denoiser: Any = task.network()
        labels = task.train.labels
        fit(
            denoiser,
            Examples(task.train, torch.arange(len(labels)), labels),
            DiffusionRecipe(steps=self.steps, batch=32, lr=0.05),
            seed=task.seed,
            device=task.device,
            progress=task.progress,
        )
        network: nn.Module = denoiser
        return network


@dataclass(frozen=True)
class ToyDenoiser:
    """A class-conditional denoiser: an image a class (and one for none), mixed with its input."""

    name: str = "toy-denoiser"
    track: ClassVar[str] = "generation"

    def build(
        self, shape: tuple[int, int, int], classes: int, extras: Mapping[str, tuple[int, ...]]
    ) -> nn.Module:
        from torch import nn

        if extras:
            raise Unsupported(f"it has no use for {', '.join(extras)}")

        class Denoiser(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.images = nn.Embedding(classes + 1, shape[0] * shape[1] * shape[2])

            def forward(
                self, x: Tensor, t: Tensor, labels: Tensor, extras: Mapping[str, Tensor]
            ) -> Tensor:  # [B, C, H, W]; t [B], from 1 (noise) to 0
                clean: Tensor = self.images(labels).view_as(x)
                return clean + t.view(-1, 1, 1, 1) * (x - clean)

        return Denoiser()


@dataclass(frozen=True)
class ToySampler:
    """A few steps from noise towards what the denoiser says."""

    name: str = "toy-sampler"
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

        x = torch.randn(len(labels), *shape, generator=generator)
        with torch.no_grad():
            for step in range(self.steps):
                t = torch.full((len(labels),), 1 - step / self.steps)
                x = model(x, t.to(x.device), labels, extras)
        return x


@dataclass(frozen=True)
class ToyDistance:
    """Mean distance of the class means of samples to those of real images, pixel by pixel."""

    name: str = "toy-distance"
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = "pixels"

    def measure(self, trial: Trial) -> float:
        import torch

        samples, labels, index = trial.samples, trial.labels, trial.index
        assert samples is not None
        assert labels is not None
        assert index is not None
        change = samples - trial.data.test.images(index)  # its sum over a class: that of the means
        off = [change[labels == k].mean(0).abs().mean() for k in range(len(trial.data.classes))]
        return float(torch.stack(off).double().nanmean())
