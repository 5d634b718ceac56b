"""Attacks that look for the nearest image that fools: CW by torchattacks (Kim, 2020), and DeepFool.

Their result lies in no ball of given radius. So either norm is "l2", and a result farther away
than eps does not count (the image is given back, as in RobustBench); or norm is "", and whatever
fools counts, however far away it is: two numbers that must never be compared with each other,
which is why the norm is part of the component and of its records. In the first case these
attacks are weaker than those that use up the ball, and masked gradients are not the reason: so
their `search` is "", which promises nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Unsupported
from bench_standard.attacks.fields import check, check_choice

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from bench_standard.attacks.search import Run

NORMS = ("l2", "")


@dataclass(frozen=True)
class CW:
    """Carlini and Wagner's L2 attack (2017), with one c and no search for it.

    The authors search for the smallest c that fools, image by image. With one c the result is
    neither the nearest image nor the most harmful: a small c (GUARD's is 1e-4) leaves nearly all
    images where they are, and that says little of a network. `pgd-l2-margin` has the same loss and
    uses up its ball.

    torchattacks stops a batch once the sum of its losses rises: `batch` is part of the result.
    Adam moves a pixel in the space of atanh, where black and white are infinitely far: they stay.
    """

    name: str = "cw"
    eps: float = 0.5  # radius, in pixels of [0, 1]; 0 with norm = ""
    norm: str = "l2"  # "l2" | "" (no ball: whatever fools counts)
    c: float = 1.0  # weight of the margin against the squared distance
    kappa: float = 0.0  # the margin that is asked for
    steps: int = 50
    lr: float = 0.01
    batch: int = 250  # images at once; a probe hands over 250 at most
    search: ClassVar[str] = ""
    early_stop: ClassVar[bool] = True
    quick: ClassVar[dict[str, Any]] = {"steps": 5}
    preload: ClassVar[tuple[str, ...]] = ("torchattacks", "torch._dynamo")  # Adam wants it

    def __post_init__(self) -> None:
        check(self, eps=0, c=0, kappa=0, steps=1, lr=0, batch=1)
        _check_ball(self)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        import torchattacks

        from bench_standard.attacks.gradient import running
        from bench_standard.attacks.search import Shifted, search

        run = running(
            lambda network: torchattacks.CW(
                Shifted(network), c=self.c, kappa=self.kappa, steps=self.steps, lr=self.lr
            )
        )

        if self.norm and not self.eps:
            return images
        return search([_near(run, self)], model, images, labels, generator, batch=self.batch)


@dataclass(frozen=True)
class DeepFool:
    """DeepFool (Moosavi-Dezfooli et al., 2016): steps to the nearest linearised boundary, in L2.

    A gradient for every class and step: slow where there are many classes.
    """

    name: str = "deepfool"
    eps: float = 0.5  # radius, in pixels of [0, 1]; 0 with norm = ""
    norm: str = "l2"  # "l2" | "" (no ball: whatever fools counts)
    steps: int = 50
    overshoot: float = 0.02  # how far beyond the boundary, as a share of the way to it
    search: ClassVar[str] = ""
    early_stop: ClassVar[bool] = True
    block: ClassVar[int] = 250
    quick: ClassVar[dict[str, Any]] = {"steps": 3}

    def __post_init__(self) -> None:
        check(self, eps=0, steps=1, overshoot=0)
        _check_ball(self)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        import torch

        from bench_standard.attacks.nearest import deepfool
        from bench_standard.attacks.search import search

        def run(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            return deepfool(network, images, labels, steps=self.steps, overshoot=self.overshoot)

        if self.norm and not self.eps:
            return images
        with torch.no_grad():
            if len(images) and model(images[:1]).shape[1] < 2:
                raise Unsupported(f"{self.name}: there is no boundary with one class")
        return search([_near(run, self)], model, images, labels, generator)


def _check_ball(attack: Any) -> None:
    check_choice(attack, "norm", NORMS)
    if attack.eps and not attack.norm:
        raise BenchError(
            f"{attack.name}: eps is {attack.eps} and norm is ''; expected eps = 0 without a ball; "
            'set eps = 0, or norm = "l2"'
        )


def _near(run: Run, attack: Any) -> Run:
    """The same run, whose results count if they fool, and if they stay in the ball (if any)."""
    import math

    radius = attack.eps if attack.norm else math.inf

    def checked(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        moved = run(network, images, labels)
        distance = (moved - images).flatten(1).norm(dim=1)
        counts = (network(moved).argmax(1) != labels) & (distance <= radius)
        return moved.where(counts.view(-1, 1, 1, 1), images)

    return checked
