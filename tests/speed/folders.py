"""`bench.training.loading.read` over a folder of JPEGs against torchvision's ImageFolder: images a second.

Random resized crops to 224 of made-up photographs (500x375, smooth noise at several scales, JPEG
quality 85 to 95). The user's side is ImageFolder, RandomResizedCrop(224, antialias=True) and
ToTensor in a DataLoader with as many worker processes as the reader has threads; its start and
end are left out. Both sides take turns, batch by batch of work, and the median ratio is printed.
"cpu" is the time of processors, of all threads and processes, for an image.

    python tests/speed/folders.py [--images 2000] [--repeats 5] [--batch 128]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image

from bench.training import augment, loading
from bench_standard.datasets import folders

SIZE, SCALE = 224, (0.08, 1.0)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--images", type=int, default=2000)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--batch", type=int, default=128)
    args = arguments.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        weight = make(root, args.images)
        print(f"{args.images} images of {weight / args.images / 1000:.0f} kB, {loading.READERS} W")
        sides = {"read": Bench(root, args.batch), "DataLoader": Torchvision(root, args.batch)}
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for repeat in range(-1, args.repeats):  # the first warms the disk's cache and the workers
            for side in sorted(sides, reverse=bool(repeat % 2)):
                rate, cpu = measured(sides[side].batches, args.images)
                if repeat >= 0:
                    rates[side].append(rate)
                    print(f"{side:<12}{rate:7.0f} images/s{1000 * cpu:7.2f} ms cpu", flush=True)
    ratios = [a / b for a, b in zip(rates["read"], rates["DataLoader"], strict=True)]
    print(
        f"median {statistics.median(rates['read']):.0f} to "
        f"{statistics.median(rates['DataLoader']):.0f} images/s; ratio "
        f"{statistics.median(ratios):.2f} (of {min(ratios):.2f} to {max(ratios):.2f})"
    )


def make(root: Path, count: int) -> int:
    """Files of one split, `root/train/<class>/*.JPEG`; returns their bytes."""
    random, weight = np.random.default_rng(0), 0
    for number in range(count):
        shape = (500, 375) if number % 4 else (375, 500)
        pixels = np.full((shape[1], shape[0], 3), 128.0)
        for cells, strength in ((4, 70), (16, 30), (64, 16), (160, 22)):
            noise = random.normal(0, 1, (cells, cells, 3)) * strength
            levels = Image.fromarray((128 + noise).clip(0, 255).astype(np.uint8))
            pixels += np.asarray(levels.resize(shape, Image.Resampling.BICUBIC), float) - 128
        folder = root / "train" / f"n{number % 10:08}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number}.JPEG"
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(path, quality=int(random.integers(85, 96)))
        weight += path.stat().st_size
    return weight


class Bench:
    def __init__(self, root: Path, batch: int) -> None:
        names = folders.class_folders(root / "train")
        self.split = folders.scan(root, "train", names).split(SIZE, 256)
        self.batch, self.generator = batch, torch.Generator().manual_seed(0)

    def batches(self) -> Iterator[torch.Tensor]:
        order = torch.randperm(len(self.split), generator=self.generator)
        boxes = augment.resized_crop(len(order), SCALE, self.generator)
        parts = zip(order.split(self.batch), boxes.split(self.batch), strict=True)
        return loading.read(self.split, parts)


class Torchvision:
    def __init__(self, root: Path, batch: int) -> None:
        from torchvision import transforms
        from torchvision.datasets import ImageFolder

        views = [transforms.RandomResizedCrop(SIZE, SCALE, antialias=True), transforms.ToTensor()]
        data = ImageFolder(str(root / "train"), transforms.Compose(views))
        self.loader = torch.utils.data.DataLoader(
            data, batch, shuffle=True, num_workers=loading.READERS, persistent_workers=True
        )

    def batches(self) -> Iterable[torch.Tensor]:
        return (images for images, _ in self.loader)


def measured(batches: Callable[[], Iterable[torch.Tensor]], count: int) -> tuple[float, float]:
    """Images a second, and seconds of processors for an image."""
    start, cpu = time.perf_counter(), processors()
    seen = sum(len(images) for images in batches())
    assert seen == count
    return count / (time.perf_counter() - start), (processors() - cpu) / count


def processors() -> float:
    """CPU seconds of this process and of its children."""
    import psutil

    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children())]
    return sum(t.user + t.system for t in times)


if __name__ == "__main__":
    main()
