"""The identity, which stands on the axis of attacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


@dataclass(frozen=True)
class Clean:
    """No attack: the images as they are."""

    name: str = "clean"
    eps: float = 0.0
    norm: ClassVar[str] = ""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
    ) -> Tensor:
        return images
