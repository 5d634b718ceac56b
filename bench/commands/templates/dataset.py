"""A data set: a training and a test split, the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import Data, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Example:
    """Stripes of one width a class, and noise (an example; read your files in `load`)."""

    name: str = "example"
    side: int = 16  # pixels
    train: int = 100  # images of each class
    test: int = 50

    def load(self) -> Data:
        import torch

        generator = torch.Generator().manual_seed(0)
        names = ("narrow", "middle", "wide")

        def split(count: int) -> tuple[Tensor, Tensor]:
            labels = torch.arange(len(names)).repeat(count)  # [T]
            columns = torch.arange(self.side) + torch.randint(
                8, (len(labels), 1), generator=generator
            )
            stripes = (columns // (1 + labels[:, None])) % 2  # [T, W]
            images = stripes.float()[:, None, None].expand(-1, 1, self.side, -1)
            noise = 0.1 * torch.randn(images.shape, generator=generator)
            return (images * 0.6 + 0.2 + noise).clamp(0, 1), labels

        return Data.from_tensors(split(self.train), split(self.test), names)


@hookimpl
def bench_datasets() -> Sequence[Example]:
    return [Example()]
