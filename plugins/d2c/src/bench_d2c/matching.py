"""Losses of denoisers in their weights and in a pool: what a pool is trained on and held against.

All draws are frozen in a `Bank`, so that each loss here is a function of weights and pool alone.
This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from bench import Unsupported
from bench.training.diffusion import Denoiser, Schedule, losses
from bench_d2c.attach import EMBEDDING, TEXT
from bench_d2c.hypergradient import Loss, Pool, Weights, leaves, ridge
from bench_matching.distances import distance, gradients, mean_distance

Head = Callable[[Weights, Pool], Weights]


def at(denoiser: Denoiser, weights: Weights, *, bf16: bool = False) -> Any:
    """The denoiser with other weights, as `bench.training.diffusion.losses` takes one."""
    return _At(denoiser, weights, denoiser.schedule, bf16)


@dataclass(frozen=True, eq=False)
class _At:
    denoiser: Denoiser
    weights: Weights
    schedule: Schedule
    bf16: bool

    def __call__(self, *inputs: Any) -> Any:
        x = inputs[0]
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            said = functional_call(self.denoiser, dict(self.weights), inputs)
        return said.to(x)


def told(pool: Pool, items: Tensor | None = None) -> dict[str, Tensor]:
    """What a denoiser is told beside the label by a pool: images; or images and texts of the
    classes; or these and an embedding of each image, of which those of `items` are given, or all.
    """
    parts = dict(zip((TEXT, EMBEDDING), pool[1:], strict=False))
    if items is not None and EMBEDDING in parts:
        parts[EMBEDDING] = parts[EMBEDDING][items]
    return parts


@dataclass(frozen=True, eq=False)
class Bank:
    """Draws that stay: which items are shown, when, and with which noise."""

    items: Tensor  # int64 [B]
    time: Tensor  # int64 [B]
    noise: Tensor  # [B, *shape]

    @classmethod
    def drawn(
        cls,
        items: Tensor,
        times: Tensor,
        like: Tensor,
        generator: Generator,
        *,
        stratified: bool = False,
    ) -> Bank:
        """Each of `items` [B] at one of `times`, twice: with its noise, and with the opposite.

        Antithetic pairs: what is odd in the noise drops out of a mean. Noise is like x [N, *shape].
        `stratified`: at each time as many, or one more.
        """
        if stratified:
            turns = torch.randperm(len(items), generator=generator) % len(times)
        else:
            turns = torch.randint(len(times), (len(items),), generator=generator)
        time = times[turns]
        noise = torch.randn(len(items), *like.shape[1:], generator=generator).to(like)
        place = like.device
        both = (items.repeat(2).to(place), time.repeat(2).to(place), torch.cat([noise, -noise]))
        return cls(*both)


def denoising(
    denoiser: Denoiser,
    labels: Tensor,
    bank: Bank,
    real: Tensor | None = None,
    *,
    bf16: bool = False,
) -> Loss:
    """The mean denoising loss on a bank, of the pool or of `real` images, with labels [N].

    Real images have the texts of the pool's classes, as samples do.
    """

    def loss(weights: Weights, pool: Pool) -> Tensor:
        x, extras = (pool[0], told(pool, bank.items)) if real is None else (real, told(pool[:2]))
        shown = (x[bank.items], labels[bank.items], bank.time, bank.noise)
        return losses(at(denoiser, weights, bf16=bf16), *shown, extras).mean()

    return loss


@dataclass(frozen=True, eq=False)
class Pair:
    """One class at one point in time: real images, images of the pool, and the noise of both."""

    label: int
    real: Tensor  # x [R, *shape]
    bank: Bank  # of the pool, B draws

    @property
    def shared(self) -> tuple[Tensor, Tensor]:
        """Times [R] and noise [R, *shape] of the real images: those of the pool, in turns."""
        turns = torch.arange(len(self.real), device=self.real.device) % len(self.bank.time)
        return self.bank.time[turns], self.bank.noise[turns]


def matched(
    denoiser: Denoiser,
    pair: Pair,
    layer: nn.Module | None,
    *,
    kind: str,
    distribution: float,
    extras: Mapping[str, Tensor],
    total: bool,
    bf16: bool = False,
) -> Loss:
    """How far the pool's gradient is from that of real images, and so for their mean features.

    Features are what enters `layer`, the last; their distance, a mean of squares, counts
    `distribution` times. Real images are seen with `extras`, which stay: with the texts of the
    pool, a text that makes the denoiser wrong on both sides alike would bring the gradients
    together, and teach nothing. With `total` both sides can be differentiated in the weights, too.
    """
    bank = pair.bank

    def loss(weights: Weights, pool: Pool) -> Tensor:
        def seen(
            x: Tensor,
            time: Tensor,
            noise: Tensor,
            extras: Mapping[str, Tensor],
            differentiable: bool,
        ) -> tuple[tuple[Tensor, ...], Tensor]:
            labels = torch.full((len(x),), pair.label, device=x.device)
            with entering(layer) as inputs:
                error = losses(at(denoiser, weights, bf16=bf16), x, labels, time, noise, extras)
            found = gradients(error.mean(), weights.values(), differentiable=differentiable)
            return found, inputs[0].flatten(1) if inputs else x.flatten(1)

        aim, wanted = seen(pair.real, *pair.shared, extras, total)
        wanted = wanted if total else wanted.detach()  # its graph is gone
        x, extras_of_pool = pool[0][bank.items], told(pool, bank.items)
        found, means = seen(x, bank.time, bank.noise, extras_of_pool, True)
        far = gradient_distance(found, aim, kind)
        if distribution:
            far = far + distribution * mean_distance(means, wanted) / means.shape[1]
        return far

    return loss


def gradient_distance(found: Sequence[Tensor], aim: Sequence[Tensor], kind: str) -> Tensor:
    """The distance of two gradients, free of their scale; "layerwise" as a mean over output rows.

    `bench_matching` adds a constant to products of norms that a denoiser's gradients are as small
    as; so both are multiplied by one factor, by which rows of `aim` get a length of about one.
    """
    rows = sum(len(part) for part in aim if part.ndim > 1) if kind == "layerwise" else 1
    length = torch.cat([part.flatten() for part in aim]).square().sum().clamp_min(1e-30).sqrt()
    factor = rows**0.5 / length
    return distance([factor * a for a in found], [factor * b for b in aim], kind) / rows


@contextmanager
def entering(layer: nn.Module | None) -> Iterator[list[Tensor]]:
    """What enters `layer` inside the block, call by call."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any) -> None:
        seen.append(inputs[0])

    handle = layer.register_forward_pre_hook(keep) if layer else None
    try:
        yield seen
    finally:
        if handle:
            handle.remove()


def last_layer(
    denoiser: Denoiser, like: Tensor, extras: Mapping[str, Tensor]
) -> nn.Linear | nn.Conv2d | None:
    """The linear map or convolution through which the prediction leaves; None without one."""
    ran: list[Any] = []
    layers = [m for m in denoiser.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    handles = [m.register_forward_hook(lambda m, inputs, output: ran.append(m)) for m in layers]
    try:
        with torch.no_grad():
            zero = torch.zeros(1, dtype=torch.int64, device=like.device)
            denoiser(like[:1], denoiser.schedule.fraction(zero).to(like), zero, extras)
    finally:
        for handle in handles:
            handle.remove()
    return ran[-1] if ran else None


def head(denoiser: Denoiser, layer: nn.Linear, labels: Tensor, bank: Bank, penalty: float) -> Head:
    """(weights, pool) -> those of the last linear layer that fit the pool's bank best (ridge).

    Raises Unsupported where the prediction is not what leaves the layer, in another order.
    """
    names = {id(module): name for name, module in denoiser.named_modules()}
    weight, bias = (f"{names[id(layer)]}.{part}" for part in ("weight", "bias"))

    def fitted(weights: Weights, pool: Pool) -> Weights:
        left: list[Tensor] = []
        handle = layer.register_forward_hook(lambda m, inputs, output: left.append(output))
        x, schedule = pool[0][bank.items], denoiser.schedule
        try:
            with entering(layer) as seen:
                said = at(denoiser, leaves(weights))(
                    schedule.noised(x, bank.noise, bank.time),
                    schedule.fraction(bank.time),
                    labels[bank.items],
                    told(pool, bank.items),
                )
        finally:
            handle.remove()

        def ordered(image: Tensor) -> Tensor:
            """As the layer gives it: the transpose of an order is its inverse."""
            (found,) = torch.autograd.grad(said, left[0], image, create_graph=True)
            return found.flatten(0, -2)

        if said.numel() != left[0].numel() or not torch.equal(
            ordered(said.detach()), left[0].detach().flatten(0, -2)
        ):
            raise Unsupported(
                "hypergrad = 'head' needs a denoiser whose last linear layer gives the prediction"
            )
        features = seen[0].flatten(0, -2)  # [n, p]
        targets = ordered(schedule.target(x, bank.noise, bank.time))
        start = weights[weight].T
        if bias in weights:
            features = torch.cat([features, torch.ones_like(features[:, :1])], 1)
            start = torch.cat([start, weights[bias][None]])
        solution = ridge(features, targets, start, penalty)
        new = {weight: solution[: weights[weight].shape[1]].T}
        return new | ({bias: solution[-1]} if bias in weights else {})

    return fitted
