"""Gradients of the classes as points in the plane: how those of a pool move onto the real ones.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from bench.training.diffusion import Denoiser, losses
from bench_d2c.matching import Pair
from bench_matching.distances import gradients

SIZE = 256  # of a sketch


def sketches(
    denoiser: Denoiser,
    pairs: Sequence[Pair],
    images: Tensor | None,
    extras: Mapping[str, Tensor],
    seed: int,
) -> Tensor:
    """The gradient of each pair, on `images` of a pool or else on its real ones: [K, SIZE].

    It is brought to length one, for gradients are matched by their angle, and its entries are
    summed into random places with random signs (a count sketch), which nearly keeps distances and
    needs no gradient to be kept. One seed, one sketch.
    """
    parameters = [p for p in denoiser.parameters() if p.requires_grad]
    generator = Generator().manual_seed(seed)
    total = sum(p.numel() for p in parameters)
    places = torch.randint(SIZE, (total,), generator=generator)
    signs = 2 * torch.randint(2, (total,), generator=generator) - 1
    rows = []
    for pair in pairs:
        bank = pair.bank
        if images is None:
            x, (time, noise) = pair.real, pair.shared
        else:
            x, time, noise = images[bank.items], bank.time, bank.noise
        labels = torch.full((len(x),), pair.label, device=x.device)
        loss = losses(denoiser, x, labels, time, noise, extras).mean()
        flat = torch.cat([g.flatten() for g in gradients(loss, parameters)]).cpu()
        rows.append(torch.zeros(SIZE).index_add_(0, places, signs * F.normalize(flat, dim=0)))
    return torch.stack(rows)


def plane(real: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    """Sketches [K, D] and [S, K, D] in the first two principal components of the real ones.

    Both as [S, K, 2]; the real ones are the same each time.
    """
    middle = real.mean(0)
    _, _, axes = torch.linalg.svd(real - middle, full_matrices=False)
    if len(axes) < 2:
        axes = torch.cat([axes, torch.zeros_like(axes)])
    there, here = ((side - middle) @ axes[:2].T for side in (real, pool))
    return there.expand(len(pool), -1, -1).contiguous(), here
