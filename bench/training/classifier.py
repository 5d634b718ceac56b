"""The student trainer: one loop for every architecture, regime and kind of split.

What is random is drawn from generators of its own (order, crops to load, augmentation), each
seeded by `seed` alone, so that two runs with the same seed, recipe and number of images see the
same batches and the same views, whatever the images, the labels and the regime (law 6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract.data import Split, crop_and_resize
from bench.contract.errors import BenchError
from bench.contract.kinds import REGIMES
from bench.contract.task import NOT_KEPT, Checkpoint
from bench.training import augment
from bench.training.average import Average
from bench.training.loading import loaded
from bench.training.loop import Progress, Training, descend, generator_of
from bench.training.networks import evaluating, units_of
from bench.training.recipe import DEFAULT_STEPS, Recipe

Hook = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Of a network, images [B, C, H, W] and their labels [B, K]."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What a student is trained on: the images of `split` at `index`, row by row with the rest.

    index    [N] int64
    labels   [N] int64, or [N, K] float32, each row a distribution over the classes
    weights  [N] float32, positive, or None for equal weights
    """

    split: Split
    index: Tensor
    labels: Tensor
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)


def fit(
    network: nn.Module,
    examples: Examples,
    recipe: Recipe,
    *,
    classes: int,
    seed: int,
    regime: str = "hard",
    teacher: nn.Module | None = None,
    flip: bool = False,
    penalty: Hook | None = None,
    attack: Hook | None = None,
    loss: Hook | None = None,
    device: str = "cpu",
    checkpoint: Checkpoint = NOT_KEPT,
    progress: Progress | None = None,
) -> nn.Module:
    """Train `network` in place, from the weights that it has; it comes back in eval mode.

    The regimes: "hard" is cross-entropy with the arg max of each label; "soft" with the label as
    it is; "teacher" has `teacher` label every augmented view, and the loss is T^2 KL(teacher at
    T || student at T), T the recipe's temperature (Hinton et al., 2015), or the mean squared
    distance of logits (`recipe.distillation`); `recipe.cross_entropy` adds that with the label.
    CutMix and MixUp mix labels as they mix images. Weights multiply the losses, and are divided by
    their mean over the whole set. `flip` says whether a mirror image keeps its label. With
    `recipe.ema` the network ends with the average of its weights and running statistics. The
    global random state is left as it was found.

    `attack(network, images, labels)` gives the images that a step trains on in place of its views,
    and `penalty(network, images, labels)` a scalar that is added to the loss. The labels are those
    of the examples (for "hard", the classes), mixed as the images are. Both hooks meet the network
    in eval mode, so that they neither move running statistics nor draw dropout.
    `loss(network, images, labels)` is the whole loss of a batch, in place of that of the regime
    and of a penalty: for a loss that shares a pass with its penalty. It meets the network in train
    mode.

    With a `checkpoint` (that of a task) a training which was killed goes on where it was; hooks
    draw from torch's global generator, or it would not.

    Raises BenchError for an unknown regime, a missing teacher, rows that do not match, and a loss
    or a weight that is not finite.
    """
    _check(examples, classes, regime, teacher)
    teacher = teacher.to(device) if teacher and regime == "teacher" else None
    generator = generator_of(seed, "augment")
    network.to(device).to(memory_format=_layout(recipe)).train()
    training = _training(network, recipe, _steps(recipe, len(examples)), device, generator)
    targets, weights = (part.to(device) for part in _targets(examples, regime))
    order, boxes = _order(len(examples), recipe, training.total, seed), _boxes(recipe, seed)
    loss_of = _Loss(
        network, recipe, targets, weights, classes, flip, generator, teacher, penalty, attack, loss
    )
    batches = partial(loaded, examples.split, examples.index, order, device, boxes)
    with evaluating(teacher) if teacher else nullcontext():
        descend(training, batches, loss_of, seed=seed, checkpoint=checkpoint, progress=progress)
    if training.average:
        training.average.copy_to([*training.parameters, *training.buffers])
    return network.to(memory_format=torch.contiguous_format).eval()


def _training(
    network: nn.Module, recipe: Recipe, total: int, device: str, generator: torch.Generator
) -> Training:
    """A training of `total` steps, with an average of the network where the recipe has one."""
    training = Training(network, recipe, total, device, {"augment": generator})
    if not recipe.ema:
        return training
    buffers = tuple(buffer for buffer in network.buffers() if buffer.is_floating_point())
    average = Average([*training.parameters, *buffers], recipe.ema)
    return replace(training, average=average, buffers=buffers)


@dataclass(frozen=True, eq=False)
class _Loss:
    """The loss of a batch, as `fit` describes it. It draws the views of the images."""

    network: nn.Module
    recipe: Recipe
    targets: Tensor  # classes [N] or distributions [N, K]
    weights: Tensor  # [N], of mean 1
    classes: int
    flip: bool
    generator: torch.Generator
    teacher: nn.Module | None
    penalty: Hook | None
    attack: Hook | None
    loss: Hook | None

    def __call__(self, rows: Tensor, images: Tensor) -> Tensor:
        images, permutation, lam = _view(
            images, self.recipe, self.flip, self.generator, units_of(self.network)
        )
        images = images.contiguous(memory_format=_layout(self.recipe))
        rows = rows.to(images.device)
        partner = rows if permutation is None else rows[permutation.to(images.device)]
        one, other = (_distributions(self.targets[i], self.classes) for i in (rows, partner))
        mixed = lam * one + (1 - lam) * other  # [B, K]
        if self.attack:
            with evaluating(self.network):
                images = self.attack(self.network, images, mixed).detach()
            images = images.contiguous(memory_format=_layout(self.recipe))

        if self.loss:
            return self.loss(self.network, images, mixed)

        logits, labels = self._logits(images)
        one, other = one * self.weights[rows, None], other * self.weights[partner, None]
        weighted = lam * one + (1 - lam) * other
        if labels is not None:
            weight = lam * self.weights[rows] + (1 - lam) * self.weights[partner]
            loss = (weight * self._taught(logits, labels)).mean()
            if self.recipe.cross_entropy:
                loss = loss + self.recipe.cross_entropy * self._told(logits, weighted)
        else:
            loss = self._told(logits, weighted)
        if self.penalty:
            with evaluating(self.network):
                loss = loss + self.penalty(self.network, images, mixed)
        return loss

    def _taught(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """How far the student [B, K] is from the teacher [B, K]: [B]."""
        if self.recipe.distillation == "mse":
            return (logits - teacher).square().mean(1)
        return distillation(logits, teacher, self.recipe.temperature)

    def _told(self, logits: Tensor, weighted: Tensor) -> Tensor:
        """The mean cross-entropy with weighted labels [B, K], smoothed."""
        if share := self.recipe.smoothing:
            weighted = (1 - share) * weighted + share * weighted.mean(1, keepdim=True)
        return cross_entropy(logits, weighted).mean()

    def _logits(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of the student, and of the teacher if it labels the views."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            logits = self.network(images).float()
            if not self.teacher:
                return logits, None
            with torch.no_grad():
                return logits, self.teacher(images).float()


def _layout(recipe: Recipe) -> torch.memory_format:
    return torch.channels_last if recipe.channels_last else torch.contiguous_format


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy [B] of logits [B, K] with targets [B, K].

    It is linear in the targets, so that labels can be mixed and weighted before it.
    """
    return -(targets * logits.log_softmax(1)).sum(1)


def distillation(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) [B], both softened by T (Hinton et al., 2015); logits [B, K]."""
    log_p = (teacher / temperature).log_softmax(1)
    log_q = (logits / temperature).log_softmax(1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(1)


def _check(examples: Examples, classes: int, regime: str, teacher: nn.Module | None) -> None:
    if regime not in REGIMES:
        raise BenchError(f"unknown regime {regime!r}; expected one of {', '.join(REGIMES)}")
    if regime == "teacher" and teacher is None:
        raise BenchError(
            "regime 'teacher' without a teacher; expected a network that labels the views; "
            "pass one, or train on 'hard' or 'soft' labels"
        )
    count, labels, weights = len(examples), examples.labels, examples.weights
    if not count:
        raise BenchError("there are no examples; expected one image or more to train on")
    if labels.shape not in ((count,), (count, classes)):
        raise BenchError(
            f"labels have shape {list(labels.shape)}; "
            f"expected [{count}] classes or [{count}, {classes}] distributions"
        )
    if weights is not None and (weights.shape != (count,) or not bool((weights > 0).all())):
        raise BenchError(
            f"weights have shape {list(weights.shape)}, the smallest is {weights.min():g}; "
            f"expected [{count}] positive numbers, or None"
        )


def _targets(examples: Examples, regime: str) -> tuple[Tensor, Tensor]:
    """Classes [N] or distributions [N, K], as they come; and weights of mean 1 [N]."""
    labels = examples.labels.cpu()
    if regime == "hard" and labels.ndim == 2:
        labels = labels.argmax(1)
    weights = examples.weights
    weights = torch.ones(len(examples)) if weights is None else weights.cpu().float()
    return labels, weights / weights.mean()


def _distributions(labels: Tensor, classes: int) -> Tensor:
    return (F.one_hot(labels, classes) if labels.ndim == 1 else labels).float()


def _steps(recipe: Recipe, count: int) -> int:
    batches = len(_epoch(torch.arange(count), recipe.batch))  # of an epoch
    return recipe.epochs * batches or recipe.steps or DEFAULT_STEPS


def _epoch(order: Tensor, batch: int) -> list[Tensor]:
    """An order of rows [N], cut into batches; BatchNorm never sees a batch of one.

    A last batch of one joins the one before; a set of one image is shown twice, in two views.
    """
    if len(order) == 1:
        return [order.expand(2)]
    batches = list(torch.split(order, batch))
    if len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _order(count: int, recipe: Recipe, total: int, seed: int) -> Iterator[Tensor]:
    """`total` batches of rows, in freshly shuffled epochs."""
    generator = generator_of(seed, "order")
    done = 0
    while done < total:
        for rows in _epoch(torch.randperm(count, generator=generator), recipe.batch):
            if done < total:
                yield rows
            done += 1


def _boxes(recipe: Recipe, seed: int) -> Callable[[int], Tensor] | None:
    """What draws the crops of so many images, where the recipe asks for any.

    Of an image whose tiles come first they are cut later, from whole images (`_view`).
    """
    if not recipe.resized_crop or recipe.shuffle or recipe.formation:
        return None
    smallest, largest = recipe.resized_crop
    generator = generator_of(seed, "boxes")
    return lambda count: augment.resized_crop(count, (smallest, largest), generator)


def _view(
    images: Tensor, recipe: Recipe, flip: bool, generator: torch.Generator, units: augment.Units
) -> tuple[Tensor, Tensor | None, float]:
    """An augmented batch; and with whom each image was mixed, and how much of it was kept.

    With CutMix and MixUp both on, each batch gets one of them, with even odds.
    """
    if recipe.formation:
        images = augment.one_tile(images, recipe.formation, generator)
    if recipe.shuffle:
        images = augment.shuffle_patches(images, recipe.shuffle, generator)
    if recipe.resized_crop and (recipe.formation or recipe.shuffle):
        smallest, largest = recipe.resized_crop
        boxes = augment.resized_crop(len(images), (smallest, largest), generator)
        images = crop_and_resize(images, boxes)
    if recipe.crop:
        images = augment.shift_crop(images, recipe.crop, generator)
    if recipe.flip and flip:
        images = augment.flip(images, generator)
    if recipe.dsa:
        images = augment.dsa(images, recipe.dsa, generator, flip=flip, units=units)
    if not recipe.cutmix and not recipe.mixup:
        return images, None, 1.0
    both = recipe.cutmix and recipe.mixup
    if not recipe.mixup or (both and torch.rand(1, generator=generator) < 0.5):
        return augment.cutmix(images, recipe.cutmix, generator)
    return augment.mixup(images, recipe.mixup, generator)
