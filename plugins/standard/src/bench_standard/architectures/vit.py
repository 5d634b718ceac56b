"""Vision transformers, as timm builds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Unsupported

if TYPE_CHECKING:
    from torch import nn

TOKENS = (16, 256)  # fewest and most of an image, where the patch is chosen here
ENOUGH = 64  # tokens past which a smaller patch is not worth its time


@dataclass(frozen=True)
class ViT:
    """Vision transformer of DeiT's sizes (Dosovitskiy et al., 2021; Touvron et al., 2021).

    Attention is written out instead of fused, so that it can be differentiated twice and is
    deterministic on a GPU. Raises Unsupported for images that no patch tiles.
    """

    name: str = "vit-tiny"
    width: int = 192  # of a token
    depth: int = 12
    heads: int = 3
    patch: int = 0  # side of a patch in pixels; 0: 16 at 224, 8 at 64, 4 at 28 and 32, 2 below
    quick: ClassVar[dict[str, Any]] = {"width": 24, "depth": 2, "heads": 3}
    track: ClassVar[str] = "classification"
    preload: ClassVar[tuple[str, ...]] = ("timm.models.vision_transformer",)

    def __post_init__(self) -> None:
        for field in ("width", "depth", "heads"):
            if (value := getattr(self, field)) < 1:
                raise BenchError(f"{self.name}: {field} is {value}; expected 1 or more")
        if self.width % self.heads:
            raise BenchError(
                f"{self.name}: width is {self.width}; expected a multiple of heads = {self.heads}"
            )
        if self.patch < 0:
            raise BenchError(
                f"{self.name}: patch is {self.patch}; expected a side in pixels, or 0 to choose"
            )

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from timm.models.vision_transformer import VisionTransformer

        channels, height, width = shape
        network: nn.Module = VisionTransformer(
            img_size=(height, width),
            patch_size=self._patch(height, width),
            in_chans=channels,
            num_classes=classes,
            embed_dim=self.width,
            depth=self.depth,
            num_heads=self.heads,
        )
        block: Any
        for block in network.get_submodule("blocks").children():
            block.attn.fused_attn = False
        return network

    def _patch(self, height: int, width: int) -> int:
        """The side of a patch: it tiles the image, with about as many tokens as are customary."""
        if self.patch:
            if height % self.patch or width % self.patch:
                raise Unsupported(
                    f"{self.name}: patches of {self.patch} pixels do not tile images of "
                    f"{height}x{width}; both sides must be multiples of {self.patch}"
                )
            return self.patch
        fewest, most = TOKENS
        tokens = {
            patch: (height // patch) * (width // patch)
            for patch in range(2, 17)
            if height % patch == width % patch == 0
        }
        tokens = {patch: count for patch, count in tokens.items() if fewest <= count <= most}
        if not tokens:
            raise Unsupported(
                f"{self.name}: no square patch of 2 to 16 pixels cuts images of {height}x{width} "
                f"into {fewest} to {most}; sides that are multiples of 8 would do, up to 256 pixels"
            )
        return min((p for p, count in tokens.items() if count <= ENOUGH), default=max(tokens))


VIT_TINY = ViT()
VIT_SMALL = ViT("vit-small", width=384, heads=6)
VIT_NANO = ViT("vit-nano", width=64, depth=4, heads=4)  # fits 28x28 on a CPU
