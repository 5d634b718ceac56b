"""The two sides of the bound of GUARD: real test images and condensed ones, under attack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import Selection, TensorSplit, Trial, Unsupported

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench import Split

BATCH = 50  # images looked at once


@dataclass(frozen=True, eq=False)
class Side:
    """Images of every class: where in a split, their labels [n] and shares [n], 1 / K a class."""

    split: Split
    index: Tensor
    labels: Tensor
    shares: Tensor


def both_sides(trial: Trial, images: int, seed: int) -> tuple[Side, Side]:
    """Real test images and condensed ones, at most `images` a class."""
    import torch

    data, condensed = trial.data, trial.condensed
    owners, classes = condensed.classes, len(data.classes)
    if isinstance(condensed.images, Selection):
        split, index = data.train, condensed.images.indices
    else:
        split, index = TensorSplit(condensed.images, owners), torch.arange(len(owners))

    def side(split: Split, index: Tensor, labels: Tensor, weights: Tensor) -> Side:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(labels), generator=generator)
        drawn = labels[order]
        picked = torch.cat([order[drawn == k][:images] for k in range(classes)])
        masses, labels = weights[picked].double(), labels[picked]
        whole = masses.new_zeros(classes).index_add_(0, labels, masses)  # [K]
        if not bool((whole > 0).all()):
            missing = int((whole <= 0).nonzero()[0])
            raise Unsupported(f"no image of class {missing} on one of the two sides")
        return Side(split, index[picked], labels, masses / whole[labels] / classes)

    test = data.test.labels
    weights = torch.ones(len(owners)) if condensed.weights is None else condensed.weights
    real = side(data.test, torch.arange(len(test)), test, torch.ones(len(test)))
    return real, side(split, index, owners, weights)


def looked_at(
    split: Split, index: Tensor, labels: Tensor, model: nn.Module, size: int = BATCH
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images [B, C, H, W] and labels [B], on the device of a network."""
    import torch

    from bench.training.loading import batches

    device = next((weights.device for weights in model.parameters()), "cpu")
    for images, some in zip(batches(split, index, size), torch.split(labels, size), strict=True):
        yield images.to(device), some.to(device)


def worst_loss(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, steps: int
) -> Tensor:
    """The largest cross-entropy [B] (float64) met by gradient ascent within `eps` of each image.

    Projected gradient ascent in the L2 ball, from the image itself, in steps of 2.5 eps / `steps`
    (Madry et al., 2018), pixels staying in [0, 1]; in eval mode.
    """
    import torch
    from torch.nn import functional as F

    from bench.training.networks import evaluating

    def long(vectors: Tensor, length: float) -> Tensor:
        """Of that length each, or 0."""
        flat = vectors.flatten(1)
        flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
        return (length * F.normalize(flat)).view_as(vectors)

    x, worst = images.detach(), labels.new_zeros(len(labels), dtype=torch.float64)
    with evaluating(model), torch.enable_grad():
        for step in range(steps + 1):
            x = x.detach().requires_grad_()
            losses = F.cross_entropy(model(x).double(), labels, reduction="none")
            if not losses.requires_grad:
                raise Unsupported("the network keeps no graph to its input")
            worst = worst.maximum(losses.detach())
            if step < steps:
                (slope,) = torch.autograd.grad(losses.sum(), x)
                moved = (x.detach() + long(slope, 2.5 * eps / steps) - images).flatten(1)
                shrink = eps / moved.norm(dim=1, keepdim=True).clamp_min(eps)
                x = (images + (moved * shrink).view_as(images)).clamp(0, 1)
    return worst
