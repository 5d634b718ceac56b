"""Metrics of a set's images: what networks take them for, and how far they lie from real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench import BenchError, Selection, TensorSplit, Trial, Unsupported

if TYPE_CHECKING:
    from torch import Tensor

    from bench import Split

BATCH = 256  # images looked at once


@dataclass(frozen=True)
class Opinion:
    """The share of a set's images that a classifier takes for the class that they stand for.

    With `features`, the classifier is a second teacher: of the board's backbone, trained alike
    from another seed, which no method has seen. Images that fit their own teacher alone are right
    by that one and wrong by this one. With `features` empty it is the set's own teacher.
    """

    name: str = "second-opinion"
    features: str = "standard"  # the teacher whose classifier looks; "": the set's own
    of: ClassVar[str] = "set"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = "fraction"
    tolerance: ClassVar[tuple[float, float]] = (0.1, 0.0)  # of few images

    def measure(self, trial: Trial) -> float:
        from bench.training.networks import predict

        network = trial.features if self.features else trial.teacher
        if network is None:
            raise Unsupported("the set has no teacher: the method names none, and labels need none")
        split, index = _images(trial)
        said = predict(network, split, index, batch=BATCH, device=trial.device).argmax(1)
        return (said == trial.condensed.classes).double().mean().item()


@dataclass(frozen=True)
class FromReal:
    """How far a set's images lie, in pixels, from the nearest training image of their class.

    The mean absolute difference; or with `over`, the share of values that differ by more than
    that. The nearest is that of the least mean absolute difference; for an image that started from
    a real one and moved little it is where it started, so this says how far it moved. 0 for real
    images. In units of pixels in [0, 1], mean over images.
    """

    name: str = "from-real"
    over: float = 0.0  # 0: the mean difference
    of: ClassVar[str] = "set"
    track: ClassVar[str] = "classification"
    higher_is_better: ClassVar[bool] = False
    ranked: ClassVar[bool] = False  # to be near is no virtue
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = "fraction"
    tolerance: ClassVar[tuple[float, float]] = (0.02, 0.1)

    def __post_init__(self) -> None:
        if not 0 <= self.over < 1:
            raise BenchError(f"{self.name}: over is {self.over}; expected 0 or more, below 1")

    def measure(self, trial: Trial) -> float:
        import torch

        if isinstance(trial.condensed.images, Selection):
            return 0.0
        split, index = _images(trial)
        train, found = trial.data.train, []
        for label in range(len(trial.data.classes)):
            members = (train.labels == label).nonzero()[:, 0]
            made = index[trial.condensed.classes == label]
            if len(made) and len(members):
                found.append(self._apart(split.images(made), train, members))
        if not found:
            raise Unsupported("no image of the set is of a class with training images")
        return float(torch.cat(found).mean())

    def _apart(self, made: Tensor, train: Split, members: Tensor) -> Tensor:
        """Of images [m, C, H, W]: what this metric says of each [m]."""
        import torch

        from bench.training.loading import batches

        flat = made.flatten(1)
        least = torch.full((len(flat),), torch.inf)
        nearest = torch.zeros_like(flat)
        for images in batches(train, members, BATCH):
            real = images.flatten(1)
            near, which = torch.cdist(flat, real, p=1).min(1)  # [m]
            better = near < least
            least[better], nearest[better] = near[better], real[which[better]]
        apart = (flat - nearest).abs()
        return (apart > self.over if self.over else apart).double().mean(1)


def _images(trial: Trial) -> tuple[Split, Tensor]:
    """The split that holds the images of the set, and where they stand in it [N]."""
    import torch

    condensed = trial.condensed
    if isinstance(condensed.images, Selection):
        return trial.data.train, condensed.images.indices
    return TensorSplit(condensed.images, condensed.classes), torch.arange(len(condensed))


FIRST_OPINION = Opinion("first-opinion", features="")
MOVED = FromReal("share-from-real", over=0.05)
