"""Statistics at the input of every BatchNorm layer: of real images, and of images in the making.

Of each image only its moments are needed, channel by channel: the mean of its pixels and the mean
of their squares. Whatever is pooled (a batch, a class, weighted images) follows from these, so no
statistic depends on how images are split into batches. The channels of all layers stand side by
side, in the order of `network.modules()`.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench import BenchError, Split, Unsupported
from bench.training import networks
from bench.training.loading import batches

BATCH = 256  # real images looked at once

Moments = tuple[Tensor, Tensor]  # of each image: means and mean squares, [B, ch] each


@dataclass(frozen=True, eq=False)
class Statistics:
    """Means and (biased) variances at the input of BatchNorm layers, float32.

    mean, variance  [ch] of all images, or [K, ch] of each class; ch: the channels of all layers
    widths          the channels of each layer
    """

    mean: Tensor
    variance: Tensor
    widths: tuple[int, ...]

    def of(self, classes: Tensor) -> Statistics:
        """Those of some classes, by index; those of all images belong to every class."""
        if self.mean.ndim == 1:
            return self
        return Statistics(self.mean[classes], self.variance[classes], self.widths)

    def to(self, device: str) -> Statistics:
        return Statistics(self.mean.to(device), self.variance.to(device), self.widths)


def layers(network: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers of a network. Raises Unsupported where it has none."""
    found = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not found:
        raise Unsupported(
            "the teacher has no BatchNorm layer, whose statistics images are recovered from; "
            "use a backbone with BatchNorm"
        )
    return found


def running(network: nn.Module) -> Statistics:
    """What the layers have kept of their training: one mean and variance [ch] for all images.

    Raises Unsupported where a layer keeps none.
    """
    found = layers(network)
    if any(layer.running_mean is None for layer in found):
        raise Unsupported("a BatchNorm layer of the teacher keeps no running statistics")
    mean = torch.cat([layer.running_mean for layer in found])  # type: ignore[misc]
    variance = torch.cat([layer.running_var for layer in found])  # type: ignore[misc]
    return Statistics(mean.clone(), variance.clone(), _widths(found))


def of_classes(
    network: nn.Module, split: Split, classes: int, *, device: str = "cpu"
) -> Statistics:
    """The exact statistics [K, ch] of each class of a split, pooled over all of its images.

    Raises BenchError for a class without images.
    """
    members = [(split.labels == k).nonzero().squeeze(1) for k in range(classes)]
    return stacked([survey(network, split, index, device=device)[0] for index in members])


def survey(
    network: nn.Module, split: Split, index: Tensor, *, device: str = "cpu", batch: int = BATCH
) -> tuple[Statistics, Tensor]:
    """One pass over the images at `index` [n]: their pooled statistics [ch], and features [n, d].

    In eval mode, and as they stand in the split; results are on the CPU. Only features and sums
    (float64) are held, so `batch` shows in the rounding at most. Raises BenchError where there is
    no image.
    """
    if not len(index):
        raise BenchError(
            "a class has no training images; expected one or more of each; drop the class"
        )
    sums: list[Any] = [0.0, 0.0]
    features = []
    with (
        networks.evaluating(network),
        torch.no_grad(),
        recording(network) as moments,
        closing(batches(split, index, batch)) as read,
    ):
        for images in read:
            features.append(networks.features(network, images.to(device))[0].float().cpu())
            sums = [s + m.double().sum(0) for s, m in zip(sums, moments(), strict=True)]
    mean, square = (s.cpu() / len(index) for s in sums)
    pooled = Statistics(
        mean.float(), (square - mean.square()).clamp_min(0).float(), _widths(layers(network))
    )
    return pooled, torch.cat(features)


def stacked(statistics: Sequence[Statistics]) -> Statistics:
    """Those of single classes [ch] as those of each class [K, ch]."""
    return Statistics(
        torch.stack([s.mean for s in statistics]),
        torch.stack([s.variance for s in statistics]),
        statistics[0].widths,
    )


@contextmanager
def recording(network: nn.Module) -> Iterator[Callable[[], Moments]]:
    """Inside the block: a function that gives the moments of the images of the last pass.

    Gradients flow through them. The function raises BenchError unless the pass has called every
    layer once.
    """
    watched = layers(network)
    seen: list[tuple[nn.Module, Moments]] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]  # [B, ch, ...]
        pixels = x[0, 0].numel()
        total, squares = _Sums.apply(x)
        seen.append((layer, (total / pixels, squares / pixels)))

    def moments() -> Moments:
        found = dict(seen)
        once = len(found) == len(seen) == len(watched)
        seen.clear()
        if not once:
            raise BenchError(
                "a BatchNorm layer of the teacher was called twice in one pass, or not at all; "
                "expected once each; use another backbone"
            )
        means, squares = zip(*(found[layer] for layer in watched), strict=True)
        return torch.cat(means, 1), torch.cat(squares, 1)

    handles = [layer.register_forward_pre_hook(keep) for layer in watched]
    try:
        yield moments
    finally:
        for handle in handles:
            handle.remove()


def distance(
    moments: Moments, statistics: Statistics, weights: Tensor, *, first: float = 1.0
) -> Tensor:
    """How far groups of images are from statistics, a scalar.

    The sum over layers of ||mean - mean'|| + ||variance - variance'|| (Euclidean norms over
    channels, not squared), averaged over groups; `first` multiplies the first layer. Row g of
    `weights` [G, m] says how much each of the next m images counts in its group; it is divided by
    its sum. Groups are classes with statistics [G, ch], or one with statistics [ch]. Where both
    sides agree the gradient is 0.
    """
    share = weights / weights.sum(1, keepdim=True)
    mean, square = (
        torch.einsum("gm,gmc->gc", share, m.view(*share.shape, m.shape[1])) for m in moments
    )
    gaps = torch.stack(
        [mean - statistics.mean, square - mean.square() - statistics.variance]
    )  # [2, G, ch]
    norms = torch.stack(
        [
            torch.linalg.vector_norm(gap, dim=2)
            for gap in torch.split(gaps, list(statistics.widths), 2)
        ]
    )  # [L, 2, G]
    by_layer = norms.sum(1).mean(1)
    return by_layer.sum() + (first - 1) * by_layer[0]


def _widths(found: Sequence[_BatchNorm]) -> tuple[int, ...]:
    return tuple(layer.num_features for layer in found)


class _Sums(torch.autograd.Function):
    """Sums and sums of squares of each image and channel: [B, ch, ...] to [B, ch] twice.

    torch's own `var_mean` takes ten times as long on a CPU, and its gradient walks over the
    activations several times, which is where the time of a pass goes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x)
        if x.is_contiguous():
            rows = x.reshape(*x.shape[:2], -1)
            return rows.sum(2), torch.linalg.vector_norm(rows, dim=2).square()
        pixels = x.movedim(1, -1).reshape(len(x), -1, x.shape[1])  # [B, P, ch], a view
        ones = x.new_ones(1, 1, pixels.shape[1]).expand(len(x), -1, -1)
        return (ones @ pixels).squeeze(1), (ones @ pixels.square()).squeeze(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        total, squares = (g.view(*g.shape, *(1,) * (x.ndim - 2)) for g in gradients)
        return torch.addcmul(total, x, 2 * squares)
