"""`bench_matching`'s DC against the loop that a user would write: steps of the images.

The same networks (fresh ConvNets of width 32), made-up data of the shape of Fashion-MNIST,
settings and number of images on both sides. DM stands beside them: another method, no rival.

The user's loop is written after the published description: one class after another, gradients of
all parameters on real and on synthetic images, a sum over classes with one backward pass, and a
data loader for the epochs in between. A round is some steps of the images, with the training of
the network between two of them. Passes are images that went through a network and came back.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from bench import Task
from bench.contract.data import TensorSplit
from bench.training import networks
from bench.training.passes import Passes
from bench_matching.methods import DC, DM
from bench_standard.architectures.convnet import ConvNet

SHAPE, CLASSES, WIDTH = (1, 28, 28), 10, 32


class World:
    """Real images (made up), `batch` of a class a step, and networks whose passes are counted."""

    def __init__(self, norm: str, ipc: int, batch: int) -> None:
        self.norm, self.ipc, self.batch, self.passes = norm, ipc, batch, Passes()
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(CLASSES).repeat_interleave(2 * batch)
        pixels = torch.randint(256, (len(labels), *SHAPE), generator=generator).to(torch.uint8)
        self.real = TensorSplit(pixels, labels)

    def fresh(self) -> nn.Module:
        architecture = ConvNet(width=WIDTH, norm=self.norm)
        network = networks.build(architecture, SHAPE, CLASSES, (0.5,), (0.29,))
        self.passes.count(network)
        return network

    def task(self) -> Task:
        names = tuple(map(str, range(CLASSES)))
        return Task(
            *(self.real, names, SHAPE, (0.5,), (0.29,), False, self.ipc, 0),
            networks={"backbone": self.fresh},
        )


def ours(world: World, outer: int, inner: int) -> Tensor:
    method = DC(iterations=1, outer=outer, inner=inner, batch=world.batch)
    return method.condense(world.task()).images


def means(world: World, outer: int, inner: int) -> Tensor:
    return DM(iterations=outer, batch=world.batch).condense(world.task()).images


def plain(world: World, outer: int, inner: int) -> Tensor:
    reals = [world.real.pixels[world.real.labels == k].float() / 255 for k in range(CLASSES)]
    network = world.fresh()
    images = torch.cat([of_class[: world.ipc] for of_class in reals]).requires_grad_()
    owners = torch.arange(CLASSES).repeat_interleave(world.ipc)
    of_images = torch.optim.SGD([images], lr=0.1, momentum=0.5)
    of_network = torch.optim.SGD(network.parameters(), lr=0.01)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for step in range(outer):
        network.train()
        if norms:
            network(torch.cat([r[torch.randperm(len(r))[:16]] for r in reals]))
            for layer in norms:
                layer.eval()
        total = torch.zeros(())
        for k in range(CLASSES):
            pictures = reals[k][torch.randperm(len(reals[k]))[: world.batch]]
            aims = gradients(network, pictures, torch.full((len(pictures),), k))
            own = owners == k
            found = gradients(network, images[own], owners[own], create_graph=True)
            for a, b in zip(found, aims, strict=True):
                if a.ndim > 1:
                    a, b = a.flatten(1), b.flatten(1)
                    norm = a.norm(dim=1) * b.norm(dim=1) + 1e-6
                    total = total + (1 - (a * b).sum(1) / norm).sum()
        of_images.zero_grad()
        total.backward()
        of_images.step()
        if step + 1 == outer:
            break
        network.train()
        loader = DataLoader(TensorDataset(images.detach().clone(), owners), 256, shuffle=True)
        for _ in range(inner):
            for batch, labels in loader:
                of_network.zero_grad()
                F.cross_entropy(network(batch), labels).backward()
                of_network.step()
    return images.detach()


def gradients(
    network: nn.Module, images: Tensor, labels: Tensor, create_graph: bool = False
) -> list[Tensor]:
    loss = F.cross_entropy(network(images), labels)
    return list(torch.autograd.grad(loss, list(network.parameters()), create_graph=create_graph))


SIDES: dict[str, Callable[[World, int, int], Tensor]] = {"ours": ours, "plain": plain, "DM": means}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("norm", "batch", "steps", "epochs"),
    [
        pytest.param("instance", 64, 1, 1, marks=pytest.mark.short),
        ("instance", 256, 3, 10),
        ("batch", 256, 3, 10),
    ],
)
def test_matching(
    norm: str,
    batch: int,
    steps: int,
    epochs: int,
    side: str,
    benchmark: BenchmarkFixture,
    memory: Callable[[], AbstractContextManager[None]],
) -> None:
    benchmark.group = f"DC and DM, IPC 10, {norm} norm, {batch} real images, steps: {steps}"
    world, rounds = World(norm, 10, batch), 2
    SIDES[side](World(norm, 1, 16), 2, 1)  # what is slow or large the first time
    with memory():
        images = benchmark.pedantic(SIDES[side], (world, steps, epochs), rounds=rounds)
    benchmark.extra_info["steps a second"] = steps / benchmark.stats["median"]
    for way, count in world.passes.as_json().items():
        benchmark.extra_info[f"images {way} a step"] = round(count / rounds / steps)
    assert images.shape == (10 * CLASSES, *SHAPE)
    assert images.isfinite().all()
