"""Denoisers as the harness holds them: how images turn to noise, and the space that it happens in.

A point in time is an integer i, from 0 (nearly the image) to T - 1 (noise); networks are told the
time as a fraction of 1, so that they know nothing of T.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from bench.contract.fields import expect

NOISES = ("cosine", "linear", "straight")
PREDICTIONS = ("noise", "image", "velocity")


@dataclass(frozen=True)
class Schedule:
    """x_i = a_i x + b_i noise, and what a network is asked to say of x_i.

    `noise` is "cosine" (Nichol & Dhariwal, 2021), "linear" (Ho et al., 2020) or "straight" (a is
    1 - t and b is t: rectified flow, SiT). `prediction` is the noise, the image, or the velocity:
    a noise - b x (Salimans & Ho, 2022), on a straight path noise - x. Raises BenchError for
    anything else.
    """

    noise: str = "cosine"
    prediction: str = "velocity"
    timesteps: int = 1000

    def __post_init__(self) -> None:
        for name, choices in (("noise", NOISES), ("prediction", PREDICTIONS)):
            value = getattr(self, name)
            expect(value in choices, name, value, f"one of {', '.join(choices)}")
        whole = isinstance(self.timesteps, int)
        expect(whole and self.timesteps >= 2, "timesteps", self.timesteps, "2 or more")

    @property
    def betas(self) -> Tensor | None:
        """Float32 [T], the share of noise that each step adds; None on a straight path."""
        return None if self.noise == "straight" else _betas(self.noise, self.timesteps)

    def coefficients(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """a and b, float32 [B], at `time` (int64 [B])."""
        a, b = _coefficients(self.noise, self.timesteps)
        return a.to(time.device)[time], b.to(time.device)[time]

    def fraction(self, time: Tensor) -> Tensor:
        """What a network is told of `time` (int64 [B]): float32 [B] in [0, 1]."""
        return (time.float() + (self.noise == "straight")) / self.timesteps

    def noised(self, x: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """x [B, C, H, W] at `time` [B]."""
        a, b = (value.view(-1, 1, 1, 1).to(x.dtype) for value in self.coefficients(time))
        return a * x + b * noise

    def target(self, x: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What the network should say of `noised(x, noise, time)` [B, C, H, W]."""
        if self.prediction == "noise":
            return noise
        if self.prediction == "image":
            return x
        if self.noise == "straight":
            return noise - x
        a, b = (value.view(-1, 1, 1, 1).to(x.dtype) for value in self.coefficients(time))
        return a * noise - b * x


COSINE = Schedule()


@cache
def _betas(noise: str, timesteps: int) -> Tensor:
    """Of Ho et al. (2020), section 4, or of Nichol & Dhariwal (2021), equation 17, cut at 0.999."""
    if noise == "linear":
        fewer = 1000 / timesteps  # published for 1,000; so that any T ends in noise
        ends = min(1e-4 * fewer, 0.5), min(0.02 * fewer, 0.999)
        return torch.linspace(*ends, timesteps, dtype=torch.float32)
    angles = [(t / timesteps + 0.008) / 1.008 * math.pi / 2 for t in range(timesteps + 1)]
    kept = [math.cos(angle) ** 2 for angle in angles]
    betas = [min(1 - after / before, 0.999) for before, after in pairwise(kept)]
    return torch.tensor(betas, dtype=torch.float32)


@cache
def _coefficients(noise: str, timesteps: int) -> tuple[Tensor, Tensor]:
    if noise == "straight":
        t = torch.arange(1, timesteps + 1, dtype=torch.float64) / timesteps
        return (1 - t).float(), t.float()
    kept = (1 - _betas(noise, timesteps).double()).cumprod(0)
    return kept.sqrt().float(), (1 - kept).sqrt().float()


class Denoiser(nn.Module):
    """A class-conditional denoiser, with its schedule and the space that it works in.

    `shape` is that of x: of the image with pixels in [-1, 1], or of its latents where the network
    has a space of its own (`encode` and `decode`). Class K, one past the last, is "no class".
    """

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, int, int],
        classes: int,
        schedule: Schedule = COSINE,
    ) -> None:
        super().__init__()
        self.network: Any = network
        self.classes = classes
        self.schedule = schedule
        self.shape: tuple[int, int, int] = getattr(network, "latent_shape", shape)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        labels: Tensor,
        extras: Mapping[str, Tensor],
        projecting: bool = False,
    ) -> Any:
        """The prediction [B, *shape] of x [B, *shape] at t (float32 [B] in [0, 1]).

        `labels` are int64 [B] in 0..K; `extras` the set's attachments to classes, [K, ...] each,
        and, in training, what the images are told beyond them, [B, ...] each (see `of_images`).
        With `projecting`, also what the network makes of the attachments to images, by name
        ([B, ...] each, shaped like their rows), for a projection loss.
        """
        if projecting:
            return self.network.projected(x, t, labels, extras)
        return self.network(x, t, labels, extras)

    def encode(self, images: Tensor) -> Tensor:
        """x [B, *shape] of images [B, C, H, W] in [0, 1]."""
        if hasattr(self.network, "encode"):
            x: Tensor = self.network.encode(images)
            return x
        return 2 * images - 1

    def decode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] of x [B, *shape]."""
        if hasattr(self.network, "decode"):
            x = self.network.decode(x)
            return x.clamp(0, 1)
        return ((x + 1) / 2).clamp(0, 1)


def build(
    architecture: Any,
    shape: tuple[int, int, int],
    classes: int,
    schedule: Schedule = COSINE,
    extras: Mapping[str, Sequence[int]] | None = None,
) -> Denoiser:
    """A fresh denoiser for sets whose attachments have rows of these shapes.

    Initial weights come from torch's global generator: seed it to have them fixed.
    """
    rows = {name: tuple(row) for name, row in (extras or {}).items()}
    return Denoiser(architecture.build(shape, classes, rows), shape, classes, schedule)


def rows_of(extras: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of one row of each attachment, as `build` takes them."""
    return {name: tuple(tensor.shape[1:]) for name, tensor in extras.items()}


def of_classes(extras: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The attachments to classes [K, ...]: what a denoiser is told beside the label."""
    return {name: tensor for name, tensor in extras.items() if name.startswith("class.")}


def of_images(extras: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The attachments to images [N, ...]: those that a denoiser is told, and those that its
    features are held against.

    Told is what has the name of an attachment to classes ("image.text" beside "class.text"): it is
    added to that of the image's class. In the mean of a class it is to be zero: samples, of which
    only the class is known, are told that of the class alone.
    """
    images = {name: t for name, t in extras.items() if name.startswith("image.")}
    told = {n: t for n, t in images.items() if n.replace("image.", "class.", 1) in extras}
    return told, {name: t for name, t in images.items() if name not in told}


def losses(
    denoiser: Denoiser,
    x: Tensor,
    labels: Tensor,
    time: Tensor,
    noise: Tensor,
    extras: Mapping[str, Tensor],
) -> Tensor:
    """The denoising loss [B] of x [B, *shape]: the mean squared error of each prediction.

    `labels` and `time` are int64 [B], `noise` is like x. Differentiable, in x too.
    """
    schedule = denoiser.schedule
    noised = schedule.noised(x, noise, time)
    said: Tensor = denoiser(noised, schedule.fraction(time), labels, extras)
    return (said - schedule.target(x, noise, time)).square().flatten(1).mean(1)
