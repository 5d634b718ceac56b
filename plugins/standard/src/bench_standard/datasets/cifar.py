"""CIFAR-10 and CIFAR-100, from the binary or the python version that their author publishes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench import Data, Missing
from bench_standard import files

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

PIXELS = 3 * 32 * 32  # bytes of an image: the red plane, the green, the blue, row by row
BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))


@dataclass(frozen=True)
class CIFAR10:
    """Photographs of things, 60,000 images of 3x32x32 in 10 classes (Krizhevsky, 2009)."""

    name: str = "cifar-10"
    title: ClassVar[str] = "CIFAR-10"
    layouts: ClassVar[Mapping[str, Sequence[str]]] = {  # train, ..., test, names of the classes
        "cifar-10-batches-bin": (
            *(f"{batch}.bin" for batch in BATCHES),
            "test_batch.bin",
            "batches.meta.txt",
        ),
        "cifar-10-batches-py": (*BATCHES, "test_batch", "batches.meta"),
    }
    published: ClassVar[Mapping[str, int]] = {"train": 50_000, "test": 10_000, "classes": 10}
    label_bytes: ClassVar[int] = 1  # before each image of the binary version; the last one counts
    keys: ClassVar[tuple[str, str]] = ("labels", "label_names")  # of the python version

    def load(self) -> Data:
        import numpy as np
        import torch

        paths = self._files()
        *train, test, names = paths
        if names.suffix == ".txt":
            lines = files.read(names).decode(errors="replace").splitlines()
            classes = [line.strip() for line in lines if line.strip()]
        else:
            classes = _read_names(names, self.keys[1])

        def split(parts: Sequence[Path]) -> tuple[Tensor, Tensor]:
            pixels, labels = zip(*[self._read(path, len(classes)) for path in parts], strict=True)
            images = torch.from_numpy(np.concatenate(pixels)).view(-1, 3, 32, 32)
            return images, torch.from_numpy(np.concatenate(labels).astype(np.int64))

        return Data.from_tensors(
            train=split(train),
            test=split([test]),
            classes=classes,
            flip=True,
            sources=files.looked_into(self.layouts, paths),
        )

    def download(self) -> None:
        """Fetch the python version, as torchvision does, unless either version is here."""
        try:
            self._files()
        except Missing:
            source = self._source()
            into = files.folder() / source.base_folder
            files.fetch(self.title, [source.url], source.tgz_md5, into, unpack=source.base_folder)

    def _files(self) -> list[Path]:
        get = "run with --download, or get either from https://www.cs.toronto.edu/~kriz/cifar.html"
        return files.find_all(self.title, self.layouts, get)

    def _source(self) -> Any:
        from torchvision import datasets

        return datasets.CIFAR10

    def _read(self, path: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels uint8 [T, 3072] and labels [T] of one file of either version."""
        if path.suffix == ".bin":
            pixels, labels = _read_binary(path, self.label_bytes)
        else:
            pixels, labels = _read_python(path, self.keys[0])
        if labels.min() < 0 or labels.max() >= classes:
            raise files.damaged(
                path, f"holds labels {labels.min()} to {labels.max()}, not of 0 to {classes - 1}"
            )
        return pixels, labels


@dataclass(frozen=True)
class CIFAR100(CIFAR10):
    """Photographs of things, 60,000 images of 3x32x32 in 100 classes (Krizhevsky, 2009)."""

    name: str = "cifar-100"
    title: ClassVar[str] = "CIFAR-100"
    layouts: ClassVar[Mapping[str, Sequence[str]]] = {
        "cifar-100-binary": ("train.bin", "test.bin", "fine_label_names.txt"),
        "cifar-100-python": ("train", "test", "meta"),
    }
    published: ClassVar[Mapping[str, int]] = {"train": 50_000, "test": 10_000, "classes": 100}
    label_bytes: ClassVar[int] = 2  # the coarse label, then the fine one
    keys: ClassVar[tuple[str, str]] = ("fine_labels", "fine_label_names")

    def _source(self) -> Any:
        from torchvision import datasets

        return datasets.CIFAR100


def _read_binary(path: Path, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    raw, record = files.read(path), label_bytes + PIXELS
    if not raw or len(raw) % record:
        raise files.damaged(path, f"holds {len(raw):,} bytes, not some records of {record:,} each")
    rows = np.frombuffer(raw, np.uint8).reshape(-1, record)
    return rows[:, label_bytes:], rows[:, label_bytes - 1]


# ---- the python version: pickles that Python 2 has written, read without running any of them


class _Part:
    """Stands in for whatever numpy had pickled: it keeps what it is given, and does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Knows numbers, strings, lists, dictionaries, and the names in pickles of numpy arrays.

    No name leads to what it names: all give a `_Part`, so that a pickle can call nothing.
    """

    NAMES: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }

    def find_class(self, module: str, name: str) -> type[_Part]:
        if (module, name) not in self.NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file does")
        return _Part


def _read_python(path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    content = _unpickle(path)
    try:
        # what numpy 1 keeps of an array: version, shape, type, is it Fortran's order, bytes
        _, (count, size), kind, fortran, raw = content[b"data"].state
        pixels, labels = np.frombuffer(raw, np.uint8), np.array(content[key.encode()])
        legal = kind.arguments[0] == b"u1" and not fortran and size == PIXELS and count > 0
        if not legal or pixels.size != count * size or labels.shape != (count,):
            raise ValueError(f"{pixels.size} bytes of {count} x {size}, labels {labels.shape}")
        return pixels.reshape(count, size), labels.astype(np.int64, casting="safe")
    except Exception as error:  # whatever a foreign file may hold
        expected = f"expected `data`, bytes [T, {PIXELS}], and T `{key}`"
        raise files.damaged(path, f"holds other things ({error!r}; {expected})") from error


def _read_names(path: Path, key: str) -> list[str]:
    content = _unpickle(path)
    try:
        return [name.decode("ascii") for name in content[key.encode()]]
    except Exception as error:
        raise files.damaged(path, f"holds no `{key}` ({error!r})") from error


def _unpickle(path: Path) -> Any:
    raw = files.read(path)
    try:
        return _Unpickler(BytesIO(raw), encoding="bytes").load()
    except Exception as error:  # a broken pickle raises nearly anything
        raise files.damaged(path, f"is no pickle of a CIFAR: {error!r}") from error
