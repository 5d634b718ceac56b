"""`bench.training.loading.read` over a folder of JPEGs against torchvision's ImageFolder.

Random resized crops to 224 of made-up photographs (500 x 375, smooth noise at several scales, JPEG
quality 85 to 95). The user's side is ImageFolder, RandomResizedCrop(224, antialias=True) and
ToTensor in a DataLoader with as many worker processes as the reader has threads; their start is
left out. Threads and processes work together, so the wall clock counts; the time of processors,
of all threads and processes, stands beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torchvision import transforms
from torchvision.datasets import ImageFolder

from bench.training import augment, loading
from bench_standard.datasets import folders

SIZE, SCALE, BATCH = 224, (0.08, 1.0), 64
COUNTS = [pytest.param(128, marks=pytest.mark.short), 2000]


@pytest.fixture(scope="module", params=COUNTS)
def photographs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of one split, `train/<class>/*.JPEG`."""
    root = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for number in range(request.param):
        shape = (500, 375) if number % 4 else (375, 500)
        pixels = np.full((shape[1], shape[0], 3), 128.0)
        for cells, strength in ((4, 70), (16, 30), (64, 16), (160, 22)):
            noise = random.normal(0, 1, (cells, cells, 3)) * strength
            levels = Image.fromarray((128 + noise).clip(0, 255).astype(np.uint8))
            pixels += np.asarray(levels.resize(shape, Image.Resampling.BICUBIC), float) - 128
        folder = root / "train" / f"n{number % 10:08}"
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(folder / f"{number}.JPEG", quality=int(random.integers(85, 96)))
    return root


def ours(root: Path) -> Callable[[], Iterable[Tensor]]:
    names = folders.class_folders(root / "train")
    split = folders.scan(root, "train", names).split(SIZE, 256)
    generator = torch.Generator().manual_seed(0)

    def batches() -> Iterable[Tensor]:
        order = torch.randperm(len(split), generator=generator)
        boxes = augment.resized_crop(len(order), SCALE, generator)
        return loading.read(split, zip(order.split(BATCH), boxes.split(BATCH), strict=True))

    return batches


def torchvision(root: Path) -> Callable[[], Iterable[Tensor]]:
    views = [transforms.RandomResizedCrop(SIZE, SCALE, antialias=True), transforms.ToTensor()]
    data = ImageFolder(str(root / "train"), transforms.Compose(views))
    loader: Any = torch.utils.data.DataLoader(
        data, BATCH, shuffle=True, num_workers=loading.READERS, persistent_workers=True
    )
    return lambda: (images for images, _ in loader)


@pytest.mark.parametrize("side", [ours, torchvision], ids=["ours", "torchvision"])
@pytest.mark.benchmark(timer=time.perf_counter)
def test_folder(side: Any, photographs: Path, benchmark: BenchmarkFixture) -> None:
    count, rounds = len(list(photographs.glob("*/*/*"))), 2
    benchmark.group = f"{count:,} JPEGs, {loading.READERS} readers, wall clock"
    batches = side(photographs)

    def seen() -> int:
        return sum(len(images) for images in batches())

    assert seen() == count  # the first time warms the disk's cache, and starts the workers
    before = processors()
    benchmark.pedantic(seen, rounds=rounds)
    spent = (processors() - before) / rounds / count
    benchmark.extra_info["images a second"] = round(count / benchmark.stats["median"])
    benchmark.extra_info["ms of processors an image"] = 1000 * spent


def processors() -> float:
    """CPU seconds of this process and of its children."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children())]
    return sum(t.user + t.system for t in times)
