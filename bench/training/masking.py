"""Is the slope of a network's loss what an attack takes it for?

Defences that mask gradients look robust to attacks that follow them (Athalye et al., 2018). Three
things are looked at, on images that the network has right: the slope itself (none, or no number),
whether a small step along it changes the margin by what it says, at the image and where an attack
has ended, and whether a few more steps, smoothed, fell what the attack has left. None is proof;
each is a figure of the record, and a flag on the page where no honest network that we know of
would have it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPES = 32  # images whose slopes are computed at once: the graph of a block may not fit
LOOKED_AT = 32  # right images that steps are tried on
FEWEST = 8  # of fewer images nothing is said
SMALL = 1 / 1020  # a quarter of a grey level
LONGER = 8 / 255  # what a longer step is at most
OUTLYING = 0.1  # share of the images whose ratio is passed over: more of them could mask as much
STEPS = 20  # along the margin, each an eighth of the radius; a quarter in the first half
REACH = 8
MOMENTUM = 0.75  # of the slopes, which are taken up to half a radius off: ripples average out
OFF = 0.5
LARGEST = 10.0  # a ratio of slopes beyond it says no more


@dataclass(frozen=True)
class Ball:
    """What an attack may move images [B, C, H, W] by: "linf" or "l2", in pixels of [0, 1]."""

    norm: str
    eps: float

    def per_pixel(self, images: Tensor) -> float:
        """The change of every pixel that reaches the edge of the ball."""
        return self.eps if self.norm == "linf" else self.eps / math.sqrt(images[0].numel())

    def along(self, slope: Tensor) -> Tensor:
        """The direction of a slope: of length 1 in this norm, or 0."""
        if self.norm == "linf":
            return slope.sign()
        largest = slope.flatten(1).abs().amax(1).view(-1, 1, 1, 1)
        scaled = torch.where(largest > 0, slope / largest, 0.0)  # squares of tiny ones are 0
        length = scaled.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return torch.where(length > 0, scaled / length, 0.0)

    def into(self, moved: Tensor, images: Tensor) -> Tensor:
        """`moved`, brought back into the balls around `images`, and into [0, 1]."""
        delta = moved - images
        if self.norm == "linf":
            delta = delta.clamp(-self.eps, self.eps)
        else:
            length = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            delta = torch.where(length > self.eps, delta * (self.eps / length), delta)
        return (images + delta).clamp(0, 1)


L2 = Ball("l2", 1.0)  # for the length of slopes


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """By how much the logit of the label leads, [B], float64: below 0 an image is wrong."""
    own = F.one_hot(labels, logits.shape[1]).bool()
    wide = logits.double()
    return wide[own] - wide.masked_fill(own, -torch.inf).amax(1)


def slope_of_margin(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The slope of the margins at images [B, C, H, W]; 0 where the network keeps no graph."""
    x = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        total = margin(network(x), labels).sum()
    if not total.requires_grad:
        return torch.zeros_like(images)
    (slope,) = torch.autograd.grad(total, x, allow_unused=True, materialize_grads=True)
    return slope


def flat_and_odd(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[int, int]:
    """At how many images cross-entropy has no slope in any pixel, and at how many one that is no
    number in some (in float32)."""
    flat = odd = 0
    parts = zip(torch.split(images, SLOPES), torch.split(labels, SLOPES), strict=True)
    for some, theirs in parts:
        x = some.clone().requires_grad_()
        with torch.enable_grad():
            loss = F.cross_entropy(network(x).float(), theirs, reduction="sum")
        if not loss.requires_grad:  # the network keeps no graph
            flat += len(some)
            continue
        (slope,) = torch.autograd.grad(loss, x, allow_unused=True, materialize_grads=True)
        finite = slope.isfinite().flatten(1).all(1)
        largest = slope.nan_to_num(0, 0, 0).flatten(1).abs().amax(1)
        flat += int((finite & (largest < torch.finfo(torch.float32).tiny)).sum())
        odd += int((~finite).sum())
    return flat, odd


def slope_ratio(
    network: nn.Module,
    images: Tensor,
    adversarial: Tensor,
    labels: Tensor,
    ball: Ball,
    generator: torch.Generator,
) -> float | None:
    """The change of the margin after a step along its slope, by the change that the slope predicts,
    for images [B, C, H, W] that are right: what a tenth of them are further from 1 than.

    At the images and at random points of the ball, for a quarter of a grey level and of the radius,
    and with the smaller step where an attack has ended in vain; the one that lies furthest from 1
    is given. None for too few images.
    """
    images, adversarial, labels = (t[:LOOKED_AT] for t in (images, adversarial, labels))
    if len(images) < FEWEST:
        return None
    radius = ball.per_pixel(images)
    noise = torch.rand(images.shape, generator=generator).to(images.device)
    points = (images, (images + radius * (2 * noise - 1)).clamp(0, 1))
    longer = min(radius / 4, LONGER)
    sizes = (SMALL, longer) if longer > SMALL else (SMALL,)
    found = []
    for x in points:
        small, *long = _ratios(network, x, labels, sizes)
        found += [small, *(min(1.0, ratio) for ratio in long)]  # margins are curved
    with torch.no_grad():
        stand = network(adversarial).argmax(1) == labels
    if int(stand.sum()) >= FEWEST:
        found += _ratios(network, adversarial[stand], labels[stand], (SMALL,))
    return furthest(found)


@torch.no_grad()
def _ratios(
    network: nn.Module, images: Tensor, labels: Tensor, sizes: Sequence[float]
) -> list[float]:
    """For steps of each size along the slope: see `slope_ratio`."""
    slope = slope_of_margin(network, images, labels).double()
    finite, way = slope.isfinite(), -slope.nan_to_num(0, 0, 0).sign()
    slope, before = slope.nan_to_num(0, 0, 0), margin(network(images), labels)
    found = []
    for size in sizes:
        step = size * way
        outside = (images + step < 0) | (images + step > 1)
        step = torch.where(outside | ~finite, 0.0, step)
        predicted = (slope * step).flatten(1).sum(1)
        change = margin(network((images + step).float()), labels) - before
        ratios = torch.where(predicted != 0, change / predicted, 0.0)
        ordered = ratios.nan_to_num(0, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST).sort().values
        passed = int(OUTLYING * len(ordered))
        found.append(max(float(ordered[passed]), float(ordered[-1 - passed]), key=_distance))
    return found


def furthest(ratios: Iterable[float | None]) -> float | None:
    """The ratio that lies furthest from 1; None where there is none."""
    return max((ratio for ratio in ratios if ratio is not None), key=_distance, default=None)


def _distance(ratio: float) -> float:
    """How far a ratio lies from 1, by factors."""
    return math.inf if ratio <= 0 else abs(math.log(ratio))


@torch.no_grad()
def fell_further(
    network: nn.Module,
    adversarial: Tensor,
    images: Tensor,
    labels: Tensor,
    ball: Ball,
    generator: torch.Generator,
) -> float:
    """The share of images [B, C, H, W], which are right as they come, that an attack has left right
    and some more steps along the margin fell.

    The margin has a slope wherever logits have one: it does not saturate as cross-entropy does.
    Slopes are taken at random points near by, and a momentum keeps their mean: ripples, in which a
    step along the slope is stuck, are smoothed away.
    """
    images, adversarial, labels = (t[:LOOKED_AT] for t in (images, adversarial, labels))
    if len(images) < FEWEST or not ball.eps:
        return 0.0
    rows = (network(adversarial).argmax(1) == labels).nonzero().squeeze(1)  # they still stand
    count, mean, off = len(rows), torch.zeros_like(images[rows]), OFF * ball.per_pixel(images)
    moved, of, labels = adversarial[rows], images[rows], labels[rows]
    for number in range(STEPS):
        if not len(rows):
            break
        noise = torch.rand(images.shape, generator=generator)[rows.cpu()].to(images.device)
        near = (moved + off * (2 * noise - 1)).clamp(0, 1)
        slope = slope_of_margin(network, near, labels).nan_to_num(0, 0, 0)
        mean = MOMENTUM * mean + L2.along(slope)
        reach = REACH if number >= STEPS // 2 else REACH // 2
        moved = ball.into(moved - ball.eps / reach * ball.along(mean), of)
        still = network(moved).argmax(1) == labels
        rows, moved, of, labels, mean = (t[still] for t in (rows, moved, of, labels, mean))
    return (count - len(rows)) / len(images)
