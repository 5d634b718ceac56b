"""MobileNetV2, as torchvision builds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MobileNetV2:
    """MobileNetV2 (Sandler et al., 2018); up to 64 pixels its first two strides are 1.

    The names in its state are torchvision's.
    """

    name: str = "mobilenetv2"
    width: float = 1.0  # factor on all channels but the last 1,280
    quick: ClassVar[dict[str, Any]] = {"width": 0.25}
    track: ClassVar[str] = "classification"
    preload: ClassVar[tuple[str, ...]] = ("torchvision.models",)

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise BenchError(f"{self.name}: width is {self.width}; expected a factor above 0")

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn
        from torchvision.models import mobilenet_v2

        first = 1 if max(shape[1:]) <= 64 else 2
        settings = [  # expansion, channels, blocks, stride: table 2 of the paper
            [1, 16, 1, 1],
            [6, 24, 2, first],
            [6, 32, 3, 2],
            [6, 64, 4, 2],
            [6, 96, 3, 1],
            [6, 160, 3, 2],
            [6, 320, 1, 1],
        ]
        network: nn.Module = mobilenet_v2(
            num_classes=classes, width_mult=self.width, inverted_residual_setting=settings
        )
        stem: Any = network.get_submodule("features.0")
        stem[0] = nn.Conv2d(shape[0], stem[0].out_channels, 3, first, 1, bias=False)
        nn.init.kaiming_normal_(stem[0].weight, mode="fan_out")
        return network
