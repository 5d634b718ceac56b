"""Metrics of how well a condensed set keeps the distribution of each class.

They look at features: what enters the last linear layer of the trial's teacher. Of each class a
sample of the training images stands for all of them, and a condensed image belongs to the class
that it stands for, whatever its label leans to. Weights of the set are masses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Selection, TensorSplit, Trial, Unsupported

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench import Split

BATCH = 256  # images looked at once


@dataclass(frozen=True)
class ClassWasserstein:
    """Wasserstein distance of the condensed from the real features of a class, mean over classes.

    `order` 1 or 2, the latter not squared; in units of the teacher's features, exact (POT), on at
    most `images` real and as many condensed images a class, drawn by `seed`. From a sample it is
    overestimated, alike for all methods. If the loss of a classifier is L-Lipschitz in these
    features, the risks on real and condensed images differ by at most L times `order` 1
    (Kantorovich and Rubinstein, 1958).
    """

    name: str = "class-w2"
    order: int = 2
    images: int = 500
    seed: int = 0
    of: ClassVar[str] = "set"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    unit: ClassVar[str] = ""
    preload: ClassVar[tuple[str, ...]] = ("ot",)

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise BenchError(f"{self.name}: order is {self.order}; expected 1 or 2")
        _check_images(self)

    def measure(self, trial: Trial) -> float:
        import ot

        look = _features(_teacher(trial))
        distances = []
        for real, made, weights in _classes(trial, self.images, self.seed, look):
            x, y = made.double().numpy(), real.double().numpy()
            costs = ot.dist(x, y, "euclidean" if self.order == 1 else "sqeuclidean")
            cost = ot.emd2(weights.numpy(), ot.unif(len(y)), costs, numItermax=10**7)
            cost = max(0.0, float(cost))  # -1e-18 among its roundings
            distances.append(math.sqrt(cost) if self.order == 2 else cost)
        return sum(distances) / len(distances)


@dataclass(frozen=True)
class Diversity:
    """How near the spread of a class's condensed features is to that of its real ones.

    The spread is the trace of the covariance, and of the two the smaller is divided by the larger:
    1 where images spread as real ones do, 0 where each class has one image, and less than 1, too,
    where they scatter beyond the class, which is no virtue. Images at the points of a Wasserstein
    barycenter have 1 minus the share of W2^2 in the real spread, n random ones 1 - 1/n on average.
    Summed over classes before the ratio; on at most `images` real and as many condensed
    images a class, drawn by `seed`.
    """

    name: str = "diversity"
    images: int = 500
    seed: int = 0
    of: ClassVar[str] = "set"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = "fraction"
    tolerance: ClassVar[tuple[float, float]] = (0.0, 0.1)  # a share, but not of test images

    def __post_init__(self) -> None:
        _check_images(self)

    def measure(self, trial: Trial) -> float:
        import torch

        look = _features(_teacher(trial))
        kept = there = 0.0
        for real, made, weights in _classes(trial, self.images, self.seed, look):
            kept += _spread(made.double(), weights)
            there += _spread(real.double(), torch.full((len(real),), 1 / len(real)).double())
        if there == 0:
            raise Unsupported("real images of a class do not differ in the teacher's features")
        return min(kept, there) / max(kept, there)


@dataclass(frozen=True)
class RiskGap:
    """Between the mean cross-entropy of the student on real training and on condensed images.

    In nats, absolute, classes counting alike; with class indices as labels on both sides, for one
    loss is compared on two distributions. `class-w1` times L bounds it for a student whose loss is
    L-Lipschitz in the teacher's features, which nothing guarantees. On at most `images` real and
    as many condensed images a class, drawn by `seed`.
    """

    name: str = "risk-gap"
    images: int = 500
    seed: int = 0
    of: ClassVar[str] = "student"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)
    unit: ClassVar[str] = "nats"

    def __post_init__(self) -> None:
        _check_images(self)

    def measure(self, trial: Trial) -> float:
        if trial.student is None:
            raise BenchError("this trial has no student; a risk gap needs a metric of = 'student'")
        look = _logits(trial.student)
        gaps = []
        for label, (real, made, weights) in enumerate(
            _classes(trial, self.images, self.seed, look)
        ):
            on_real, on_made = (-x.double().log_softmax(1)[:, label] for x in (real, made))
            gaps.append(float(on_real.mean() - weights @ on_made))
        return abs(sum(gaps)) / len(gaps)


@dataclass(frozen=True)
class ClassDisparity:
    """Accuracy of the best class minus that of the worst, clean and under the cell's attack.

    Over the classes that occur among the test images. 0: all classes are served alike.
    """

    name: str = "class-disparity"
    of: ClassVar[str] = "probe"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = "fraction"
    tolerance: ClassVar[tuple[float, float]] = (
        1.0,
        0.0,
    )  # of part of the images: another training may be far off

    def measure(self, trial: Trial) -> float:
        correct, labels = trial.correct, trial.labels
        assert labels is not None  # or `correct` would have refused
        images = labels.bincount()  # [K]
        right = labels[correct].bincount(minlength=len(images))
        rates = (right.double() / images)[images > 0]
        return float(rates.max() - rates.min())


def _check_images(metric: Any) -> None:
    if metric.images < 1:
        raise BenchError(f"{metric.name}: images is {metric.images}; expected 1 or more a class")


def _teacher(trial: Trial) -> nn.Module:
    if trial.teacher is None:
        raise Unsupported("needs a teacher's features; the method names none, and labels need none")
    return trial.teacher


def _classes(
    trial: Trial, images: int, seed: int, look: Callable[[Split, Tensor], Tensor]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Of each class: `look` at real images [n, d], at condensed ones [m, d], masses [m] (sum 1)."""
    import torch

    condensed, train = trial.condensed, trial.data.train
    owners = condensed.classes
    if isinstance(condensed.images, Selection):
        split, index = train, condensed.images.indices
    else:
        split, index = TensorSplit(condensed.images, owners), torch.arange(len(owners))
    weights = torch.ones(len(owners)) if condensed.weights is None else condensed.weights

    def sample(members: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return members[torch.randperm(len(members), generator=generator)[:images]]

    for label in range(len(trial.data.classes)):
        there = sample((train.labels == label).nonzero()[:, 0])
        made = sample((owners == label).nonzero()[:, 0])
        if not len(there) or not len(made):
            raise Unsupported(f"no image of class {label} on one of the two sides")
        masses = weights[made].double()
        yield look(train, there), look(split, index[made]), masses / masses.sum()


def _features(network: nn.Module) -> Callable[[Split, Tensor], Tensor]:
    import torch

    from bench.training import networks
    from bench.training.loading import batches

    device = _device(network)

    def look(split: Split, index: Tensor) -> Tensor:
        with networks.evaluating(network), torch.no_grad():
            return torch.cat(
                [
                    networks.features(network, images.to(device))[0].flatten(1).float().cpu()
                    for images in batches(split, index, BATCH)
                ]
            )

    return look


def _logits(network: nn.Module) -> Callable[[Split, Tensor], Tensor]:
    from bench.training.networks import predict

    device = _device(network)
    return lambda split, index: predict(network, split, index, batch=BATCH, device=device)


def _device(network: nn.Module) -> str:
    return next((str(weights.device) for weights in network.parameters()), "cpu")


def _spread(points: Tensor, masses: Tensor) -> float:
    """Trace of the covariance of points [m, d] with masses [m] that sum to 1."""
    offsets = points - points[0]  # exactly 0 where points do not differ
    return float(masses @ (offsets - masses @ offsets).square().sum(1))


CLASS_W1 = ClassWasserstein("class-w1", order=1)
