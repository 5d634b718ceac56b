"""Which points in time are worth matching: a score of each, and the few that are chosen.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.training.diffusion import Denoiser, losses
from bench_d2c.matching import at

FLOATS = 2**24  # of gradients of single losses that are held at once


class Spread(NamedTuple):
    """How the gradients [n, r, D] of the losses of n images, under r draws of noise each, lie."""

    lengths: Tensor  # [n, r] squared, of each
    means: Tensor  # [n] squared, of the mean over an image's draws
    mean: Tensor  # [] squared, of the mean of all

    def norm(self) -> float:
        """The mean length. It is largest near the image, where gradients are nearly all noise."""
        return float(self.lengths.sqrt().mean())

    def ratio(self) -> float:
        """Variance between images over the variance between draws: how far a gradient is data.

        One-way analysis of variance, traces of the covariances; what the finite number of draws
        adds to the first is taken off, and no less than 0 is left: of one image, nothing.
        """
        images, draws = self.lengths.shape
        within = (self.lengths.sum(1) - draws * self.means).mean() / (draws - 1)
        between = (self.means.sum() - images * self.mean) / max(1, images - 1) - within / draws
        return float(between.clamp_min(0) / within.clamp_min(1e-30))


def spread(
    denoiser: Denoiser,
    x: Tensor,
    labels: Tensor,
    time: int,
    draws: int,
    generator: Generator,
    extras: Mapping[str, Tensor],
) -> Spread:
    """Of the gradients of the losses of x [n, *shape] at `time` in the denoiser's weights.

    Every image has draws of its own. A few gradients live at a time, whatever n is.
    """
    weights = {name: weight.detach() for name, weight in denoiser.named_parameters()}
    when = torch.full((1,), time, device=x.device)

    def loss(weights: dict[str, Tensor], x: Tensor, label: Tensor, noise: Tensor) -> Tensor:
        one = (x[None], label[None], when, noise[None])
        return losses(at(denoiser, weights), *one, extras)[0]

    of_each = vmap(grad(loss), (None, 0, 0, 0))
    size = sum(weight.numel() for weight in weights.values())
    lengths, means, sums = [], [], x.new_zeros(size)
    for part in torch.split(torch.arange(len(x)), max(1, FLOATS // (size * draws))):
        noise = torch.randn(len(part) * draws, *x.shape[1:], generator=generator).to(x)
        rows = part.repeat_interleave(draws).to(x.device)
        with sdpa_kernel(SDPBackend.MATH):
            found = of_each(weights, x[rows], labels[rows], noise)
        flat = torch.cat([g.flatten(1) for g in found.values()], 1).view(len(part), draws, size)
        of_image = flat.mean(1)  # [n, D]
        lengths.append(flat.square().sum(2))
        means.append(of_image.square().sum(1))
        sums += of_image.sum(0)
    return Spread(torch.cat(lengths), torch.cat(means), (sums / len(x)).square().sum())


def evenly(count: int, timesteps: int) -> Tensor:
    """`count` of the points in time 0..T-1, in the middles of equal parts: int64 [count]."""
    return ((torch.arange(count) + 0.5) * timesteps / count).long()


def best(grid: Tensor, score: Tensor, count: int, apart: float) -> Tensor:
    """The `count` times of `grid` [G] with the highest scores [G], at least `apart` apart, rising.

    Once none is left that is so far from all chosen, the best of the others follow.
    """
    chosen: list[int] = []
    for _ in range(count):
        free = torch.ones(len(grid), dtype=torch.bool)
        free[chosen] = False
        far = free.clone()
        for k in chosen:
            far &= (grid - grid[k]).abs() >= apart
        chosen.append(int(score.masked_fill(~(far if far.any() else free), -torch.inf).argmax()))
    return grid[chosen].sort().values


def systematic(score: Tensor, count: int, timesteps: int) -> Tensor:
    """`count` times at evenly spaced quantiles of a score [G] over G equal parts of 0..T-1."""
    total = score.double().cumsum(0)
    if total[-1] <= 0:
        return evenly(count, timesteps)
    upto = torch.cat([total.new_zeros(1), total / total[-1]])  # at the edges of the parts
    asked = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    part = torch.searchsorted(upto, asked, right=True).clamp(1, len(score)) - 1
    inside = (asked - upto[part]) / (upto[part + 1] - upto[part]).clamp_min(1e-30)
    return ((part + inside) * timesteps / len(score)).long().clamp(0, timesteps - 1)
