"""Diffusion transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Unsupported

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class DiT:
    """Diffusion transformer with adaLN-zero (Peebles & Xie, 2023); SiT's network is the same.

    It takes the attachments "class.text", "image.text" beside it, and "image.features". It can be
    differentiated twice where attention is not fused: under
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.
    A fresh one predicts zeros, and only its last layers have a gradient. Raises Unsupported for
    images that the patches do not tile, and for other attachments.
    """

    name: str = "dit-s"
    patch: int = 2  # side in pixels (or latents)
    width: int = 384  # of a token
    depth: int = 12
    heads: int = 6
    projected_from: int = 0  # features are those after this block; 0: after a third of them
    quick: ClassVar[dict[str, Any]] = {
        "patch": 4,
        "width": 16,
        "depth": 2,
        "heads": 2,
        "projected_from": 0,
    }
    track: ClassVar[str] = "generation"
    preload: ClassVar[tuple[str, ...]] = ("bench_standard.architectures.denoisers",)

    def __post_init__(self) -> None:
        for field in ("patch", "width", "depth", "heads"):
            if (value := getattr(self, field)) < 1:
                raise BenchError(f"{self.name}: {field} is {value}; expected 1 or more")
        if self.width % self.heads or self.width % 4:
            raise BenchError(
                f"{self.name}: width is {self.width}; expected a multiple of heads = {self.heads} "
                "and of 4 (sines and cosines of two coordinates)"
            )
        if not 0 <= self.projected_from <= self.depth:
            raise BenchError(
                f"{self.name}: projected_from is {self.projected_from}; expected a block from 1 to "
                f"depth = {self.depth}, or 0 to choose"
            )

    def build(
        self, shape: tuple[int, int, int], classes: int, extras: Mapping[str, tuple[int, ...]]
    ) -> nn.Module:
        from bench_standard.architectures.conditions import check
        from bench_standard.architectures.denoisers import Transformer

        check(self.name, extras)
        _, height, width = shape
        if height % self.patch or width % self.patch:
            raise Unsupported(
                f"{self.name}: patches of {self.patch} do not tile {height}x{width}; both sides "
                f"must be multiples of {self.patch}"
            )
        return Transformer(
            shape,
            classes,
            extras,
            patch=self.patch,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            projected_from=self.projected_from or -(-self.depth // 3),
        )


DIT_NANO = DiT("dit-nano", patch=4, width=32, depth=2, heads=2)  # for tests
DIT_XS = DiT("dit-xs", patch=4, width=64, depth=4, heads=4)  # fits 28x28 on a CPU
DIT_S = DiT()
DIT_B = DiT("dit-b", width=768, heads=12)
DIT_L = DiT("dit-l", width=1024, depth=24, heads=16)
DIT_XL = DiT("dit-xl", width=1152, depth=28, heads=16, projected_from=8)  # as REPA and D2C do
