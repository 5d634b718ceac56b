"""Attacks that follow the sign or the direction of the gradient, by torchattacks (Kim, 2020)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench_standard.attacks.fields import BALLS, check, check_choice

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from bench_standard.attacks.search import Run

CROSS_ENTROPY, MARGIN = LOSSES = ("cross-entropy", "margin")


@dataclass(frozen=True)
class FGSM:
    """Fast gradient sign method: one step to the surface of the ball (Goodfellow et al., 2015)."""

    name: str = "fgsm"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    loss: str = CROSS_ENTROPY  # "cross-entropy" | "margin", which no scale of the logits masks
    norm: ClassVar[str] = "linf"
    search: ClassVar[str] = "single-step"
    exact_on_linear: ClassVar[bool] = True  # reaches the closed form, which the kit checks
    preload: ClassVar[tuple[str, ...]] = ("torchattacks",)

    def __post_init__(self) -> None:
        check(self, eps=0)
        check_choice(self, "loss", LOSSES)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        import torchattacks

        from bench_standard.attacks.search import search

        run = running(lambda network: torchattacks.FGSM(network, eps=self.eps), self.loss)
        return search([run], model, images, labels, generator, all_first=True)


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent in a ball (Madry et al., 2018).

    An image that is wrong as it comes, or on the way, is not moved any further: no step could
    make it right again in the figures, and the steps saved are most of them. So its verdict is
    that of the best step, not of the last. `early_stop = False` moves every image to the end, as
    a transferred attack wants it. With restarts, an image keeps the first result that fools.
    """

    name: str = "pgd"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    norm: str = "linf"  # "linf" | "l2"
    steps: int = 10
    alpha: float = 0.0  # step size in pixels; 0: 2.5 * eps / steps, as Madry et al. do
    random_start: bool = True
    restarts: int = 1
    early_stop: bool = True
    loss: str = CROSS_ENTROPY  # "cross-entropy" | "margin", which no scale of the logits masks
    search: ClassVar[str] = "iterative"
    quick: ClassVar[dict[str, Any]] = {"steps": 5}
    preload: ClassVar[tuple[str, ...]] = ("torchattacks",)

    def __post_init__(self) -> None:
        check(self, eps=0, steps=1, alpha=0, restarts=1)
        check_choice(self, "norm", BALLS)
        check_choice(self, "loss", LOSSES)

    @property
    def exact_on_linear(self) -> bool:
        """Does it reach the closed form, which the kit checks? It stops at the first success."""
        return not self.early_stop

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        import torchattacks

        from bench_standard.attacks.search import Directed, search

        if not self.eps:
            return images
        attack = torchattacks.PGD if self.norm == "linf" else torchattacks.PGDL2
        run = running(
            lambda network: attack(
                Directed(network),
                eps=self.eps,
                alpha=self.alpha or 2.5 * self.eps / self.steps,
                steps=self.steps,
                random_start=self.random_start,
            ),
            self.loss,
        )
        if self.early_stop:
            run = _stopping(run)
        runs = [run] * self.restarts
        return search(runs, model, images, labels, generator, all_first=not self.early_stop)


@dataclass(frozen=True)
class MIM:
    """Momentum iterative method (Dong et al., 2018), gradients normalised image by image."""

    name: str = "mim"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    steps: int = 10
    alpha: float = 0.0  # step size in pixels; 0: eps / steps, as the authors do
    decay: float = 1.0  # of the momentum
    loss: str = CROSS_ENTROPY  # "cross-entropy" | "margin", which no scale of the logits masks
    norm: ClassVar[str] = "linf"
    search: ClassVar[str] = "iterative"
    quick: ClassVar[dict[str, Any]] = {"steps": 5}
    exact_on_linear: ClassVar[bool] = True  # reaches the closed form, which the kit checks
    preload: ClassVar[tuple[str, ...]] = ("torchattacks",)

    def __post_init__(self) -> None:
        check(self, eps=0, steps=1, alpha=0, decay=0)
        check_choice(self, "loss", LOSSES)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        import torchattacks

        from bench_standard.attacks.search import search

        run = running(
            lambda network: torchattacks.MIFGSM(
                network,
                eps=self.eps,
                alpha=self.alpha or self.eps / self.steps,
                steps=self.steps,
                decay=self.decay,
            ),
            self.loss,
        )
        moved = search([run], model, images, labels, generator, all_first=True)
        # a gradient of zero is divided by its norm: such an image has nowhere to go
        return moved.where(moved.isfinite(), images)


@dataclass(frozen=True)
class VMIFGSM:
    """Momentum with its variance tuned: slopes around the image steady each step (Wang, He, 2021).

    Made to transfer to other networks; on the network itself it is MIM at many times the price.
    """

    name: str = "vmifgsm"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    steps: int = 10
    alpha: float = 0.0  # step size in pixels; 0: eps / steps, as the authors do
    decay: float = 1.0  # of the momentum
    neighbours: int = 20  # images around each, of which slopes are taken
    beta: float = 1.5  # how far off they are at most, as a multiple of eps
    norm: ClassVar[str] = "linf"
    search: ClassVar[str] = "iterative"
    quick: ClassVar[dict[str, Any]] = {"steps": 3, "neighbours": 2}
    exact_on_linear: ClassVar[bool] = True  # reaches the closed form, which the kit checks
    preload: ClassVar[tuple[str, ...]] = ("torchattacks",)

    def __post_init__(self) -> None:
        check(self, eps=0, steps=1, alpha=0, decay=0, neighbours=1, beta=0)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        import torchattacks

        from bench_standard.attacks.search import search

        run = running(
            lambda network: torchattacks.VMIFGSM(
                network,
                eps=self.eps,
                alpha=self.alpha or self.eps / self.steps,
                steps=self.steps,
                decay=self.decay,
                N=self.neighbours,
                beta=self.beta,
            )
        )
        moved = search([run], model, images, labels, generator, all_first=True)
        # a gradient of zero is divided by its norm: such an image has nowhere to go
        return moved.where(moved.isfinite(), images)


@dataclass(frozen=True)
class Jitter:
    """Jitter (Schwinn et al., 2021): PGD whose loss looks at all logits, scaled and with noise.

    Logits are divided by the largest, so that no scale of theirs masks the gradient. Images stop
    where they first fool, as in PGD, unless `early_stop = False`.
    """

    name: str = "jitter"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    steps: int = 10
    alpha: float = 0.0  # step size in pixels; 0: 2.5 * eps / steps
    scale: float = 10.0  # of the logits, whose largest is 1 before
    std: float = 0.1  # of the noise on probabilities
    random_start: bool = True
    early_stop: bool = True
    norm: ClassVar[str] = "linf"
    search: ClassVar[str] = "iterative"
    quick: ClassVar[dict[str, Any]] = {"steps": 5}
    preload: ClassVar[tuple[str, ...]] = ("torchattacks",)

    def __post_init__(self) -> None:
        check(self, eps=0, steps=1, alpha=0, scale=0, std=0)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        import torchattacks

        from bench_standard.attacks.search import search

        if not self.eps:
            return images
        run = running(
            lambda network: torchattacks.Jitter(
                network,
                eps=self.eps,
                alpha=self.alpha or 2.5 * self.eps / self.steps,
                steps=self.steps,
                scale=self.scale,
                std=self.std,
                random_start=self.random_start,
            )
        )
        if self.early_stop:
            run = _stopping(run)
        return search([run], model, images, labels, generator, all_first=not self.early_stop)


def running(attack: Callable[[nn.Module], Any], loss: str = CROSS_ENTROPY) -> Run:
    """A run of an attack of torchattacks, which wants gradients switched on."""
    import torch

    from bench_standard.attacks.search import Margin

    def run(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        attacked = Margin(network, labels) if loss == MARGIN else network
        with torch.enable_grad():
            moved: Tensor = attack(attacked)(images, labels)
        return moved

    return run


def _stopping(run: Run) -> Run:
    """The same run, in which an image stops at the first step that fools the network."""
    from bench_standard.attacks.search import Standing

    def stopped(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        standing = Standing(network, images, labels)
        moved = run(standing, images, labels)
        fallen = standing.fallen.view(-1, 1, 1, 1)
        return standing.adversarial.where(fallen, moved)

    return stopped
