"""Teachers: how a network is trained on the real data before anything is condensed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import Task

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
    quick: ClassVar[dict[str, Any]] = {"epochs": 3}
    track: ClassVar[str] = "classification"

    def squeeze(self, task: Task) -> nn.Module:
        import torch

        from bench.recipe import Recipe
        from bench.train import Examples, fit

        labels = task.train.labels
        settings = {key: value for key, value in asdict(self).items() if key != "name"}
        return fit(
            task.network(),
            Examples(task.train, torch.arange(len(labels)), labels),
            Recipe(**settings),
            classes=len(task.classes),
            seed=task.seed,
            flip=task.flip,
            device=task.device,
            progress=task.progress,
        )
