"""Networks for classification: [B, C, H, W] to logits [B, classes]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Unsupported

if TYPE_CHECKING:
    from torch import nn

NORMS = ("instance", "batch", "group", "layer", "none")
POOLINGS = ("avg", "max", "none")
ACTIVATIONS = ("relu", "leaky-relu", "sigmoid")


@dataclass(frozen=True)
class ConvNet:
    """ConvNet of the condensation literature (Gidaris and Komodakis, 2018; Zhao et al., 2021).

    `depth` blocks of convolution 3x3, norm, activation and pooling 2x2, then a linear
    classifier. Images of 28x28 are padded to 32x32 by the first convolution, as the authors do.
    Raises Unsupported where the pooling would leave nothing of the image.
    """

    name: str = "convnet"
    width: int = 128  # channels of every block
    depth: int = 3
    norm: str = "instance"  # "instance" | "batch" | "group" (4 groups) | "layer" | "none"
    pooling: str = "avg"  # "avg" | "max" | "none"
    activation: str = "relu"  # "relu" | "leaky-relu" | "sigmoid"
    quick: ClassVar[dict[str, Any]] = {"width": 8}
    track: ClassVar[str] = "classification"

    def __post_init__(self) -> None:
        for field in ("width", "depth"):
            if (value := getattr(self, field)) < 1:
                raise BenchError(f"{self.name}: {field} is {value}; expected 1 or more")
        for field, choices in (("norm", NORMS), ("pooling", POOLINGS), ("activation", ACTIVATIONS)):
            if (value := getattr(self, field)) not in choices:
                raise BenchError(
                    f"{self.name}: {field} is {value!r}; expected one of {', '.join(choices)}"
                )
        if self.norm == "group" and self.width % 4:
            raise BenchError(
                f"{self.name}: width is {self.width}; expected a multiple of 4 with "
                "norm = 'group' (4 groups); change one of the two"
            )

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        from bench_standard.architectures.layers import AvgPool2x2

        channels, height, width = shape
        padding = 3 if (height, width) == (28, 28) else 1  # 28 -> 32, so that it halves evenly
        height, width = height + 2 * padding - 2, width + 2 * padding - 2
        if self.pooling != "none" and min(height, width) >> self.depth == 0:
            raise Unsupported(
                f"{self.name}: depth {self.depth} halves images of {shape[1]}x{shape[2]} to nothing"
            )
        layers: list[nn.Module] = []
        for _ in range(self.depth):
            layers += [
                nn.Conv2d(channels, self.width, 3, padding=padding),
                self._norm((self.width, height, width)),
                self._activation(),
            ]
            if self.pooling != "none":
                layers.append(AvgPool2x2() if self.pooling == "avg" else nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            channels, padding = self.width, 1
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, classes))

    def _norm(self, shape: tuple[int, int, int]) -> nn.Module:
        from torch import nn

        channels = shape[0]
        norms: dict[str, Callable[[], nn.Module]] = {
            # Not nn.InstanceNorm2d: as the authors do, and it allows maps of a single pixel.
            "instance": lambda: nn.GroupNorm(channels, channels),
            "batch": lambda: nn.BatchNorm2d(channels),
            "group": lambda: nn.GroupNorm(4, channels),
            "layer": lambda: nn.LayerNorm(shape),
            "none": lambda: nn.Identity(),
        }
        return norms[self.norm]()

    def _activation(self) -> nn.Module:
        from torch import nn

        if self.activation == "sigmoid":
            return nn.Sigmoid()
        return nn.ReLU() if self.activation == "relu" else nn.LeakyReLU(0.01)


CONVNET = ConvNet()
CONVNET_BN = ConvNet("convnet-bn", norm="batch")
CONVNET_D4, CONVNET_D5, CONVNET_D6 = (ConvNet(f"convnet-d{d}", depth=d) for d in (4, 5, 6))
