"""What a network says of images of which a window has changed, where its first layers are local.

A convolution, ReLU and a mean of 2x2 pixels see a few pixels each: of maps that are kept, only the
part under a changed window is computed anew. With BatchNorm folded into convolutions (`frozen`)
that is most of a ConvNet. Logits are those of the network but for rounding. This module imports
torch: components import it inside their verbs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench_standard.architectures.layers import AvgPool2x2
from bench_standard.attacks.frozen import SAME

Window = tuple[int, int, int, int]  # top, bottom, left, right: rows and columns, ends not included
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True, eq=False)
class _Block:
    """A convolution of stride 1, what follows it pixel by pixel, and perhaps a pooling."""

    conv: nn.Conv2d
    after: tuple[nn.Module, ...]
    pool: nn.Module | None

    def __call__(self, maps: Tensor) -> Tensor:
        return self._rest(self.conv(maps))

    def _rest(self, maps: Tensor) -> Tensor:
        for layer in (*self.after, *([self.pool] if self.pool else [])):
            maps = layer(maps)
        return maps

    def part(self, maps: Tensor, window: Window) -> tuple[Tensor, Window]:
        """What a window of its input changes in its output, and where that is."""
        sides = []
        for k in (0, 1):
            height, kernel = maps.shape[2 + k], int(self.conv.kernel_size[k])
            pad = int(self.conv.padding[k])
            start, stop = window[2 * k : 2 * k + 2]
            size = height + 2 * pad - kernel + 1
            first, last = max(0, start + pad - kernel + 1), min(size, stop + pad)
            if self.pool:
                size = size // 2 * 2
                first, last = first // 2 * 2, min(size, -(-last // 2) * 2)
            sides.append((first, max(first, last), height, kernel, pad))
        cuts, pads, found = [], [], []
        for first, last, height, kernel, pad in sides:
            low, high = first - pad, last - pad + kernel - 1
            cuts.append(slice(max(0, low), min(height, high)))
            pads.append((max(0, -low), max(0, high - height)))
            found += [first // 2, last // 2] if self.pool else [first, last]
        some = maps[:, :, cuts[0], cuts[1]]
        if any(map(any, pads)):
            some = F.pad(some, (*pads[1], *pads[0]))
        conv = self.conv
        made = F.conv2d(some, conv.weight, conv.bias, 1, 0, 1, conv.groups)
        return self._rest(made), (found[0], found[1], found[2], found[3])


class Windowed(nn.Module):
    """A network that keeps its maps of images [B, C, H, W], and is told what has changed in them.

    It has the hooks of the network, so that its passes are counted as the network's.
    """

    def __init__(self, network: Any, blocks: list[_Block], rest: nn.Module) -> None:
        super().__init__()
        self.network, self.blocks, self.rest = [network], blocks, rest  # in a list: no child
        self._forward_hooks = network._forward_hooks
        self.maps: list[Tensor] = []
        self.before: list[tuple[Tensor, Window]] = []

    def start(self, images: Tensor) -> None:
        """Keep the maps of these images."""
        [network] = self.network
        self.maps = [(images - network.mean) / network.std]
        for block in self.blocks:
            self.maps.append(block(self.maps[-1]))

    def forward(self, images: Tensor, window: Window) -> Tensor:
        """Logits [B, K] of the images that are kept, now that a window is as in `images`."""
        [network] = self.network
        top, bottom, left, right = window
        self.before = []
        part = (images[:, :, top:bottom, left:right] - network.mean) / network.std
        self._put(0, part, window)
        for number, block in enumerate(self.blocks):
            part, window = block.part(self.maps[number], window)
            self._put(number + 1, part, window)
        logits: Tensor = self.rest(self.maps[-1])
        return logits

    def _put(self, number: int, part: Tensor, window: Window) -> None:
        top, bottom, left, right = window
        there = self.maps[number][:, :, top:bottom, left:right]
        self.before.append((there.clone(), window))
        there.copy_(part)

    def keep(self, rows: Tensor) -> None:
        """Take the last change back in all images but those in `rows` [B] (bool)."""
        kept = rows.view(-1, 1, 1, 1)
        for maps, (before, (top, bottom, left, right)) in zip(self.maps, self.before, strict=True):
            there = maps[:, :, top:bottom, left:right]
            there.copy_(torch.where(kept, there, before))

    def drop(self, rows: Tensor) -> None:
        """Forget the images in `rows` [B] (bool)."""
        self.maps = [maps[~rows] for maps in self.maps]


def windowed(network: Any, images: Tensor) -> Windowed | None:
    """The network of a frozen copy, which keeps its maps of these images, if its first layers are
    two local convolutions or more that take images less `mean`, by `std`."""
    network = getattr(network, "network", network)
    inner: Any = getattr(network, "network", None)
    if type(inner) is not nn.Sequential or not all(hasattr(network, n) for n in ("mean", "std")):
        return None
    # a BatchNorm that has been folded is an identity
    layers = [layer for layer in inner if type(layer) is not nn.Identity or _hooked(layer)]
    blocks: list[_Block] = []
    if _hooked(inner) or any(p.dtype != torch.float32 for p in network.parameters()):
        return None
    while layers and _local(layers[0]):
        conv: Any = layers.pop(0)
        after = []
        while layers and type(layers[0]) is nn.ReLU and not _hooked(layers[0]):
            after.append(layers.pop(0))
        pools = bool(layers) and type(layers[0]) is AvgPool2x2 and not _hooked(layers[0])
        blocks.append(_Block(conv, tuple(after), layers.pop(0) if pools else None))
    if len(blocks) < 2:
        return None
    made = Windowed(network, blocks, nn.Sequential(*layers))
    made.start(images)
    # by `forward`: no pass of an attack
    said, again = network.forward(images), made.rest(made.maps[-1])
    return made if torch.allclose(again, said, rtol=SAME, atol=SAME) else None


def _local(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.Conv2d
        and not _hooked(layer)
        and not isinstance(layer.padding, str)
        and layer.padding_mode == "zeros"
        and {*layer.stride, *layer.dilation} == {1}
    )


def _hooked(layer: nn.Module) -> bool:
    return any(getattr(layer, hooks) for hooks in HOOKS) or "forward" in vars(layer)
