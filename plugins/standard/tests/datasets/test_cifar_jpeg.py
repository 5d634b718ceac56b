"""CIFAR-10 as JPEGs: made from CIFAR-10, and the same data whatever the files are called."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, JpegImagePlugin

from bench import BenchError, Data, Missing
from bench_standard.datasets.cifar_jpeg import CIFAR10JPEG, CLASSES, write


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def original():
    """Three training images and a test image of each class."""
    pixels = torch.randint(256, (40, 3, 4, 4), dtype=torch.uint8, generator=torch.manual_seed(0))
    pixels = pixels.repeat_interleave(8, 2).repeat_interleave(8, 3)
    labels = torch.arange(40) % 10
    return Data.from_tensors((pixels[:30], labels[:30]), (pixels[30:], labels[30:]), CLASSES)


def test_the_files_are_jpegs_of_quality_75_with_colour_at_half_the_resolution(data, original):
    write(original, data / "cifar-10-jpeg")
    with Image.open(data / "cifar-10-jpeg/train/cat/0000.jpg") as image:
        assert JpegImagePlugin.get_sampling(image) == 2  # 4:2:0
        assert image.quantization[0][:8] == [8, 6, 5, 8, 12, 20, 26, 31]
        assert image.quantization[1][:8] == [9, 9, 12, 24, 50, 50, 50, 50]
    assert [path.name for path in data.iterdir()] == ["cifar-10-jpeg"]


def test_images_are_those_that_pillow_decodes_ordered_by_class_and_pixels(data, original):
    write(original, data / "cifar-10-jpeg")
    loaded = CIFAR10JPEG().load()
    assert loaded.classes == CLASSES
    assert loaded.train.labels.tolist() == [k for k in range(10) for _ in range(3)]
    expected = []
    for image in original.train.pixels[original.train.labels == 3]:
        file = io.BytesIO()
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        picture.save(file, "JPEG", quality=75, subsampling="4:2:0")
        expected.append(np.asarray(Image.open(file)).transpose(2, 0, 1).tobytes())
    found = [one.numpy().tobytes() for one in loaded.train.pixels[loaded.train.labels == 3]]
    assert found == sorted(expected)


def test_other_names_of_files_are_the_same_data(data, original):
    root = data / "cifar-10-jpeg"
    write(original, root)
    first = CIFAR10JPEG().load().digest
    (root / "train/dog/0000.jpg").rename(root / "train/dog/0009.jpg")
    assert CIFAR10JPEG().load().digest == first


def test_a_missing_class_and_missing_data_are_told(data, original):
    with pytest.raises(Missing, match="run with --download, which makes it of CIFAR-10"):
        CIFAR10JPEG().load()
    write(original, data / "cifar-10-jpeg")
    (data / "cifar-10-jpeg/test/dog").rename(data / "dog")
    with pytest.raises(BenchError, match="lacks dog"):
        CIFAR10JPEG().load()
