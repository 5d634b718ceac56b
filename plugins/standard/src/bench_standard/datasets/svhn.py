"""Street View House Numbers, from the MATLAB files of its cropped digits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench import Data, Missing
from bench_standard import files

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("train_32x32.mat", "test_32x32.mat")
PLACES = ("svhn", "SVHN", ".")  # the last is where torchvision has them
GET = "run with --download, or get them from http://ufldl.stanford.edu/housenumbers/"


@dataclass(frozen=True)
class SVHN:
    """Digits of house numbers, 99,289 images of 3x32x32 (Netzer et al., 2011).

    The `extra` images are left out, as nearly everybody does.
    """

    name: str = "svhn"
    preload: ClassVar[tuple[str, ...]] = ("scipy.io",)
    published: ClassVar[Mapping[str, int]] = {"train": 73_257, "test": 26_032, "classes": 10}

    def load(self) -> Data:
        paths = _files()
        return Data.from_tensors(
            train=_split(paths[0]),
            test=_split(paths[1]),
            classes=tuple("0123456789"),
            sources=files.looked_into(PLACES, paths),
        )

    def download(self) -> None:
        """Fetch what torchvision fetches, with its checksums, unless the files are here."""
        try:
            _files()
        except Missing:
            from torchvision import datasets

            for split in ("train", "test"):
                url, name, md5 = datasets.SVHN.split_list[split]
                files.fetch(f"SVHN ({name})", [url], md5, files.folder() / PLACES[0])


def _files() -> list[Path]:
    return files.find_all("SVHN", dict.fromkeys(PLACES, NAMES), GET)


def _split(path: Path) -> tuple[Tensor, Tensor]:
    """Pixels uint8 [T, 3, 32, 32] and labels int64 [T]."""
    import numpy as np
    import scipy.io
    import torch

    raw = BytesIO(files.read(path))
    try:
        content = scipy.io.loadmat(raw, variable_names=("X", "y"))
        pixels, labels = content["X"], content["y"]
    except Exception as error:  # a broken file raises nearly anything
        raise files.damaged(path, f"cannot be read: {error!r}") from error
    count = pixels.shape[-1]
    if pixels.shape != (32, 32, 3, count) or pixels.dtype != np.uint8 or labels.size != count:
        raise files.damaged(
            path,
            f"holds X {pixels.dtype} {list(pixels.shape)} and y {list(labels.shape)}, "
            "not X uint8 [32, 32, 3, T] and y [T, 1]",
        )
    if not count or labels.min() < 1 or labels.max() > 10:
        raise files.damaged(path, f"holds labels {np.unique(labels)[:20]}, not of 1 to 10")
    images = np.ascontiguousarray(pixels.transpose(3, 2, 0, 1))  # [T, 3, 32, 32]
    numbers = labels.reshape(-1).astype(np.int64) % 10  # in the file, 10 stands for the digit 0
    return torch.from_numpy(images), torch.from_numpy(numbers)
