"""Metrics of the premises of GUARD: curvature of the loss, and what its bound is made of.

They look at the student, or with network = "teacher" at the teacher, and at test images that
nobody has trained on. The loss is cross-entropy with class indices, in nats; a network trained on
labels of high temperature has small logits, and with them small losses, slopes and curvatures, so
numbers compare between networks of one recipe. Lengths are Euclidean, in pixels of [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Trial, Unsupported
from bench_guard.both_sides import Side, both_sides, looked_at, worst_loss

if TYPE_CHECKING:
    from torch import Tensor, nn

SECOND_ORDER = (
    20  # images differentiated twice at once: a graph each, and a Krylov space in float64
)


@dataclass(frozen=True)
class InputCurvature:
    """Largest eigenvalue of the Hessian of the loss in the input, mean over test images.

    lambda_1 in the bound of GUARD (Xue et al., 2025), by Lanczos (`bench_guard.top_curvature`), on
    the first `images` of those that attacks are given. In nats by squared pixel distance.
    """

    name: str = "input-curvature"
    network: str = "student"  # "student" | "teacher"
    images: int = 100
    steps: int = 16  # products with the Hessian
    seed: int = 0
    quick: ClassVar[dict[str, Any]] = {"images": 10, "steps": 4}
    of: ClassVar[str] = "student"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)
    unit: ClassVar[str] = "nats per squared pixel"

    def __post_init__(self) -> None:
        _check(self, "images", "steps")

    def measure(self, trial: Trial) -> float:
        values, _ = _top(self, trial)
        return float(values.mean())


@dataclass(frozen=True)
class CurvatureCosine:
    """|Cosine| of gradient and direction of largest curvature of the loss, mean over test images.

    The premise of GUARD (Xue et al., 2025): near 1, the finite difference along the gradient is
    the largest curvature. Over those of the first `images` that have a gradient; found from a
    random start, not from the gradient. Networks of layers that are not piecewise linear (GELU)
    may want more `steps`.
    """

    name: str = "curvature-cosine"
    network: str = "student"  # "student" | "teacher"
    images: int = 100
    steps: int = 16  # products with the Hessian
    seed: int = 0
    quick: ClassVar[dict[str, Any]] = {"images": 10, "steps": 4}
    of: ClassVar[str] = "student"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = ""

    def __post_init__(self) -> None:
        _check(self, "images", "steps")

    def measure(self, trial: Trial) -> float:
        _, cosines = _top(self, trial)
        if bool(cosines.isnan().all()):
            raise Unsupported("the loss has no gradient at any of the images")
        return float(cosines.nanmean())


@dataclass(frozen=True)
class Curvature:
    """How much the gradient of the loss changes over a step `h` along it, mean over test images.

    R(x) = |g(x + h g / |g|) - g(x)|: what GUARD (Xue et al., 2025) adds to the loss of a teacher
    (`bench_guard.curvature`), not divided by h. On the first `images` of those that attacks are
    given. In nats by pixel distance.
    """

    name: str = "curvature"
    network: str = "student"  # "student" | "teacher"
    h: float = 0.5  # length of the step, as that of `guard`
    images: int = 100
    quick: ClassVar[dict[str, Any]] = {"images": 10}
    of: ClassVar[str] = "student"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    unit: ClassVar[str] = "nats per pixel"

    def __post_init__(self) -> None:
        _check(self, "images", "h")

    def measure(self, trial: Trial) -> float:
        import torch

        from bench_guard.curvature import curvature

        model = _network(self.network, trial)
        found = [
            curvature(model, *some, h=self.h).detach()
            for some in _tested(trial, self.images, model)
        ]
        return float(torch.cat(found).double().mean())


@dataclass(frozen=True)
class AdversarialGap:
    """Between the mean adversarial loss on real test images and on condensed ones, absolute.

    The left side of the transfer bound of GUARD (Xue et al., 2025): at most a Lipschitz constant
    times the deviation of features, in units of the network (`feature-deviation` is relative).
    In nats, classes counting alike; the largest loss that `steps` of gradient ascent find within
    `eps` of an image. On at most `images` real and as many condensed images a class, drawn by
    `seed`.
    """

    name: str = "adversarial-gap"
    network: str = "student"  # "student" | "teacher"
    eps: float = 0.5  # radius of the ball
    steps: int = 10
    images: int = 50
    seed: int = 0
    quick: ClassVar[dict[str, Any]] = {"steps": 2, "images": 5}
    of: ClassVar[str] = "student"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    unit: ClassVar[str] = "nats"

    def __post_init__(self) -> None:
        _check(self, "images", "steps", "eps")

    def measure(self, trial: Trial) -> float:
        import torch

        model = _network(self.network, trial)

        def risk(side: Side) -> float:
            losses = [
                worst_loss(model, *some, eps=self.eps, steps=self.steps)
                for some in looked_at(side.split, side.index, side.labels, model)
            ]
            return float(torch.cat(losses).cpu() @ side.shares)

        real, made = both_sides(trial, self.images, self.seed)
        return abs(risk(real) - risk(made))


@dataclass(frozen=True)
class FeatureDeviation:
    """How far condensed images lie from the mean features of their class; real test images: 1.

    Mean Euclidean distance of what enters the last linear layer from its mean over real images of
    the class, relative to that of the real images, for networks differ in the unit of their
    features; numerator and denominator are means over classes. sigma in the transfer bound of
    GUARD (Xue et al., 2025), but for the unit. On at most `images` real and as many condensed
    images a class, drawn by `seed`.
    """

    name: str = "feature-deviation"
    network: str = "student"  # "student" | "teacher"
    images: int = 200
    seed: int = 0
    of: ClassVar[str] = "student"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    unit: ClassVar[str] = ""

    def __post_init__(self) -> None:
        _check(self, "images")

    def measure(self, trial: Trial) -> float:
        import torch

        from bench.training import networks

        model = _network(self.network, trial)

        def features(side: Side) -> Tensor:
            with networks.evaluating(model), torch.no_grad():
                return torch.cat(
                    [
                        networks.features(model, images)[0].flatten(1).double().cpu()
                        for images, _ in looked_at(side.split, side.index, side.labels, model)
                    ]
                )

        real, made = both_sides(trial, self.images, self.seed)
        there, here = features(real), features(made)
        total = there.new_zeros(len(trial.data.classes), there.shape[1])
        total.index_add_(0, real.labels, there)
        means = total / real.labels.bincount()[:, None]  # [K, d]
        spread = float((there - means[real.labels]).norm(dim=1) @ real.shares)
        if spread == 0:
            raise Unsupported("real images of a class do not differ in the network's features")
        return float((here - means[made.labels]).norm(dim=1) @ made.shares) / spread


def _top(metric: InputCurvature | CurvatureCosine, trial: Trial) -> tuple[Tensor, Tensor]:
    """Largest curvatures and cosines of the test images [n]."""
    import torch

    from bench_guard.spectrum import top_curvature

    model = _network(metric.network, trial)
    found = [
        top_curvature(model, *some, steps=metric.steps, seed=metric.seed)
        for some in _tested(trial, metric.images, model)
    ]
    values, cosines = zip(*found, strict=True)
    return torch.cat(values).double(), torch.cat(cosines).double()


def _tested(trial: Trial, images: int, model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images and labels: the first test images that attacks are given."""
    from bench.training.loading import probed_images

    test = trial.data.test
    index = probed_images(test, trial.data.digest, images)
    return looked_at(test, index, test.labels[index], model, SECOND_ORDER)


def _network(role: str, trial: Trial) -> nn.Module:
    network = trial.student if role == "student" else trial.teacher
    if network is None:
        raise Unsupported(f"there is no {role} to look at")
    return network


def _check(metric: Any, *positive: str) -> None:
    if metric.network not in ("student", "teacher"):
        raise BenchError(
            f"{metric.name}: network is {metric.network!r}; expected 'student' or 'teacher'"
        )
    for name in positive:
        value = getattr(metric, name)
        if not 0 < value < math.inf:
            raise BenchError(f"{metric.name}: {name} is {value}; expected more than 0")


METRICS = (
    InputCurvature(),
    CurvatureCosine(),
    Curvature(),
    AdversarialGap(),
    FeatureDeviation(),
)
