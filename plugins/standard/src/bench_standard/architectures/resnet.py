"""Residual networks, with torchvision's blocks and torchvision's names in their states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError

if TYPE_CHECKING:
    from torch import nn

STEMS = {  # kernel, stride, padding, whether pooling follows
    "small": (3, 1, 1, False),
    "large": (7, 2, 3, True),
    "half": (3, 2, 3, False),
}


@dataclass(frozen=True)
class ResNet:
    """ResNet (He et al., 2016); on small images with a 3x3 stem that keeps their size.

    At width 64 with the large stem it is torchvision's network: the same names and shapes, so
    that weights published for ImageNet fit.
    """

    name: str = "resnet18"
    width: int = 64  # channels of the first of four stages; each stage doubles them
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # of each stage
    bottleneck: bool = False  # blocks of 1x1, 3x3, 1x1 (four times as wide), not of two 3x3
    stem: str = (
        "auto"  # "small" (3x3) | "half" (3x3, /2) | "large" (7x7, /4) | "auto": by 64 pixels
    )
    quick: ClassVar[dict[str, Any]] = {"width": 8, "blocks": (1, 1, 1, 1)}
    track: ClassVar[str] = "classification"
    preload: ClassVar[tuple[str, ...]] = ("torchvision.models",)

    def __post_init__(self) -> None:
        if self.stem not in ("auto", *STEMS):
            raise BenchError(
                f"{self.name}: stem is {self.stem!r}; expected one of auto, {', '.join(STEMS)}"
            )
        if self.width < 1:
            raise BenchError(f"{self.name}: width is {self.width}; expected 1 or more")
        if len(self.blocks) != 4 or min(self.blocks) < 1:
            raise BenchError(f"{self.name}: blocks is {self.blocks}; expected 4 numbers from 1 up")

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from collections import OrderedDict

        from torch import nn
        from torchvision.models import resnet

        block = resnet.Bottleneck if self.bottleneck else resnet.BasicBlock
        by_size = "small" if max(shape[1:]) <= 64 else "large"
        kernel, stride, padding, pooled = STEMS[by_size if self.stem == "auto" else self.stem]
        layers: list[tuple[str, nn.Module]] = [
            ("conv1", nn.Conv2d(shape[0], self.width, kernel, stride, padding, bias=False)),
            ("bn1", nn.BatchNorm2d(self.width)),
            ("relu", nn.ReLU(inplace=True)),
            ("maxpool", nn.MaxPool2d(3, 2, 1) if pooled else nn.Identity()),
        ]
        entering = self.width
        for stage, count in enumerate(self.blocks):
            planes, stage_blocks = self.width << stage, []
            for number in range(count):
                leaving, stride = planes * block.expansion, 2 if stage and not number else 1
                shortcut = None
                if stride > 1 or entering != leaving:
                    shortcut = nn.Sequential(
                        nn.Conv2d(entering, leaving, 1, stride, bias=False), nn.BatchNorm2d(leaving)
                    )
                stage_blocks.append(block(entering, planes, stride, shortcut))
                entering = leaving
            layers.append((f"layer{stage + 1}", nn.Sequential(*stage_blocks)))
        layers += [
            ("avgpool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("fc", nn.Linear(entering, classes)),
        ]
        network = nn.Sequential(OrderedDict(layers))
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        return network


RESNET18 = ResNet()
RESNET50 = ResNet("resnet50", blocks=(3, 4, 6, 3), bottleneck=True)
RESNET101 = ResNet("resnet101", blocks=(3, 4, 23, 3), bottleneck=True)
