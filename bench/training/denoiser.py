"""The trainer of denoisers: one loop for every architecture, schedule and kind of split.

As in `bench.training.classifier`, order, times, noise and dropped labels are drawn from generators
of their own, seeded by `seed` alone: two runs with one seed and recipe see the same noise at
the same step, whatever the images (law 6). So two sets of one size are shown in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract.errors import BenchError
from bench.contract.task import NOT_KEPT, Checkpoint
from bench.training.average import Average
from bench.training.classifier import Examples
from bench.training.diffusion import Denoiser, of_classes, of_images
from bench.training.loading import loaded
from bench.training.loop import Progress, Training, descend, generator_of
from bench.training.networks import state
from bench.training.recipe import DiffusionRecipe


def fit(
    denoiser: Denoiser,
    examples: Examples,
    recipe: DiffusionRecipe,
    *,
    seed: int,
    extras: Mapping[str, Tensor] | None = None,
    flip: bool = False,
    device: str = "cpu",
    checkpoint: Checkpoint = NOT_KEPT,
    progress: Progress | None = None,
) -> dict[int, dict[str, Tensor]]:
    """Train `denoiser` in place, from the weights that it has, by the recipe's schedule.

    It comes back in eval mode with the exponential average of its weights. Returned are the
    averages at the recipe's checkpoints short of the end, by step.

    `extras` are the attachments of a set: those to classes ("class.*" [K, ...]) are told to the
    network beside the label, and dropped with it; so are those to images ("image.*" [N, ...]) of
    the same name, which add to them (see `of_images`). Other ones to images are what the
    projection loss holds the network's features against: minus their mean cosine over the second
    dimension (REPA, Yu et al., 2025). A class is the arg max of a label. `flip` says whether a
    mirror image keeps its label.

    Raises BenchError for rows that do not match, and for a loss or a weight that is not finite.
    """
    count, extras = len(examples), dict(extras or {})
    labels = examples.labels.argmax(1) if examples.labels.ndim == 2 else examples.labels
    if not count or len(labels) != count:
        raise BenchError(f"{count} examples and {len(labels)} labels; expected one label each")
    weights = torch.ones(count) if examples.weights is None else examples.weights.float()
    weights = (weights / weights.mean()).to(device)
    told = {name: tensor.to(device) for name, tensor in of_classes(extras).items()}
    of_rows, seen = of_images(extras)
    of_rows = {name: tensor.to(device) for name, tensor in of_rows.items()}
    seen = seen if recipe.projection else {}
    generator = generator_of(seed, "denoising")
    denoiser.to(device).train()
    parameters = [p for p in denoiser.parameters() if p.requires_grad]
    average = Average(parameters, recipe.ema)
    training = Training(denoiser, recipe, recipe.steps, device, {"denoising": generator}, average)
    order = _rows(count, recipe, seed)
    loss_of = _Loss(
        denoiser, recipe, labels.to(device), weights, told, of_rows, seen, flip, generator
    )

    def keep(done: int) -> None:
        if done in recipe.checkpoints and done < recipe.steps:
            training.snapshots[done] = _averaged(denoiser, average, parameters)

    batches = partial(loaded, examples.split, examples.index, order, device, None)
    descend(
        training, batches, loss_of, seed=seed, after=keep, checkpoint=checkpoint, progress=progress
    )
    average.copy_to(parameters)
    denoiser.eval()
    return training.snapshots


@dataclass(frozen=True, eq=False)
class _Loss:
    """The loss of a batch, as `fit` describes it. It draws times, noise and dropped labels."""

    denoiser: Denoiser
    recipe: DiffusionRecipe
    labels: Tensor  # [N] int64
    weights: Tensor  # [N], of mean 1
    told: Mapping[str, Tensor]  # of classes [K, ...]
    of_rows: Mapping[str, Tensor]  # of images [N, ...], to be told beside those of their classes
    seen: Mapping[str, Tensor]  # of images [N, ...]
    flip: bool
    generator: torch.Generator

    def __call__(self, rows: Tensor, images: Tensor) -> Tensor:
        denoiser, recipe, generator = self.denoiser, self.recipe, self.generator
        device, count = images.device, len(rows)
        mirrored = torch.rand(count, generator=generator) < 0.5
        mirrored &= recipe.flip and self.flip
        with torch.no_grad():
            x = denoiser.encode(_flipped(images, mirrored))  # [B, *shape]
        time = torch.randint(recipe.timesteps, (count,), generator=generator).to(device)
        noise = torch.randn(x.shape, generator=generator).to(device)
        dropped = torch.rand(count, generator=generator) < recipe.dropout
        here = rows.to(device)
        asked = self.labels[here].masked_fill(dropped.to(device), denoiser.classes)
        told = {**self.told, **{name: tensor[here] for name, tensor in self.of_rows.items()}}

        schedule, projected = denoiser.schedule, {}
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            noised, t = schedule.noised(x, noise, time), schedule.fraction(time)
            said = denoiser(noised, t, asked, told, bool(self.seen))
            said, projected = said if self.seen else (said, {})
        error = (said.float() - schedule.target(x, noise, time)).square().flatten(1).mean(1)
        for name, tensor in self.seen.items():
            wanted = _flipped(tensor[rows].to(device).float(), mirrored)
            cosine = F.cosine_similarity(projected[name].float(), wanted, dim=1)
            error = error - recipe.projection * cosine.view(count, -1).mean(1)
        loss: Tensor = (self.weights[here] * error).mean()
        return loss


def _averaged(
    denoiser: Denoiser, average: Average, parameters: list[nn.Parameter]
) -> dict[str, Tensor]:
    """The state of the denoiser with its average weights, which it has for this moment only."""
    last = [p.detach().to("cpu", copy=True) for p in parameters]  # a GPU may have no room
    average.copy_to(parameters)
    found = state(denoiser)
    with torch.no_grad():
        for parameter, value in zip(parameters, last, strict=True):
            parameter.copy_(value)
    return found


def _flipped(images: Tensor, which: Tensor) -> Tensor:
    """[B, ..., W], those that are meant mirrored left to right; vectors [B, D] have no sides."""
    if images.ndim < 4 or not bool(which.any()):
        return images
    return torch.where(which.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)


def _rows(count: int, recipe: DiffusionRecipe, seed: int) -> Iterator[Tensor]:
    """Batches [B] of rows: shuffled epochs, one after the other, cut into full batches."""
    generator, waiting = generator_of(seed, "order"), torch.empty(0, dtype=torch.int64)
    for _ in range(recipe.steps):
        while len(waiting) < recipe.batch:
            waiting = torch.cat([waiting, torch.randperm(count, generator=generator)])
        yield waiting[: recipe.batch]
        waiting = waiting[recipe.batch :]
