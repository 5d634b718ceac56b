"""Images recovered from a frozen network: the optimisation that SRe2L, CDA and WMDD share.

This module imports torch: components import it inside their verbs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from bench import BenchError, Task, digest
from bench.training import networks
from bench_inversion import views
from bench_inversion.settings import Recovery
from bench_inversion.statistics import Moments, Statistics, distance, recording

State = Callable[[], Mapping[str, Tensor]]

BETAS = (0.5, 0.9)  # of Adam
CHECK_EVERY = 50  # steps between looks at the loss: each one waits for the device


def recover(
    task: Task,
    statistics: Statistics,
    how: Recovery,
    *,
    features: Tensor | None = None,
    weights: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """`task.ipc` images of each class, uint8 [N, C, H, W], class after class (N = K x ipc).

    Noise, or the real images at `start`, optimised by Adam with a cosine schedule. In each step
    one random view (resized crop, mirror image where `task.flip` and `how.mirror`, shift) of a
    whole batch goes through the frozen teacher; the loss is that of `Recovery`. As published,
    what is optimised is z in pixels = mean + std z; noise begins as N(0, 1), z is clamped to the
    range of pixels after each step, and `how.lr` is in its units. The last iterate is kept, in
    eight bits, as published sets are.

    statistics  of all images, which a batch as a whole matches; or of each class, which the
                images of the class match together (so a batch must hold whole classes)
    features    [N, d], what each image's features aim at; None: no feature loss
    weights     [N], how much an image counts in the statistics; None: all alike
    start       [N], the training images that it starts from; None: noise. With no iterations they
                come back as they are, in eight bits

    Batches of one image a class are small where classes are few. As many as fit into `how.batch`
    then go through the teacher together, each with its own views and its own loss, which changes
    nothing but the time: Adam treats every pixel on its own.

    The initial noise of image j of a class depends on the seed, the class and j; the views on the
    seed, the step and (in batches of one image a class) j. So images depend on `how.batch` only
    through losses that look at a batch as a whole: statistics of all images, and the feature loss
    "norm", whose weight beside statistics of classes grows with the square root of the classes in
    a batch. With statistics of each class and "squared" it shows in the rounding alone.

    Raises Unsupported for a teacher without BatchNorm, BenchError for a loss that is not finite.
    """
    _check_batches(statistics, how)
    device, count, ipc = task.device, len(task.classes), task.ipc
    network, statistics = _frozen(task.teacher, device), statistics.to(device)
    weights = torch.ones(count * ipc) if weights is None else weights.float()
    images = torch.empty(count * ipc, *task.shape, dtype=torch.uint8)
    passes, kept = _passes(count, ipc, how), task.checkpoint.load()
    first = int(kept["pass"]) if kept else 0
    images = kept.get("images", images)  # those of earlier passes
    with recording(network) as moments:
        for number, rows in enumerate(passes[first:], first):
            images[rows.flatten()] = _optimised(
                network,
                moments,
                _batches(task, how, rows, statistics, features, weights, start),
                how,
                task,
                kept=kept if number == first else {},
                keep=partial(_keep, task, number, images),
                before=number * how.iterations,
                total=len(passes) * how.iterations,
            )
    return images


def _check_batches(statistics: Statistics, how: Recovery) -> None:
    if statistics.mean.ndim == 2 and not how.whole:
        raise BenchError(
            "statistics of each class, and batches of one image a class; expected batches that "
            "hold whole classes; set whole = True"
        )


def _batches(
    task: Task,
    how: Recovery,
    rows: Tensor,
    statistics: Statistics,
    features: Tensor | None,
    weights: Tensor,
    start: Tensor | None,
) -> _Batches:
    """The start, the views and the aims of a pass; `rows` [V, B / V] are those of `_passes`."""
    device, ipc, index = task.device, task.ipc, rows.flatten()
    together = rows.view(-1, ipc) if statistics.mean.ndim == 2 else rows
    return _Batches(
        start=_start(task, index, start).to(device),
        views=views.beside([_views(task, how, int(row) % ipc) for row in rows[:, 0]]),
        labels=(index // ipc).to(device),
        statistics=statistics.of((together[:, 0] // ipc).to(device)),
        weights=weights[together].to(device),
        features=None if features is None else features[index].float().to(device),
    )


@dataclass(frozen=True, eq=False)
class _Batches:
    """What goes through the teacher together: V batches, B images in all, and their aims."""

    start: Tensor  # [B, C, H, W], as z
    views: views.Views  # [iterations, V]
    labels: Tensor  # [B]
    statistics: Statistics  # [ch], or [G, ch] of classes
    weights: Tensor  # [G, m], G x m = B: images that match statistics together
    features: Tensor | None  # [B, d]


def _optimised(
    network: nn.Module,
    moments: Callable[[], Moments],
    aim: _Batches,
    how: Recovery,
    task: Task,
    *,
    kept: Mapping[str, Tensor],
    keep: Callable[[State], None],
    before: int,
    total: int,
) -> Tensor:
    """The images of a pass, uint8 [B, C, H, W]; `before` of `total` steps have been done.

    It goes on from what a checkpoint has `kept` of it, if anything.
    """
    z = aim.start.requires_grad_()
    mean, std = (z.new_tensor(v).view(-1, 1, 1) for v in (task.mean, task.std))
    adam = torch.optim.Adam([z], how.lr, BETAS, fused=True)
    for step in range(_resume(kept, z, adam), how.iterations):
        adam.param_groups[0]["lr"] = how.lr * (1 + math.cos(math.pi * step / how.iterations)) / 2
        seen = aim.views.step(step)
        found, logits = networks.features(network, mean + std * seen.of(z))
        # by the logits passes are counted, so they take part whatever their weight
        loss = how.cross_entropy * F.cross_entropy(logits, aim.labels)
        loss = loss + how.lam * distance(moments(), aim.statistics, aim.weights, first=how.first_bn)
        if aim.features is not None:
            loss = loss + how.features * _gap(found - aim.features, how.feature_loss)
        (z.grad,) = torch.autograd.grad(loss, z)
        adam.step()
        with torch.no_grad():
            z.clamp_(-mean / std, (1 - mean) / std)
        done = step + 1
        if done % CHECK_EVERY == 0 or done == how.iterations:
            _check_finite(loss, done, how)
            task.progress(before + done, total)
        keep(lambda done=done: _state(done, z, adam))  # type: ignore[misc]
    pixels = (mean + std * z.detach()).clamp(0, 1)
    return (pixels * 255).round().to(torch.uint8).cpu()


def _keep(task: Task, number: int, images: Tensor, state: State) -> None:
    """Keep how far pass `number` is, beside the images of those before it."""
    place = {"pass": torch.tensor(number), "images": images}
    task.checkpoint.save(lambda: {**place, **state()})


def _state(done: int, z: Tensor, adam: torch.optim.Adam) -> dict[str, Tensor]:
    return {"done": torch.tensor(done), "z": z.detach(), **adam.state[z]}


def _resume(kept: Mapping[str, Tensor], z: Tensor, adam: torch.optim.Adam) -> int:
    """Go back to what is kept of a pass; the steps that were done then."""
    if not kept:
        return 0
    with torch.no_grad():
        z.copy_(kept["z"])
    moments = {name: kept[name] for name in ("step", "exp_avg", "exp_avg_sq")}
    adam.load_state_dict(adam.state_dict() | {"state": {0: moments}})
    return int(kept["done"])


def _gap(apart: Tensor, loss: str) -> Tensor:
    """How far features [B, d] are from their targets: "norm" of the batch, or "squared" of each."""
    if loss == "norm":
        norm: Tensor = torch.linalg.vector_norm(apart)
        return norm
    return apart.square().sum(1).mean()


def _passes(classes: int, ipc: int, how: Recovery) -> list[Tensor]:
    """Rows [V, B / V] of each pass, V batches; row i is of class i // ipc.

    Batches are about equal: in the rest of 101 classes by 100, one image would have to match the
    statistics of all.
    """
    rows = torch.arange(classes * ipc).view(classes, ipc)
    at_once = max(1, how.batch // ipc) if how.whole else how.batch
    parts = torch.tensor_split(rows, math.ceil(classes / at_once))
    if how.whole:
        return [part.reshape(1, -1) for part in parts]
    return [
        together
        for part in parts
        for together in torch.split(part.T, max(1, how.batch // len(part)))  # [V, B / V]
    ]


def _views(task: Task, how: Recovery, number: int) -> views.Views:
    """The views of each step. With a curriculum, whole images come first (Yin and Shen, 2023)."""
    smallest, largest = how.scale
    part = max(1.0, how.curriculum * how.iterations)
    step = torch.arange(how.iterations, dtype=torch.float64).clamp_max(part)
    fall = (1 + (math.pi * step / part).cos()) / 2 if how.curriculum else 0 * step
    generator = _generator(task.seed, "views", number)
    flip = task.flip and how.mirror
    return views.draw(smallest + (largest - smallest) * fall, largest, how.roll, flip, generator)


def _frozen(network: nn.Module, device: str) -> nn.Module:
    """A copy in eval mode that takes no gradients; hooks that count passes come along.

    On a CPU networks with BatchNorm are faster with channels last.
    """
    made = copy.deepcopy(network).to(device).eval().requires_grad_(False)
    if torch.device(device).type == "cpu":
        made = made.to(memory_format=torch.channels_last)
    return made


def _start(task: Task, rows: Tensor, start: Tensor | None) -> Tensor:
    """What `rows` [B] start from, as z [B, C, H, W]."""
    if start is None:
        return torch.stack([_noise(task, int(row)) for row in rows])
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (task.mean, task.std))
    return (task.train.images(start[rows]) - mean) / std


def _noise(task: Task, row: int) -> Tensor:
    generator = _generator(task.seed, "noise", *divmod(row, task.ipc))
    return torch.randn(task.shape, generator=generator)


def _generator(seed: int, purpose: str, *which: int) -> Generator:
    return Generator().manual_seed(int(digest([seed, purpose, *which]), 16) >> 1)


def _check_finite(loss: Tensor, done: int, how: Recovery) -> None:
    if not loss.isfinite():
        raise BenchError(
            f"recovery diverged: the loss is {loss.item():g} by step {done} of {how.iterations} "
            f"(lam {how.lam:g}, lr {how.lr:g}); expected finite losses; lower lam or lr"
        )
