"""VGG, in the form that the condensation literature trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError

if TYPE_CHECKING:
    from torch import nn

STAGES = ((1,), (2,), (4, 4), (8, 8), (8, 8))  # channels over `width`; a pooling ends each stage


@dataclass(frozen=True)
class VGG11:
    """VGG-11 (Simonyan and Zisserman, 2015) with BatchNorm and one linear classifier.

    What remains of the image after the last stage is averaged. Stages do not pool maps with a
    side of a single pixel, so that images of any size fit.
    """

    name: str = "vgg11"
    width: int = 64  # channels of the first convolution, an eighth of those of the last
    quick: ClassVar[dict[str, Any]] = {"width": 8}
    track: ClassVar[str] = "classification"

    def __post_init__(self) -> None:
        if self.width < 1:
            raise BenchError(f"{self.name}: width is {self.width}; expected 1 or more")

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        channels, *sides = shape
        side = min(sides)
        layers: list[nn.Module] = []
        for stage in STAGES:
            for factor in stage:
                convolution = nn.Conv2d(channels, factor * self.width, 3, padding=1)
                nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
                channels = factor * self.width
                layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            if side > 1:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        return nn.Sequential(
            nn.Sequential(*layers),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, classes),
        )
