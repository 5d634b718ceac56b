"""DeepFool (Moosavi-Dezfooli et al., 2016), on batches.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BEYOND = 1e-4  # pixels that a step goes beyond a boundary, as in the authors' code


def deepfool(
    network: nn.Module, images: Tensor, labels: Tensor, *, steps: int, overshoot: float
) -> Tensor:
    """Images [B, C, H, W] that step over the nearest linearised boundary until they are wrong.

    As published, the overshoot is a share of the whole way from the image, and the network looks
    at what is overshot; the way itself is not cut off at black and white. Where [0, 1] cuts steps
    off, each leaves a part of what was missing, and it is the little beyond that crosses at last:
    without it (as in torchattacks) such an image comes ever nearer, and never falls.
    """
    way, found = torch.zeros_like(images), images.clone()
    live = torch.arange(len(images), device=images.device)
    for _ in range(steps):
        if not len(live):
            break
        right, step = _step(network, found[live], labels[live])
        live = live[right]
        way[live] += step[right]
        found[live] = (images[live] + (1 + overshoot) * way[live]).clamp(0, 1)
    return found


def _step(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which images are right [B], and the way to the nearest boundary of each, were it a plane."""
    at = images.clone().requires_grad_()
    with torch.enable_grad():
        logits = network(at)
        classes = logits.shape[1]
        others = (labels[:, None] + torch.arange(1, classes, device=labels.device)) % classes
        leads = logits.gather(1, labels[:, None]) - logits.gather(1, others)  # [B, K - 1]
        sums = leads.sum(0).unbind()
    nearest, way = torch.full_like(leads[:, 0], torch.inf), torch.zeros_like(images)
    for k, (lead, total) in enumerate(zip(leads.detach().unbind(1), sums, strict=True), 1):
        (slope,) = torch.autograd.grad(total, at, retain_graph=k < len(sums))
        size = slope.flatten(1).norm(dim=1)
        distance = lead.abs() / size  # infinite or NaN where there is no slope
        nearer = (distance < nearest).view(-1, 1, 1, 1)
        nearest = torch.where(distance < nearest, distance, nearest)
        scale = ((distance + BEYOND) / size).view(-1, 1, 1, 1)
        way = torch.where(nearer, -scale * slope, way)
    return logits.argmax(1) == labels, way
