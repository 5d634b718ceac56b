"""An attack: images in a ball about those that are given, which the network gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench import hookimpl

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


@dataclass(frozen=True)
class Example:
    """A random start and a few signed gradient steps (an example; say what yours is)."""

    name: str = "example"
    eps: float = 8 / 255  # in pixels of [0, 1]
    steps: int = 5
    norm: ClassVar[str] = "linf"
    search: ClassVar[str] = "iterative"

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        import torch
        from torch.nn.functional import cross_entropy

        noise = 2 * torch.rand(images.shape, generator=generator) - 1  # the generator is on the CPU
        found = (images + self.eps * noise.to(images.device)).clamp(0, 1)
        for _ in range(self.steps):
            with torch.enable_grad():
                x = found.detach().requires_grad_()
                loss = cross_entropy(model(x), labels, reduction="sum")
                (slope,) = torch.autograd.grad(loss, x)  # leaves no .grad on the weights
            found = found + 2 * self.eps / self.steps * slope.sign()
            found = found.clamp(images - self.eps, images + self.eps).clamp(0, 1)
        return found.detach()


@hookimpl
def bench_attacks() -> Sequence[Example]:
    return [Example()]
