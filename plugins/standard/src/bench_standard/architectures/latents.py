"""Diffusion transformers in the latent space of an autoencoder, for images that are large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Unsupported
from bench_standard import files
from bench_standard.architectures.dit import DiT

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class LatentDiT(DiT):
    """DiT on the latents of a frozen autoencoder (Rombach et al., 2022; Peebles & Xie, 2023).

    The autoencoder is a folder that diffusers' `AutoencoderKL` has saved: nothing is downloaded.
    Its weights are no part of the network's, so that their hash stands in a field.
    With noise = "straight" in the recipe it is SiT (Ma et al., 2024). Raises Missing without the
    folder, BenchError for other weights than those of `sha256`, and Unsupported for images that do
    not fit the autoencoder.
    """

    name: str = "latent-dit-l"
    width: int = 1024
    depth: int = 24
    heads: int = 16
    projected_from: int = 8  # as REPA and D2C do
    autoencoder: str = "sd-vae-ft-ema"  # a folder; absolute, or below the data folder
    sha256: str = ""  # of its weights; left empty, the error says what it is
    quick: ClassVar[dict[str, Any]] = {"width": 16, "depth": 2, "heads": 2, "projected_from": 1}

    def build(
        self, shape: tuple[int, int, int], classes: int, extras: Mapping[str, tuple[int, ...]]
    ) -> nn.Module:
        from bench_standard.architectures.denoisers import Latent

        autoencoder = _loaded(
            files.find(
                f"the autoencoder of {self.name}",
                [self.autoencoder],
                f"get config.json and {WEIGHTS} of "
                "stabilityai/sd-vae-ft-ema from the Hugging Face hub and put them there, "
                "or set another `autoencoder`",
            ),
            self.sha256,
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


def _loaded(folder: Path, sha256: str) -> Any:
    import torch
    from diffusers import AutoencoderKL

    try:
        with torch.random.fork_rng([]):  # it draws weights before it reads them
            autoencoder = AutoencoderKL.from_pretrained(  # type: ignore[no-untyped-call]
                folder, local_files_only=True, low_cpu_mem_usage=False, use_safetensors=True
            )
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{folder} holds no autoencoder ({' '.join(str(error).split())}); expected a folder "
            "that diffusers' AutoencoderKL has saved; get it again"
        ) from None
    weights = folder / WEIGHTS
    if (found := files.sha256(weights)) != sha256.lower():
        raise BenchError(
            f"{weights} has the SHA-256 {found}; expected {sha256 or 'it in the field sha256'}; if "
            f'these are the weights that you mean, set sha256 = "{found}"'
        )
    return autoencoder


LATENT_DIT_L = LatentDiT()
LATENT_DIT_XL = LatentDiT("latent-dit-xl", width=1152, depth=28)
