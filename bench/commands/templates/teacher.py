"""A teacher: how a network is trained on the real training split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import Task, hookimpl

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Example:
    """Plain training by AdamW (an example; say what yours is, and who wrote of it)."""

    name: str = "example"
    epochs: int = 20
    lr: float = 0.01
    quick: ClassVar[dict[str, Any]] = {"epochs": 8}  # for the checks
    track: ClassVar[str] = "classification"

    def squeeze(self, task: Task) -> nn.Module:
        import torch

        from bench.training.classifier import Examples, fit
        from bench.training.recipe import Recipe

        labels = task.train.labels
        return fit(
            task.network(),
            Examples(task.train, torch.arange(len(labels)), labels),
            Recipe(optimizer="adamw", epochs=self.epochs, batch=32, lr=self.lr),
            classes=len(task.classes),
            seed=task.seed,
            flip=task.flip,
            device=task.device,
            progress=task.progress,
            checkpoint=task.checkpoint,
        )


@hookimpl
def bench_teachers() -> Sequence[Example]:
    return [Example()]
