"""Differentiable siamese augmentation: one draw for batches that are compared with each other."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from bench.training import augment


def alike(
    batches: tuple[Tensor, ...],
    operations: str,
    generator: Generator,
    *,
    flip: bool,
    units: augment.Units,
) -> tuple[Tensor, ...]:
    """Each batch of images [B, C, H, W] in [0, 1] under the same draw (Zhao and Bilen, 2021).

    One of `operations` is drawn, and one strength for all images of all batches, whatever their
    sizes; the result is differentiable in the images. "flip" is left out unless `flip` says that
    a mirror image keeps its label. `units` are the mean and standard deviation of the pixels. The
    draw comes from `generator`, a CPU generator on any device.
    """
    if not operations:
        return batches
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return tuple(
        augment.dsa(
            batch, operations, Generator().manual_seed(seed), flip=flip, units=units, siamese=True
        )
        for batch in batches
    )
