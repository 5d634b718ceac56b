"""AutoAttack and its parts (Croce and Hein, 2020), by pyautoattack.

The library's front end is not used: it logs, reseeds, clears the trace function of debuggers and
coverage, and asks for ten classes. What it does is short: one part after another, on the images
that still stand. torchattacks has an attack of the same name, which runs its parts for 10 steps
instead of 100 and must not be confused with this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bench import Perturbed, Unsupported
from bench_standard.attacks.fields import BALLS, check, check_choice

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

NAMES = {"linf": "Linf", "l2": "L2"}  # of the balls, in pyautoattack
PRELOAD = ("pyautoattack.autoattack",)
TWO = "apgd-ce, fab-t and square take two classes or more"


class Part(Protocol):
    """One attack of pyautoattack."""

    search: ClassVar[str]

    @property
    def name(self) -> str: ...

    def lacks(self, classes: int, height: int, width: int) -> str:
        """Why it cannot attack a network of so many classes, or images of this size; or ""."""

    def made(self, network: nn.Module, classes: int, **common: Any) -> Any:
        """The attack of the library; `common` holds norm, eps, seed and device."""


@dataclass(frozen=True)
class APGD:
    """Auto-PGD (Croce and Hein, 2020): its step size adapts; on cross-entropy, or on DLR."""

    name: str = "apgd-ce"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    norm: str = "linf"  # "linf" | "l2"
    loss: str = "ce"  # "ce" | "dlr" (difference of logits ratio)
    steps: int = 100
    restarts: int = 1
    eot: int = 1  # gradients averaged, for networks that draw
    search: ClassVar[str] = "iterative"
    quick: ClassVar[dict[str, Any]] = {"steps": 5}
    early_stop: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = PRELOAD

    def __post_init__(self) -> None:
        check(self, eps=0, steps=1, restarts=1, eot=1)
        check_choice(self, "norm", BALLS)
        check_choice(self, "loss", ("ce", "dlr"))

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        return perturb_in_turn([self], self, model, images, labels, generator)

    def lacks(self, classes: int, height: int, width: int) -> str:
        if self.loss == "dlr" and classes < 3:
            return f"the DLR loss compares three logits; here are {classes} classes; {TWO}"
        return ""

    def made(self, network: nn.Module, classes: int, **common: Any) -> Any:
        from bench_standard.attacks import parts

        return parts.APGD(
            network,
            n_iter=self.steps,
            n_restarts=self.restarts,
            loss=self.loss,
            eot_iter=self.eot,
            logger=parts.LOG,
            **common,
        )


@dataclass(frozen=True)
class TargetedAPGD:
    """Auto-PGD towards one class after another, on the targeted DLR loss (Croce and Hein, 2020).

    The targets are the classes with the largest logits. Four classes or more, says the loss.
    """

    name: str = "apgd-t"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    norm: str = "linf"  # "linf" | "l2"
    targets: int = 9  # at most; there are only so many other classes
    steps: int = 100
    search: ClassVar[str] = "iterative"
    block: ClassVar[int] = 100
    quick: ClassVar[dict[str, Any]] = {"steps": 5, "targets": 2}
    early_stop: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = PRELOAD

    def __post_init__(self) -> None:
        check(self, eps=0, targets=1, steps=1)
        check_choice(self, "norm", BALLS)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        return perturb_in_turn([self], self, model, images, labels, generator)

    def lacks(self, classes: int, height: int, width: int) -> str:
        if classes < 4:
            return f"the targeted DLR loss compares four logits; here are {classes} classes; {TWO}"
        return ""

    def made(self, network: nn.Module, classes: int, **common: Any) -> Any:
        from bench_standard.attacks import parts

        return parts.TargetedAPGD(
            network,
            n_iter=self.steps,
            n_target_classes=min(self.targets, classes - 1),
            logger=parts.LOG,
            **common,
        )


@dataclass(frozen=True)
class FAB:
    """Fast adaptive boundary attack towards one class after another (Croce and Hein, 2020).

    It looks for the nearest image that fools; one outside the ball does not count. It is weaker
    than attacks that use up the ball, without any masking: so it makes no claim of a `search`.
    """

    name: str = "fab-t"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    norm: str = "linf"  # "linf" | "l2"
    targets: int = 9  # at most; there are only so many other classes
    steps: int = 100
    search: ClassVar[str] = ""
    block: ClassVar[int] = 100
    quick: ClassVar[dict[str, Any]] = {"steps": 5, "targets": 2}
    early_stop: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = PRELOAD

    def __post_init__(self) -> None:
        check(self, eps=0, targets=1, steps=1)
        check_choice(self, "norm", BALLS)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        return perturb_in_turn([self], self, model, images, labels, generator)

    def lacks(self, classes: int, height: int, width: int) -> str:
        return ""

    def made(self, network: nn.Module, classes: int, **common: Any) -> Any:
        from bench_standard.attacks import parts

        return parts.FAB(
            network,
            n_iter=self.steps,
            targeted=True,
            n_target_classes=min(self.targets, classes - 1),
            **common,
        )


@dataclass(frozen=True)
class Square:
    """Square attack (Andriushchenko et al., 2020): a random search that sees logits alone."""

    name: str = "square"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    norm: str = "linf"  # "linf" | "l2"
    queries: int = 5000  # passes forward an image, at most
    p_init: float = 0.8  # share of the image that the first squares cover
    rescaled: bool = False  # do squares shrink by 10,000 queries (no), or by those that there are?
    search: ClassVar[str] = "black-box"
    block: ClassVar[int] = 100
    quick: ClassVar[dict[str, Any]] = {"queries": 20}
    early_stop: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = PRELOAD

    def __post_init__(self) -> None:
        check(self, eps=0, queries=1, p_init=0)
        check_choice(self, "norm", BALLS)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        return perturb_in_turn([self], self, model, images, labels, generator)

    def lacks(self, classes: int, height: int, width: int) -> str:
        if self.norm == "l2" and not _tiles(height, width):
            return f"the tiles that Square lays in L2 do not fit into images of {height}x{width}"
        return ""

    def made(self, network: nn.Module, classes: int, **common: Any) -> Any:
        from bench_standard.attacks import parts

        return parts.Square(
            network,
            n_queries=self.queries,
            p_init=self.p_init,
            resc_schedule=self.rescaled,
            **common,
        )


@dataclass(frozen=True)
class AutoAttack:
    """AutoAttack (Croce and Hein, 2020): four attacks without parameters, one after another.

    "standard" is APGD-CE, targeted APGD, targeted FAB and Square; "rand", for networks that draw,
    is APGD on cross-entropy and on DLR with averaged gradients. With less than four classes the
    standard is not defined. A number with other than the default steps and queries must not be
    called AutoAttack.
    """

    name: str = "autoattack"
    eps: float = 8 / 255  # radius, in pixels of [0, 1]
    norm: str = "linf"  # "linf" | "l2"
    version: str = "standard"  # "standard" | "rand"
    steps: int = 100
    queries: int = 5000
    targets: int = 9  # at most; there are only so many other classes
    eot: int = 20  # gradients averaged in "rand"
    search: ClassVar[str] = "ensemble"
    block: ClassVar[int] = 50
    quick: ClassVar[dict[str, Any]] = {"steps": 3, "queries": 10, "targets": 2, "eot": 2}
    early_stop: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = PRELOAD

    def __post_init__(self) -> None:
        check(self, eps=0, steps=1, queries=1, targets=1, eot=1)
        check_choice(self, "norm", BALLS)
        check_choice(self, "version", ("standard", "rand"))

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Perturbed:
        left: list[int] = []
        parts = self.parts()
        found = perturb_in_turn(parts, self, model, images, labels, generator, left)
        standing = zip(parts, left, strict=False)  # in a ball of no size, no part runs
        return Perturbed(found, [(part.name, part.search, n) for part, n in standing])

    def parts(self) -> Sequence[Part]:
        if self.version == "rand":
            return [APGD(loss=loss, steps=self.steps, eot=self.eot) for loss in ("ce", "dlr")]
        return [
            APGD(steps=self.steps),
            TargetedAPGD(steps=self.steps, targets=self.targets),
            FAB(steps=self.steps, targets=self.targets),
            Square(queries=self.queries, norm=self.norm),
        ]


def _tiles(height: int, width: int) -> bool:
    """Do the first tiles of pyautoattack's Square in L2 lie inside the image?"""
    side = height // 5
    start = (height - 5 * side) // 2
    fits = all(start + n // side * side <= n for n in (height, width)) if side else False
    return fits or side == 1


def decline(attacks: Sequence[Part], who: Any, model: nn.Module, images: Tensor) -> int:
    """How many classes the model knows; raises Unsupported where an attack lacks something."""
    import torch

    with torch.no_grad():
        classes: int = model(images[:1]).shape[1]
    for attack in attacks:
        if reason := attack.lacks(classes, *images.shape[-2:]):
            raise Unsupported(f"{who.name}: {reason}")
    return classes


def perturb_in_turn(
    attacks: Sequence[Part],
    who: Any,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: Generator,
    left: list[int] | None = None,
) -> Tensor:
    """Each attack in turn on what the others have left, in the ball of `who`, with one seed.

    How many images are right after each is appended to `left`.
    """
    from bench_standard.attacks.search import Run, search, seed

    if not len(images):
        return images
    classes = decline(attacks, who, model, images)
    if not who.eps:
        return images
    common = {"norm": NAMES[who.norm], "eps": who.eps, "device": images.device}
    common["seed"] = seed(generator)

    def running(attack: Part) -> Run:
        return lambda network, images, labels: attack.made(network, classes, **common).perturb(
            images, labels
        )

    return search(map(running, attacks), model, images, labels, generator, left=left)
