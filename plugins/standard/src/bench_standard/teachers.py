"""Teachers: how a network is trained on the real data before anything is condensed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Task
from bench.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Standard:
    """Plain training on the whole training split, cross-entropy with SGD and a cosine schedule.

    The defaults suit small data (thousands of images); larger data wants fewer epochs and, for
    photographs, `crop` and `flip`. The fields mean what they mean in a recipe.
    """

    name: str = "standard"
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
        return Recipe(**{key: value for key, value in asdict(self).items() if key != "name"})

    def squeeze(self, task: Task) -> nn.Module:
        import torch

        from bench.training.classifier import Examples, fit

        labels = task.train.labels
        return fit(
            task.network(),
            Examples(task.train, torch.arange(len(labels)), labels),
            self._recipe(),
            classes=len(task.classes),
            seed=task.seed,
            flip=task.flip,
            device=task.device,
            checkpoint=task.checkpoint,
            progress=task.progress,
        )


# SRe2L (Yin et al., 2023), CDA and GUARD on CIFAR with ResNet-18; their SGD has no Nesterov term.
STANDARD_CIFAR = Standard("standard-cifar", epochs=200, batch=128, lr=0.1, crop=4, flip=True)

# Ours: one pass over Fashion-MNIST for a ConvNet of width 32 with BatchNorm, in about a minute of
# one core; chosen on 5,000 images held out of the training split.
STANDARD_FASHION = Standard(
    "standard-fashion", epochs=1, batch=16, lr=0.03, warmup=0.1, channels_last=True
)

# WMDD and GUARD with ResNet-18 on ImageNette, Tiny-ImageNet and ImageNet-1K, all at 224 pixels.
STANDARD_IMAGENET = Standard(
    "standard-imagenet",
    epochs=50,
    batch=32,
    lr=0.025,
    weight_decay=1e-4,
    flip=True,
    resized_crop=(0.08, 1.0),
)
