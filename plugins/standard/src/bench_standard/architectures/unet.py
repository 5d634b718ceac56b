"""U-Nets for diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Unsupported

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class UNet:
    """U-Net of DDPM (Ho et al., 2020), told the class beside the time.

    It takes the attachments "class.text", "image.text" beside it, and "image.features" (held
    against its middle). It can be differentiated twice as DiT can. Raises Unsupported for images
    whose sides cannot be halved at every level, and for other attachments.
    """

    name: str = "unet-xs"
    widths: tuple[int, ...] = (16, 32, 32)  # channels of each level; each halves the sides
    layers: int = 1  # residual blocks of a level
    attention: tuple[int, ...] = ()  # levels that attend, from 0, the full size; if any, the middle
    quick: ClassVar[dict[str, Any]] = {"widths": (8, 8), "layers": 1, "attention": ()}
    track: ClassVar[str] = "generation"
    preload: ClassVar[tuple[str, ...]] = ("bench_standard.architectures.denoisers",)

    def __post_init__(self) -> None:
        if not self.widths or any(width < 4 or width % 4 for width in self.widths):
            raise BenchError(
                f"{self.name}: widths is {self.widths}; expected one multiple of 4 a level or more"
            )
        if self.layers < 1:
            raise BenchError(f"{self.name}: layers is {self.layers}; expected 1 or more")
        if not set(self.attention) <= set(range(len(self.widths))):
            raise BenchError(
                f"{self.name}: attention is {self.attention}; expected levels from 0 to "
                f"{len(self.widths) - 1}, those of widths"
            )

    def build(
        self, shape: tuple[int, int, int], classes: int, extras: Mapping[str, tuple[int, ...]]
    ) -> nn.Module:
        from bench_standard.architectures import denoisers
        from bench_standard.architectures.conditions import check

        check(self.name, extras)
        _, height, width = shape
        multiple = 2 ** (len(self.widths) - 1)
        if height % multiple or width % multiple:
            raise Unsupported(
                f"{self.name}: {len(self.widths)} levels do not halve {height}x{width} evenly; "
                f"both sides must be multiples of {multiple}"
            )
        return denoisers.UNet(
            shape,
            classes,
            extras,
            widths=self.widths,
            layers=self.layers,
            attention=self.attention,
        )


UNET_XS = UNet()
UNET_S = UNet("unet-s", widths=(32, 64, 64))
UNET_CIFAR = UNet("unet-cifar", widths=(128, 256, 256, 256), layers=2, attention=(1,))
