"""Data that are not what their name says are refused, and pictures without one meaning are."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.contract.errors import BenchError
from bench.contract.files import stamp
from bench.engine.results import _partial
from bench.stages.load import Load
from bench.stages.stage import Dataset
from bench_standard.datasets.folders import FolderSplit
from bench_standard.datasets.idx import MNIST


def written(folder: Path, counts: tuple[int, ...]) -> None:
    """Files of MNIST's names, and as many images, with so many of each training class."""
    folder.mkdir(parents=True)
    train = np.repeat(np.arange(10, dtype="uint8"), counts)
    for name, labels in (("train", train), ("t10k", np.arange(10_000, dtype="uint8") % 10)):
        n = len(labels)
        head = struct.pack(">4i", 2051, n, 28, 28)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + bytes(n * 28 * 28))
        head = struct.pack(">2i", 2049, n)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


def test_other_digits_in_the_files_of_mnist_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    written(tmp_path / "mnist", (6000,) * 10)  # as Fashion-MNIST and KMNIST have
    stage = Load(Dataset("mnist", MNIST(), "", {}), 0, MNIST(), "test", "")
    data = MNIST().load()
    with pytest.raises(BenchError, match=r"has 6000, 6000.* by class where 5923, 6742"):
        stage._difference(data)
    allowed = Load(Dataset("mnist", MNIST(), "", {}), 0, MNIST(), "test", "", True)
    said = _partial(allowed._difference(data))
    assert said == "other numbers of images by class than are published"


def test_a_file_that_is_replaced_by_one_of_its_size_and_time_is_noticed(tmp_path: Path) -> None:
    file, folder = tmp_path / "data" / "images.bin", str(tmp_path / "data")
    file.parent.mkdir()
    file.write_bytes(b"one")
    os.utime(file, (10**9, 10**9))
    os.utime(folder, (10**9, 10**9))
    before = stamp(str(file)), stamp(folder)
    other = tmp_path / "other"
    other.write_bytes(b"two")
    os.utime(other, (10**9, 10**9))  # as archives do that can be built again
    other.replace(file)
    os.utime(folder, (10**9, 10**9))
    after = stamp(str(file)), stamp(folder)
    assert before[0] != after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize("name", ["two.gif", "two.tif"])
def test_a_file_of_several_pictures_is_not_its_first_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").mkdir()
    dark, light = (Image.fromarray(np.full((8, 8), v, "uint8")) for v in (0, 255))
    dark.save(tmp_path / "a" / name, save_all=True, append_images=[light])
    split = FolderSplit(tmp_path, np.array([f"a/{name}".encode()]), torch.zeros(1).long(), 8, 8)
    with pytest.raises(BenchError, match="holds 2 pictures; expected one"):
        split.images(torch.tensor([0]))
