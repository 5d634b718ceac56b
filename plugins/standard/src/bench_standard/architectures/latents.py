"""Diffusion transformers in the latent space of an autoencoder, for images that are large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import Unsupported
from bench.types import BenchError
from bench_standard import files
from bench_standard.architectures.dit import DiT

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


@dataclass(frozen=True)
class LatentDiT(DiT):
    """DiT on the latents of a frozen autoencoder (Rombach et al., 2022; Peebles & Xie, 2023).

    The autoencoder is a folder that diffusers' `AutoencoderKL` has saved: nothing is downloaded.
    With noise = "straight" in the recipe it is SiT (Ma et al., 2024). Raises Missing without the
    folder, and Unsupported for images that do not fit the autoencoder.
    """

    name: str = "latent-dit-l"
    width: int = 1024
    depth: int = 24
    heads: int = 16
    projected_from: int = 8  # as REPA and D2C do
    autoencoder: str = "sd-vae-ft-ema"  # a folder; absolute, or below the data folder
    quick: ClassVar[dict[str, Any]] = {"width": 16, "depth": 2, "heads": 2, "projected_from": 1}

    def build(
        self, shape: tuple[int, int, int], classes: int, extras: Mapping[str, tuple[int, ...]]
    ) -> nn.Module:
        from bench_standard.architectures.denoisers import Latent

        autoencoder = _loaded(
            files.find(
                f"the autoencoder of {self.name}",
                [self.autoencoder],
                "get config.json and diffusion_pytorch_model.safetensors of "
                "stabilityai/sd-vae-ft-ema from the Hugging Face hub and put them there, "
                "or set another `autoencoder`",
            )
        )
        config = autoencoder.config
        channels, height, width = shape
        if channels != config.in_channels:
            raise Unsupported(
                f"{self.name}: its autoencoder takes {config.in_channels} channels, these images "
                f"have {channels}"
            )
        smaller = 2 ** (len(config.block_out_channels) - 1)
        if height % smaller or width % smaller:
            raise Unsupported(
                f"{self.name}: its autoencoder makes {height}x{width} smaller by {smaller}; both "
                f"sides must be multiples of {smaller}"
            )
        latent = (config.latent_channels, height // smaller, width // smaller)
        return Latent(super().build(latent, classes, extras), autoencoder, latent)


def _loaded(folder: Path) -> Any:
    import torch
    from diffusers import AutoencoderKL

    try:
        with torch.random.fork_rng([]):  # it draws weights before it reads them
            return AutoencoderKL.from_pretrained(  # type: ignore[no-untyped-call]
                folder, local_files_only=True, low_cpu_mem_usage=False
            )
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{folder} holds no autoencoder ({' '.join(str(error).split())}); expected a folder "
            "that diffusers' AutoencoderKL has saved; get it again"
        ) from None


LATENT_DIT_L = LatentDiT()
LATENT_DIT_XL = LatentDiT("latent-dit-xl", width=1152, depth=28)
