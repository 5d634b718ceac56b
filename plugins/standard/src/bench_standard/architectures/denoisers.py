"""The networks that `dit`, `unet` and `latents` build, out of diffusers' layers.

Imported when a network is built: it needs torch and diffusers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps, get_2d_sincos_pos_embed
from diffusers.models.normalization import AdaLayerNormContinuous, AdaLayerNormZero
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn

from bench_standard.architectures.conditions import FEATURES, Conditions, Projection

Shape = tuple[int, int, int]
Rows = Mapping[str, tuple[int, ...]]
Said = tuple[Tensor, dict[str, Tensor]]

FREQUENCIES = 256  # that a time is embedded by, as the authors of DiT do


class Block(nn.Module):
    """A transformer block whose norms and gates follow a condition (adaLN-zero)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before = AdaLayerNormZero(width)
        self.attention = Attention(width, heads=heads, dim_head=width // heads, bias=True)
        self.between = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        # the exact GELU, not DiT's by tanh: on a CPU that takes twice as long, to differ by 5e-4
        self.mlp = FeedForward(width, activation_fn="gelu")

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:  # [B, N, d], [B, d]
        changed: Tensor
        changed, gate, shift, scale, last = self.before(tokens, emb=condition)
        tokens = tokens + gate[:, None] * self.attention(changed)
        changed = self.between(tokens) * (1 + scale[:, None]) + shift[:, None]
        changed = last[:, None] * self.mlp(changed)
        return tokens + changed


class Transformer(nn.Module):
    """DiT, with one embedder of time and class for all blocks, as its authors have it.

    It is not diffusers' `DiTTransformer2DModel`: there every block has an embedder of its own
    (most of the weights of a small network), and drops labels of its own in training, so that one
    image is of a class to some blocks and of none to others.
    """

    positions: Tensor

    def __init__(
        self,
        shape: Shape,
        classes: int,
        rows: Rows,
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        projected_from: int,
    ) -> None:
        super().__init__()
        channels, *sides = shape
        self.patch, self.projected_from = patch, projected_from
        self.grid = (sides[0] // patch, sides[1] // patch)
        # not diffusers' PatchEmbed, which takes squares alone
        self.patches = nn.Conv2d(channels, width, patch, patch)
        positions = get_2d_sincos_pos_embed(
            width, self.grid, base_size=self.grid[0], output_type="pt"
        )
        self.register_buffer("positions", positions.float(), persistent=False)  # [N, d]
        self.frequencies = Timesteps(FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time = TimestepEmbedding(FREQUENCIES, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = AdaLayerNormContinuous(width, width, elementwise_affine=False, eps=1e-6)
        self.out = nn.Linear(width, patch * patch * channels)
        self._initialize()
        self.conditions = Conditions(classes, width, rows)
        self.projection = Projection(width, self.grid, rows[FEATURES]) if FEATURES in rows else None

    def _initialize(self) -> None:
        """As the authors of DiT: Xavier, small embedders, and zeros where a residual starts."""
        for weight in self.parameters():
            if weight.ndim == 1:  # a bias: no norm has weights
                nn.init.zeros_(weight)
            else:
                nn.init.xavier_uniform_(weight.flatten(1))
        for linear in (self.time.linear_1, self.time.linear_2):
            nn.init.normal_(linear.weight, std=0.02)
        for module in self.modules():
            if isinstance(module, AdaLayerNormZero | AdaLayerNormContinuous):
                nn.init.zeros_(module.linear.weight)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor, extras: Mapping[str, Tensor]) -> Tensor:
        return self._through(x, t, labels, extras)[0]

    def projected(self, x: Tensor, t: Tensor, labels: Tensor, extras: Mapping[str, Tensor]) -> Said:
        said, tokens = self._through(x, t, labels, extras)
        return said, {FEATURES: self.projection(tokens)} if self.projection else {}

    def _through(
        self, x: Tensor, t: Tensor, labels: Tensor, extras: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The prediction [B, C, H, W], and the tokens [B, N, d] that a projection starts from."""
        time = self.time(self.frequencies(1000 * t).to(x.dtype))
        condition = time + self.conditions(labels, extras)
        tokens = self.patches(x).flatten(2).mT.contiguous()  # or all that follows is strided
        tokens = seen = tokens + self.positions
        for number, block in enumerate(self.blocks, 1):
            tokens = block(tokens, condition)
            if number == self.projected_from:
                seen = tokens
        patches = self.out(self.norm(tokens, condition)).unflatten(1, self.grid)  # [B, h, w, ppC]
        patches = patches.unflatten(3, (self.patch, self.patch, -1))  # [B, h, w, p, p, C]
        return patches.permute(0, 5, 1, 3, 2, 4).reshape(x.shape), seen


class UNet(nn.Module):
    """diffusers' U-Net, told the class beside the time, as it is in all denoisers here."""

    def __init__(
        self,
        shape: Shape,
        classes: int,
        rows: Rows,
        *,
        widths: tuple[int, ...],
        layers: int,
        attention: tuple[int, ...],
    ) -> None:
        super().__init__()
        channels, *sides = shape
        kinds = ["Attn" if level in attention else "" for level in range(len(widths))]
        self.unet = UNet2DModel(
            sample_size=(sides[0], sides[1]),
            in_channels=channels,
            out_channels=channels,
            block_out_channels=widths,
            layers_per_block=layers,
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            add_attention=bool(attention),
            attention_head_dim=None,  # one head
            norm_num_groups=math.gcd(32, *(width // 4 for width in widths)),
            class_embed_type="identity",
        )
        self.conditions = Conditions(classes, 4 * widths[0], rows)
        shrunk = 2 ** (len(widths) - 1)
        grid = (sides[0] // shrunk, sides[1] // shrunk)
        row = rows.get(FEATURES)
        self.projection = Projection(widths[-1], grid, row) if row else None

    def forward(self, x: Tensor, t: Tensor, labels: Tensor, extras: Mapping[str, Tensor]) -> Tensor:
        said: Tensor = self.unet(x, 1000 * t, self.conditions(labels, extras)).sample
        return said

    def projected(self, x: Tensor, t: Tensor, labels: Tensor, extras: Mapping[str, Tensor]) -> Said:
        """The features are those of the middle, the coarsest."""
        seen: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            seen.append(output)

        with self.unet.mid_block.register_forward_hook(keep):
            said = self(x, t, labels, extras)
        tokens = seen[0].flatten(2).mT  # [B, h * w, d]
        return said, {FEATURES: self.projection(tokens)} if self.projection else {}


class Latent(nn.Module):
    """A denoiser in the latent space of an autoencoder, which is frozen and no part of it.

    So its state and its parameters are the denoiser's alone; the autoencoder moves along.
    """

    def __init__(self, network: nn.Module, autoencoder: Any, shape: Shape) -> None:
        super().__init__()
        self.network: Any = network
        self.latent_shape = shape
        self.outside = [autoencoder.requires_grad_(False).eval()]  # a list hides it from nn.Module
        config = autoencoder.config
        self.scale: float = config.scaling_factor
        self.shift: float = config.shift_factor or 0.0

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Latent:
        self.outside[0]._apply(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, x: Tensor, t: Tensor, labels: Tensor, extras: Mapping[str, Tensor]) -> Tensor:
        said: Tensor = self.network(x, t, labels, extras)
        return said

    def projected(self, x: Tensor, t: Tensor, labels: Tensor, extras: Mapping[str, Tensor]) -> Said:
        found: Said = self.network.projected(x, t, labels, extras)
        return found

    def encode(self, images: Tensor) -> Tensor:
        """Latents [B, *latent_shape] of images in [0, 1]: the most likely, none are drawn."""
        latents: Tensor = self.outside[0].encode(2 * images - 1).latent_dist.mode()
        return (latents - self.shift) * self.scale

    def decode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W], about in [0, 1], of latents."""
        images: Tensor = self.outside[0].decode(x / self.scale + self.shift).sample
        return (images + 1) / 2
