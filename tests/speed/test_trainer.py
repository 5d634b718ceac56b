"""`bench.training.classifier.fit` against the loop that a user would write: seconds, and accuracy.

The same network, optimiser, schedule, initial weights and number of steps on both sides, images
made up here. The user's loop is a DataLoader over PIL images with torchvision's
RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor and Normalize. The network's share is
the time that goes into forward and backward, which no trainer of this network can leave out; with
a network of one linear layer it is loading and augmentation alone that takes time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from bench.contract.data import TensorSplit
from bench.training.classifier import Examples, fit
from bench.training.networks import Normalized
from bench.training.recipe import Recipe

BATCH, LR, MOMENTUM, DECAY = 256, 0.05, 0.9, 5e-4
MEAN, STD = (0.5,) * 3, (0.25,) * 3
Images = tuple[Tensor, Tensor]  # uint8 [N, 3, 32, 32], and labels [N]


def pictures(count: int, seed: int) -> Images:
    """Made-up images of 10 classes: a smooth pattern each, and noise."""
    patterns = torch.randn(10, 3, 6, 6, generator=torch.Generator().manual_seed(7))
    patterns = F.interpolate(patterns, size=(32, 32), mode="bicubic")
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    noise = F.interpolate(torch.randn(count, 3, 8, 8, generator=generator), size=(32, 32))
    noise = noise + torch.randn(count, 3, 32, 32, generator=generator)
    images = 0.5 + 0.06 * patterns[labels] + 0.12 * noise
    return (images.clamp(0, 1) * 255).byte(), labels


def convnet(norm: str, width: int = 32) -> nn.Module:
    """The ConvNet of the field: 3 blocks of convolution, norm, ReLU, average pooling."""
    layers: list[nn.Module] = []
    for channels in (3, width, width):
        normalise = nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(width, width)
        layers += [nn.Conv2d(channels, width, 3, padding=1), normalise]
        layers += [nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 16, 10))


def linear(norm: str) -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))


class Pictures(Dataset):  # type: ignore[type-arg]
    """What a user reads from a folder, here in memory."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        self.labels = labels.tolist()
        steps = (transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip())
        self.view = transforms.Compose(
            [*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.view(self.images[row]), self.labels[row]


def plain(network: Normalized, train: Images, steps: int) -> None:
    inner = network.network  # Normalize is one of the transforms
    optimizer = torch.optim.SGD(
        inner.parameters(), lr=LR, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loader = DataLoader(Pictures(*train), batch_size=BATCH, shuffle=True)
    inner.train()
    done = 0
    while done < steps:
        for images, labels in loader:
            if done < steps:
                optimizer.zero_grad()
                F.cross_entropy(inner(images), labels).backward()
                optimizer.step()
                schedule.step()
                done += 1


def ours(network: Normalized, train: Images, steps: int, channels_last: bool = False) -> None:
    recipe = Recipe(
        steps=steps,
        batch=BATCH,
        lr=LR,
        momentum=MOMENTUM,
        weight_decay=DECAY,
        crop=4,
        flip=True,
        channels_last=channels_last,
    )
    examples = Examples(TensorSplit(*train), torch.arange(len(train[1])), train[1])
    fit(network, examples, recipe, classes=10, seed=0, flip=True)


def channels_last(network: Normalized, train: Images, steps: int) -> None:
    ours(network, train, steps, channels_last=True)


SIDES: dict[str, Callable[[Normalized, Images, int], None]] = {
    "plain": plain,
    "ours": ours,
    "ours, channels last": channels_last,
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("norm", "steps"),
    [pytest.param("instance", 2, marks=pytest.mark.short), ("instance", 60), ("batch", 60)],
)
def test_training(norm: str, steps: int, side: str, benchmark: BenchmarkFixture) -> None:
    benchmark.group = f"{steps} steps of {BATCH}, ConvNet-32, {norm} norm"
    train, test = pictures(1000, 0), pictures(1000, 1000)
    network, spent = measure(convnet, norm, side, steps, train, benchmark)
    benchmark.extra_info["network's share"] = f"{spent / benchmark.stats['total']:.0%}"
    if steps == 60:  # enough to learn
        with torch.no_grad():
            right = (network.eval()(test[0].float() / 255).argmax(1) == test[1]).float().mean()
        benchmark.extra_info["accuracy"] = f"{right:.1%}"
        assert right > 0.5


@pytest.mark.short
@pytest.mark.parametrize("side", list(SIDES)[:2])
@pytest.mark.benchmark(group=f"loading and augmentation alone, 8 steps of {BATCH}")
def test_loading(side: str, benchmark: BenchmarkFixture) -> None:
    measure(linear, "", side, 8, pictures(1000, 0), benchmark)


def measure(
    build: Callable[[str], nn.Module],
    norm: str,
    side: str,
    steps: int,
    train: Images,
    benchmark: BenchmarkFixture,
) -> tuple[nn.Module, float]:
    """The network, and the CPU seconds of its passes."""
    SIDES[side](Normalized(build(norm), MEAN, STD), train, 1)  # what is slow the first time
    torch.manual_seed(0)
    network = Normalized(build(norm), MEAN, STD)
    with clocked(network.network) as passes:
        benchmark.pedantic(SIDES[side], (network, train, steps))
    return network, sum(passes)


@contextmanager
def clocked(network: nn.Module) -> Iterator[list[float]]:
    """The CPU seconds of each pass of `network`, forward or backward, inside the block."""
    spent: list[float] = []

    def timed(function: Any) -> Any:
        def call(*args: Any) -> Any:
            start = time.process_time()
            result = function(*args)
            spent.append(time.process_time() - start)
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "forward", timed(network.forward))
        patch.setattr(torch.Tensor, "backward", timed(torch.Tensor.backward))
        yield spent
