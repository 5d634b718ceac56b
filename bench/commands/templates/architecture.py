"""A network of students: from images to logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench import hookimpl

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Example:
    """Two convolutions, averaged over the image (an example; say what yours is)."""

    name: str = "example"
    width: int = 16
    track: ClassVar[str] = "classification"

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(shape[0], self.width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(self.width, 2 * self.width, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * self.width, classes),  # the last linear layer is the classifier
        )


@hookimpl
def bench_architectures() -> Sequence[Example]:
    return [Example()]
