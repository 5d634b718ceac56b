"""Teachers that are trained to be smooth in the image, or right under attack."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Task
from bench.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from bench.training.classifier import Hook

    # of a network, images [B, C, H, W] and their labels [B, K]: the losses and the terms of the
    # first of them, or of all
    Term = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]

FORMS = ("gradient", "loss")


@dataclass(frozen=True)
class Training:
    """Plain training on the whole training split; the fields are those of a recipe."""

    name: str = "training"
    epochs: int = 30
    batch: int = 64
    optimizer: str = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    warmup: float = 0.0
    crop: int = 0  # random shifts of up to this many pixels
    flip: bool = False  # mirror images, where that keeps the label
    resized_crop: tuple[float, ...] = ()  # (smallest, largest) area of a random resized crop
    channels_last: bool = False  # faster with BatchNorm on a CPU; other bytes
    quick: ClassVar[dict[str, Any]] = {"epochs": 3, "batch": 64, "crop": 0}
    track: ClassVar[str] = "classification"

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise BenchError(f"{self.name}: epochs is {self.epochs}; expected 1 or more")
        self._recipe()

    def _recipe(self) -> Recipe:
        own = {field.name: getattr(self, field.name) for field in fields(Training)}
        del own["name"]
        return Recipe(**own)

    def _fit(
        self, task: Task, *, term: Term | None = None, lam: float = 0.0, attack: Hook | None = None
    ) -> nn.Module:
        """Train with `lam` times the mean of a term in the loss, if it is above 0."""
        import torch

        from bench.training.classifier import Examples, fit
        from bench_guard.curvature import same_in_both_modes

        labels, network = task.train.labels, task.network()
        loss = penalty = None
        if term and lam:
            # with running statistics, or dropout, the term looks at another function than the step
            if same_in_both_modes(network, task.train.images(torch.arange(2) % len(labels))):
                loss = _loss(term, lam)
            else:
                penalty = _penalty(term, lam)
        return fit(
            network,
            Examples(task.train, torch.arange(len(labels)), labels),
            self._recipe(),
            classes=len(task.classes),
            seed=task.seed,
            flip=task.flip,
            penalty=penalty,
            attack=attack,
            loss=loss,
            device=task.device,
            checkpoint=task.checkpoint,
            progress=task.progress,
        )

    def _check(self, name: str, ok: bool, expected: str) -> None:
        if not ok:
            raise BenchError(f"{self.name}: {name} is {getattr(self, name)!r}; expected {expected}")


@dataclass(frozen=True)
class Guard(Training):
    """Cross-entropy plus a change along the gradient in the image (GUARD; Xue et al., 2025).

    The loss is that of plain training plus `lam` times the mean of `bench_guard.curvature`, the
    change of the gradient, over the first `fraction` of each batch; with form = "loss", of
    `bench_guard.loss_difference`, the change of the loss. What is differentiated are the losses of
    single images; the README converts the authors' lambda and h.
    """

    name: str = "guard"
    lam: float = 1.0  # weight of the mean term
    h: float = 0.5  # length of the step along the gradient, in pixels of [0, 1]
    fraction: float = 1.0  # of each batch that the term is computed on
    form: str = "gradient"  # "gradient" (difference of gradients) | "loss" (of losses)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("lam", 0 <= self.lam < math.inf, "0 or more")
        self._check("h", 0 < self.h < math.inf, "more than 0")
        self._check("fraction", 0 < self.fraction <= 1, "more than 0, at most 1")
        self._check("form", self.form in FORMS, " or ".join(map(repr, FORMS)))

    def squeeze(self, task: Task) -> nn.Module:
        from bench_guard.curvature import with_curvature, with_difference

        found = with_curvature if self.form == "gradient" else with_difference

        def term(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            some = max(1, round(self.fraction * len(images)))  # rows are in random order
            return found(network, images[:some], labels[:some], h=self.h)

        return self._fit(task, term=term, lam=self.lam)


@dataclass(frozen=True)
class Adversarial(Training):
    """Trained on attacked images alone, by PGD in the L-infinity ball (Madry et al., 2018).

    In pixels of [0, 1], with the network in eval mode during the attack.
    """

    name: str = "adversarial"
    eps: float = 8 / 255  # radius of the ball
    steps: int = 7
    alpha: float = 0.0  # step size; 0: 2.5 * eps / steps
    random_start: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("eps", 0 <= self.eps <= 1, "a radius in pixels of [0, 1]")
        self._check("steps", self.steps >= 1, "1 or more")
        self._check("alpha", 0 <= self.alpha < math.inf, "0 or more")

    def squeeze(self, task: Task) -> nn.Module:
        import torch

        # seeded by the training, whose checkpoints keep its state
        generator = torch.default_generator if self.random_start else None

        def attack(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            return attacked(
                network,
                images,
                labels,
                eps=self.eps,
                alpha=self.alpha or 2.5 * self.eps / self.steps,
                steps=self.steps,
                generator=generator,
            )

        return self._fit(task, attack=attack if self.eps else None)


@dataclass(frozen=True)
class GradientNorm(Training):
    """Cross-entropy plus the norm of its gradient in the image, mean over a batch.

    A control of GUARD (Xue et al., 2025), after Drucker and LeCun (1992): slope instead of
    curvature. In the code that the authors released the term does not move the weights.
    """

    name: str = "gradnorm"
    lam: float = 0.3  # weight of the mean norm

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("lam", 0 <= self.lam < math.inf, "0 or more")

    def squeeze(self, task: Task) -> nn.Module:
        from bench_guard.curvature import with_norm

        return self._fit(task, term=with_norm, lam=self.lam)


def _penalty(term: Term, lam: float) -> Hook:
    """What is added to the loss of a step, by passes of its own."""
    return lambda *given: lam * term(*given)[1].mean()


def _loss(term: Term, lam: float) -> Hook:
    """The loss of a step, cross-entropy with the term in it: the two share the pass at the images.

    A term may look at the first of them alone.
    """
    import torch
    from torch.nn import functional as F

    def loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        losses, terms = term(network, images, labels)
        if len(losses) < len(images):
            rest = slice(len(losses), None)
            others = F.cross_entropy(network(images[rest]), labels[rest], reduction="none")
            losses = torch.cat([losses, others])
        return losses.mean().float() + lam * terms.mean()

    return loss


def attacked(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    alpha: float,
    steps: int,
    generator: Generator | None = None,
) -> Tensor:
    """Images of larger loss, after signed steps of `alpha` within `eps` of each pixel, in [0, 1].

    From a point of the ball that `generator` (of the CPU) draws, or from the images themselves.
    Labels are classes [B] or distributions [B, K]. The network is used in the mode that it is in.
    """
    import torch
    from torch.nn import functional as F

    low, high = (images - eps).clamp_min(0), (images + eps).clamp_max(1)
    x = images
    if generator:
        noise = 2 * torch.rand(images.shape, generator=generator) - 1
        x = (x + eps * noise.to(x)).clamp(0, 1)
    for _ in range(steps):
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(network(x), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        x = (x.detach() + alpha * gradient.sign()).clamp(low, high)
    return x


FIRST_ORDER = Guard("guard-first-order", lam=0.3, form="loss")

# the authors' lambda and h, in pixels of [0, 1] and for losses of single images (README)
CIFAR = Guard("guard-cifar", lam=0.157, h=0.6)
FASHION = Guard("guard-fashion", lam=0.28, h=1.06)  # as they chose them for CIFAR-10
IMAGENETTE = Guard("guard-imagenette", lam=0.7, h=0.68)
HALF = Guard("guard-half", fraction=0.5)  # the term on every second image: less work, more noise
