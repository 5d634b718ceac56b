"""`bench_inversion.recovery.recover` against the loops that a user would write.

The same teacher (a ConvNet of width 32 with BatchNorm), made-up data of the shape of
Fashion-MNIST, settings and number of images on both sides.

The user's loops are written after the published descriptions: a frozen network in eval mode, a
resized crop and a shift of the whole batch, means and variances by hooks at every BatchNorm
layer, Adam. "class by class" optimises one class after another; "batches of 100" as many whole
classes as the released WMDD. SRe2L's optimises one image of every class at a time. DM matches the
mean features of real and synthetic images in a fresh random network in every iteration (256 real
images a class).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.nn import functional as F

from bench import Task
from bench.contract.data import TensorSplit
from bench.training import networks
from bench_inversion.recovery import recover
from bench_inversion.settings import Recovery
from bench_inversion.statistics import running, stacked, survey
from bench_standard.architectures.convnet import ConvNet

SHAPE, CLASSES, REAL, WIDTH = (1, 28, 28), 10, 256, 32
LAM, FIRST, LR, ROLL, SCALE = 1.0, 10.0, 0.25, 4, (0.08, 1.0)


@cache
def made(ipc: int) -> World:
    return World(ipc)


class World:
    """A teacher with statistics of its own, targets for it, and real images (made up)."""

    def __init__(self, ipc: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.ipc = ipc
        labels = torch.arange(CLASSES).repeat_interleave(REAL)
        pixels = torch.rand(len(labels), *SHAPE, generator=generator)
        self.real = TensorSplit(pixels, labels)
        self.network = self.fresh(0)
        self.network.train()
        with torch.no_grad():
            self.network(pixels[::160])
        self.network.eval().requires_grad_(False)
        self.all = running(self.network)
        surveys = [
            survey(self.network, self.real, torch.arange(k, len(labels), 100))[0]
            for k in range(CLASSES)
        ]
        self.classes = stacked(surveys)
        self.features = torch.rand(CLASSES * ipc, WIDTH * 16, generator=generator)
        self.weights = 0.5 + torch.rand(CLASSES * ipc, generator=generator)

    def fresh(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        architecture = ConvNet(width=WIDTH, norm="batch")
        return networks.build(architecture, SHAPE, CLASSES, (0.5,), (0.29,))

    def task(self) -> Task:
        names = tuple(map(str, range(CLASSES)))
        return Task(
            *(self.real, names, SHAPE, (0.5,), (0.29,), False, self.ipc, 0),
            networks={"teacher": lambda: self.network},
        )


def ours_wmdd(world: World, iterations: int) -> Tensor:
    how = Recovery.of(settings(iterations), features=1.0)
    given = {"features": world.features, "weights": world.weights}
    return recover(world.task(), world.classes, how, **given)


def ours_sre2l(world: World, iterations: int) -> Tensor:
    how = Recovery.of(settings(iterations), cross_entropy=1.0, whole=False)
    return recover(world.task(), world.all, how)


def settings(iterations: int) -> Recovery:
    return Recovery(iterations=iterations, lam=LAM, first_bn=FIRST, lr=LR, roll=ROLL, scale=SCALE)


def plain_wmdd(world: World, batch: int, iterations: int) -> Tensor:
    """Whole classes, `batch` images at a time: features to targets, statistics class by class."""
    together = max(1, batch // world.ipc)
    parts = torch.arange(CLASSES).split(together)
    return torch.cat([optimise(world, iterations, ClassLoss(world, part)) for part in parts])


class ClassLoss:
    """Of images of some classes: distance to target features, and to statistics of each class."""

    def __init__(self, world: World, classes: Tensor) -> None:
        rows = (classes[:, None] * world.ipc + torch.arange(world.ipc)).flatten()
        self.count, self.target = len(rows), world.features[rows]
        weights = world.weights[rows].view(len(classes), -1)
        self.weights = (weights / weights.sum(1, keepdim=True))[:, :, None, None, None]
        self.means = world.classes.mean[classes].split(world.classes.widths, 1)
        self.variances = world.classes.variance[classes].split(world.classes.widths, 1)

    def __call__(self, seen: list[Tensor], features: Tensor, logits: Tensor) -> Tensor:
        total = torch.linalg.norm(features - self.target)
        layers = zip(seen, self.means, self.variances, strict=True)
        for layer, (x, mean, variance) in enumerate(layers):
            x = x.view(*self.weights.shape[:2], *x.shape[1:])
            m = (self.weights * x).sum(1).mean((2, 3))
            v = (self.weights * (x - m[:, None, :, None, None]).square()).sum(1).mean((2, 3))
            gap = (v - variance).norm(dim=1).mean() + (m - mean).norm(dim=1).mean()
            total = total + LAM * (FIRST if layer == 0 else 1) * gap
        return total


def plain_sre2l(world: World, iterations: int) -> Tensor:
    """One image of each class at a time: cross-entropy, and the running statistics."""
    parts = [optimise(world, iterations, RunningLoss(world)) for _ in range(world.ipc)]
    return torch.stack(parts, 1).flatten(0, 1)  # class after class


class RunningLoss:
    """Of one image of each class: cross-entropy, and distance to what BatchNorm layers keep."""

    def __init__(self, world: World) -> None:
        self.count, self.labels = CLASSES, torch.arange(CLASSES)
        self.means = world.all.mean.split(world.all.widths)
        self.variances = world.all.variance.split(world.all.widths)

    def __call__(self, seen: list[Tensor], features: Tensor, logits: Tensor) -> Tensor:
        total = F.cross_entropy(logits, self.labels)
        layers = zip(seen, self.means, self.variances, strict=True)
        for layer, (x, mean, variance) in enumerate(layers):
            m = x.mean((0, 2, 3))
            v = x.transpose(0, 1).flatten(1).var(1, unbiased=False)
            gap = (v - variance).norm() + (m - mean).norm()
            total = total + LAM * (FIRST if layer == 0 else 1) * gap
        return total


def optimise(world: World, iterations: int, loss: ClassLoss | RunningLoss) -> Tensor:
    """The loop that both share: `loss.count` images, in units of normalised pixels."""
    network, seen, features = world.network, [], []
    linear = next(m for m in network.modules() if isinstance(m, nn.Linear))
    hooks = [linear.register_forward_hook(lambda _, i, o: features.append(i[0]))]
    layers = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    hooks += [m.register_forward_hook(lambda _, i, o: seen.append(i[0])) for m in layers]
    inputs = torch.randn(loss.count, *SHAPE, requires_grad=True)
    adam = torch.optim.Adam([inputs], lr=LR, betas=(0.5, 0.9))
    low, high = -0.5 / 0.29, 0.5 / 0.29
    for iteration in range(iterations):
        for group in adam.param_groups:
            group["lr"] = 0.5 * LR * (1 + math.cos(math.pi * iteration / iterations))
        view = crop(inputs)
        shift = torch.randint(0, ROLL + 1, (2,)).tolist()
        seen.clear()
        features.clear()
        adam.zero_grad()
        logits = network(0.5 + 0.29 * torch.roll(view, shift, (2, 3)))
        loss(seen, features[0], logits).backward()
        adam.step()
        inputs.data = inputs.data.clamp(low, high)
    for hook in hooks:
        hook.remove()
    return inputs.detach()


def crop(images: Tensor) -> Tensor:
    """A random resized crop of whole pixels, the same for all images."""
    height, width = images.shape[2:]
    area = float(torch.empty(1).uniform_(*SCALE)) * height * width
    ratio = math.exp(float(torch.empty(1).uniform_(math.log(3 / 4), math.log(4 / 3))))
    h = min(height, max(1, round(math.sqrt(area / ratio))))
    w = min(width, max(1, round(math.sqrt(area * ratio))))
    top = int(torch.randint(0, height - h + 1, (1,)))
    left = int(torch.randint(0, width - w + 1, (1,)))
    part = images[:, :, top : top + h, left : left + w]
    return F.interpolate(part, (height, width), mode="bilinear", align_corners=False)


def plain_dm(world: World, iterations: int) -> Tensor:
    """Distribution matching (Zhao and Bilen, 2023), without its augmentation."""
    features: list[Tensor] = []
    images = torch.randn(CLASSES * world.ipc, *SHAPE, requires_grad=True)
    sgd = torch.optim.SGD([images], lr=1.0, momentum=0.5)
    for iteration in range(iterations):
        network = world.fresh(iteration).train().requires_grad_(False)
        linear = next(m for m in network.modules() if isinstance(m, nn.Linear))
        linear.register_forward_hook(lambda _, i, o: features.append(i[0]))
        loss = torch.zeros(())
        for k in range(CLASSES):
            features.clear()
            members = torch.randint(k * REAL, (k + 1) * REAL, (REAL,))
            with torch.no_grad():
                network(world.real.images(members))
            network(images[k * world.ipc : (k + 1) * world.ipc])
            loss = loss + (features[0].mean(0) - features[1].mean(0)).square().sum()
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    return images.detach()


WMDD: dict[str, Callable[[World, int], Tensor]] = {
    "class by class": lambda world, iterations: plain_wmdd(world, 1, iterations),
    "batches of 100": lambda world, iterations: plain_wmdd(world, 100, iterations),
    "ours": ours_wmdd,
}
SRE2L: dict[str, Callable[[World, int], Tensor]] = {"plain": plain_sre2l, "ours": ours_sre2l}
SIZES = [pytest.param(10, 3, marks=pytest.mark.short), (1, 30), (10, 30)]
Measured = Callable[[], AbstractContextManager[None]]


@pytest.mark.parametrize("side", WMDD)
@pytest.mark.parametrize(("ipc", "iterations"), SIZES)
def test_wmdd(
    ipc: int, iterations: int, side: str, benchmark: BenchmarkFixture, memory: Measured
) -> None:
    benchmark.group = f"WMDD, {CLASSES} classes, IPC {ipc}, {iterations} iterations"
    measure(WMDD[side], ipc, iterations, benchmark, memory)


@pytest.mark.parametrize("side", SRE2L)
@pytest.mark.parametrize(("ipc", "iterations"), SIZES)
def test_sre2l(
    ipc: int, iterations: int, side: str, benchmark: BenchmarkFixture, memory: Measured
) -> None:
    benchmark.group = f"SRe2L, {CLASSES} classes, IPC {ipc}, {iterations} iterations"
    measure(SRE2L[side], ipc, iterations, benchmark, memory)


@pytest.mark.parametrize("ipc", [1, 10])
def test_dm(ipc: int, benchmark: BenchmarkFixture, memory: Measured) -> None:
    """Another method beside WMDD: what a network in every iteration costs."""
    benchmark.group = f"WMDD, {CLASSES} classes, IPC {ipc}, 30 iterations"
    measure(plain_dm, ipc, 30, benchmark, memory, rounds=1)


def measure(
    loop: Callable[[World, int], Tensor],
    ipc: int,
    iterations: int,
    benchmark: BenchmarkFixture,
    memory: Measured,
    rounds: int = 2,
) -> None:
    world = made(ipc)
    loop(world, 1)  # what is slow or large the first time
    with memory():
        images = benchmark.pedantic(loop, (world, iterations), rounds=rounds)
    each = benchmark.stats["median"] / (CLASSES * ipc * iterations)
    benchmark.extra_info["ms an image and iteration"] = 1000 * each
    assert images.shape == (CLASSES * ipc, *SHAPE)
    assert images.double().isfinite().all()
