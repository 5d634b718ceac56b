"""MNIST and its kin, from IDX files (big-endian sizes, then bytes), gzipped or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench import Data, Missing
from bench_standard import files

if TYPE_CHECKING:
    from torch import Tensor

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class MNIST:
    """Handwritten digits, 70,000 images of 1x28x28 (LeCun, Cortes and Burges, 1998)."""

    name: str = "mnist"
    title: ClassVar[str] = "MNIST"
    places: ClassVar[tuple[str, ...]] = ("mnist", "MNIST/raw")
    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")
    flip: ClassVar[bool] = False
    published: ClassVar[Mapping[str, Any]] = {
        "train": 60_000,
        "test": 10_000,
        # what tells them from other data in files of the same names and sizes
        "classes": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    }
    get: ClassVar[str] = (
        "run with --download, or get them from https://ossci-datasets.s3.amazonaws.com/mnist/"
    )

    def load(self) -> Data:
        train, train_labels, test, test_labels = paths = self._files()
        return Data.from_tensors(
            train=_split(train, train_labels, len(self.classes)),
            test=_split(test, test_labels, len(self.classes)),
            classes=self.classes,
            flip=self.flip,
            sources=files.looked_into(self.places, paths),
        )

    def download(self) -> None:
        """Fetch what torchvision fetches, with its checksums, unless the files are here."""
        try:
            self._files()
        except Missing:
            source = self._source()
            for name, md5 in source.resources:
                urls = [f"{mirror}{name}" for mirror in source.mirrors]
                files.fetch(f"{self.title} ({name})", urls, md5, files.folder() / self.places[0])

    def _files(self) -> list[Path]:
        layouts = dict.fromkeys(self.places, NAMES)
        return files.find_all(self.title, layouts, self.get, endings=("", ".gz"))

    def _source(self) -> Any:
        from torchvision import datasets

        return datasets.MNIST


@dataclass(frozen=True)
class FashionMNIST(MNIST):
    """Pictures of garments, 70,000 images of 1x28x28 (Xiao, Rasul and Vollgraf, 2017)."""

    name: str = "fashion-mnist"
    title: ClassVar[str] = "Fashion-MNIST"
    places: ClassVar[tuple[str, ...]] = (
        "fashion-mnist",
        "FashionMNIST/raw",
        "/usr/share/datasets/fashion-mnist",  # Debian
    )
    classes: ClassVar[tuple[str, ...]] = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    published: ClassVar[Mapping[str, Any]] = {
        "train": 60_000,
        "test": 10_000,
        "classes": 10,
        "digest": "47f4cb73769b1ee8",  # of Debian's package, whose files are the authors'
    }
    flip: ClassVar[bool] = True  # a garment seen in a mirror is the same garment
    get: ClassVar[str] = (
        "run with --download, or `apt install dataset-fashion-mnist` (Debian), or get them from "
        "https://github.com/zalandoresearch/fashion-mnist"
    )

    def _source(self) -> Any:
        from torchvision import datasets

        return datasets.FashionMNIST


def _split(images: Path, labels: Path, classes: int) -> tuple[Tensor, Tensor]:
    """Pixels uint8 [T, 1, 28, 28] and labels int64 [T]."""
    pixels, numbers = read_idx(images, dims=3), read_idx(labels, dims=1).long()
    if pixels.shape[1:] != (28, 28):
        raise files.damaged(images, f"holds images of {list(pixels.shape[1:])}, not of [28, 28]")
    if len(pixels) != len(numbers):
        raise files.damaged(
            labels, f"holds {len(numbers)} labels for the {len(pixels)} images of {images.name}"
        )
    if len(numbers) and numbers.max() >= classes:
        raise files.damaged(
            labels, f"holds a label {int(numbers.max())}, not of 0 to {classes - 1}"
        )
    return pixels[:, None], numbers


def read_idx(path: Path, dims: int) -> Tensor:
    """The bytes (uint8) of an IDX file of `dims` dimensions. Raises BenchError on any other."""
    import torch

    raw = bytearray(files.read(path))
    header = 4 + 4 * dims
    if raw[:4] != bytes([0, 0, 8, dims]) or len(raw) < header:  # 8: unsigned bytes
        raise files.damaged(
            path,
            f"starts with {raw[:4].hex(' ') or 'nothing'}, where an IDX file of bytes in {dims} "
            f"dimensions has {bytes([0, 0, 8, dims]).hex(' ')} and {dims} sizes",
        )
    shape = [int.from_bytes(raw[at : at + 4], "big") for at in range(4, header, 4)]
    if len(raw) - header != prod(shape) or not prod(shape):
        raise files.damaged(
            path,
            f"holds {len(raw) - header:,} bytes after its header, which promises {shape}, "
            f"that is {prod(shape):,}",
        )
    return torch.frombuffer(raw, dtype=torch.uint8, offset=header).view(shape)
