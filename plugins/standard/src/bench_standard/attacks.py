"""Attacks in the L-infinity ball, by torchattacks (Kim, 2020), and the identity.

Networks arrive in eval mode with their normalisation inside. torchattacks wants gradients
switched on and draws its random starts from the global generator: they start from the state it
is found in, so they follow the seed of the stage, and the state is put back afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.types import BenchError

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 256  # images attacked at once


@dataclass(frozen=True)
class Clean:
    """No attack: the images as they are."""

    name: str = "clean"
    eps: float = 0.0
    norm: ClassVar[str] = ""

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return images


@dataclass(frozen=True)
class FGSM:
    """Fast gradient sign method: one step to the surface of the ball (Goodfellow et al., 2015)."""

    name: str = "fgsm"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    norm: ClassVar[str] = "linf"
    exact_on_linear: ClassVar[bool] = True  # reaches the closed form, which the kit checks
    preload: ClassVar[tuple[str, ...]] = ("torchattacks",)

    def __post_init__(self) -> None:
        _check(self, eps=0)

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        import torchattacks

        return _in_batches(torchattacks.FGSM(model, eps=self.eps), model, images, labels)


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent in the L-infinity ball (Madry et al., 2018).

    With restarts, an image keeps the first result that fools the model.
    """

    name: str = "pgd"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    steps: int = 10
    alpha: float = 0.0  # step size in pixels; 0: 2.5 * eps / steps, as Madry et al. do
    random_start: bool = True  # uniform in the ball
    restarts: int = 1
    quick: ClassVar[dict[str, Any]] = {"steps": 2}
    norm: ClassVar[str] = "linf"
    exact_on_linear: ClassVar[bool] = True  # reaches the closed form, which the kit checks
    preload: ClassVar[tuple[str, ...]] = ("torchattacks",)

    def __post_init__(self) -> None:
        _check(self, eps=0, steps=1, alpha=0, restarts=1)

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        import torch
        import torchattacks

        attack = torchattacks.PGD(
            model,
            eps=self.eps,
            alpha=self.alpha or 2.5 * self.eps / self.steps,
            steps=self.steps,
            random_start=self.random_start,
        )

        def with_restarts(images: Tensor, labels: Tensor) -> Tensor:
            adversarial: Tensor = attack(images, labels)
            for _ in range(self.restarts - 1):
                with torch.no_grad():
                    standing = (model(adversarial).argmax(1) == labels).nonzero().squeeze(1)
                if len(standing):
                    adversarial[standing] = attack(images[standing], labels[standing])
            return adversarial

        return _in_batches(with_restarts, model, images, labels)


def _check(attack: Any, **lowest: float) -> None:
    """Raise BenchError for a field that is less than its lowest value, infinite or NaN."""
    for field, least in lowest.items():
        value = getattr(attack, field)
        if not least <= value < math.inf:
            raise BenchError(
                f"{attack.name}: {field} is {value}; expected a number of at least {least}; "
                f"set {field} in the board, or leave it at its default"
            )


def _in_batches(
    attack: Callable[[Tensor, Tensor], Tensor], model: nn.Module, images: Tensor, labels: Tensor
) -> Tensor:
    """Adversarial images [B, C, H, W]; the global generators are left as found."""
    import torch

    device = next(model.parameters()).device
    gpus = [device] if device.type == "cuda" else []
    with torch.enable_grad(), torch.random.fork_rng(devices=gpus):
        batches = zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True)
        return torch.cat([attack(*batch) for batch in batches])
