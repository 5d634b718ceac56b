"""CIFAR-10 as JPEGs: a data set of its own, since each of its images has lost something.

The files are what Pillow writes by `image.save(path, quality=75, subsampling="4:2:0")`: the
quantisation tables of libjpeg for quality 75, colour at half the resolution. `write` makes them
of CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench import Data, Missing
from bench_standard import files
from bench_standard.datasets import folders
from bench_standard.datasets.cifar import CIFAR10

if TYPE_CHECKING:
    from torch import Tensor

FOLDER, SIZE = "cifar-10-jpeg", 32
QUALITY, SUBSAMPLING = 75, "4:2:0"
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
AT_ONCE = 500  # files that a thread decodes


@dataclass(frozen=True)
class CIFAR10JPEG:
    """CIFAR-10 as JPEGs of quality 75, 60,000 images of 3x32x32 in 10 classes.

    Its figures lie a point or so below those of CIFAR-10, and are no measurements of it. Within
    a class, images are ordered by their pixels: file names differ from copy to copy, and rows of
    two copies pair where the pixels are the same.
    """

    name: str = "cifar-10-jpeg"
    preload: ClassVar[tuple[str, ...]] = ("PIL.Image",)
    published: ClassVar[Mapping[str, int]] = {"train": 50_000, "test": 10_000, "classes": 10}

    def load(self) -> Data:
        root = self._root()
        for split in ("train", "test"):
            folders.check_classes(root / split, CLASSES)
        train, test = (folders.scan(root, split, CLASSES) for split in ("train", "test"))
        return Data.from_tensors(
            train=_decoded(train),
            test=_decoded(test),
            classes=CLASSES,
            flip=True,
            sources=[str(path) for path in (*train.sources, *test.sources)],
        )

    def download(self) -> None:
        """Make the files of CIFAR-10, which is fetched if it is missing, unless they are here."""
        try:
            self._root()
        except Missing:
            CIFAR10().download()
            write(CIFAR10().load(), files.folder() / FOLDER)

    def _root(self) -> Path:
        get = "run with --download, which makes it of CIFAR-10"
        root = files.find("CIFAR-10 as JPEGs", [FOLDER], get).absolute()
        for split in ("train", "test"):
            files.find(f"CIFAR-10 as JPEGs ({split})", [str(root / split)], get)
        return root


def write(data: Data, root: Path) -> None:
    """Write a data set of 8-bit RGB as `<split>/<class>/<number>.jpg`, whole or not at all."""
    import tempfile

    import torch
    from PIL import Image

    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=root.parent) as scratch:
        made = Path(scratch) / root.name
        for name, split in (("train", data.train), ("test", data.test)):
            count = [0] * len(data.classes)
            for index in torch.split(torch.arange(len(split.labels)), AT_ONCE):
                pixels = (split.images(index) * 255).round().to(torch.uint8)
                for image, label in zip(pixels, split.labels[index].tolist(), strict=True):
                    path = made / name / data.classes[label] / f"{count[label]:04}.jpg"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
                    picture.save(path, "JPEG", quality=QUALITY, subsampling=SUBSAMPLING)
                    count[label] += 1
        made.rename(root)


def _decoded(listing: folders.Listing) -> tuple[Tensor, Tensor]:
    """Pixels uint8 [T, 3, 32, 32] and labels int64 [T], ordered by class and pixels."""
    import torch

    split = listing.split(SIZE, SIZE)
    parts = torch.split(torch.arange(len(split)), AT_ONCE)
    with ThreadPoolExecutor() as threads:
        pixels = torch.cat(list(threads.map(split.pixels, parts)))
    labels, rows = split.labels.tolist(), pixels.numpy()
    order = sorted(range(len(rows)), key=lambda i: (labels[i], rows[i].tobytes()))
    return pixels[order], split.labels[order]
