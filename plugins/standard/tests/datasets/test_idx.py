"""MNIST and Fashion-MNIST: on Debian's package where it is installed, on small files everywhere."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from bench import BenchError, Missing
from bench.checks import checks_for, run_checks
from bench_standard.datasets.idx import MNIST, NAMES, FashionMNIST

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
COUNTS = {"train": 30, "t10k": 10}


def idx(array: np.ndarray) -> bytes:
    """An IDX file: its magic number and sizes, big-endian, then bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, pack: bool = True, seed: int = 0) -> dict[str, np.ndarray]:
    """The four files, of images and labels that are returned by name."""
    random, arrays = np.random.default_rng(seed), {}
    for part, count in COUNTS.items():
        pixels = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}-images-idx3-ubyte"] = pixels
        arrays[f"{part}-labels-idx1-ubyte"] = np.arange(count, dtype=np.uint8) % 10
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        content = idx(array)
        (folder / (name + ".gz" * pack)).write_bytes(gzip.compress(content) if pack else content)
    return arrays


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The data folder; no package of the system holds a data set."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(FashionMNIST, "places", FashionMNIST.places[:2])
    return tmp_path


PLACES = [(MNIST(), place) for place in ("mnist", "MNIST/raw")] + [
    (FashionMNIST(), place) for place in ("fashion-mnist", "FashionMNIST/raw")
]


@pytest.mark.parametrize("pack", [True, False], ids=["gzipped", "plain"])
@pytest.mark.parametrize(("component", "place"), PLACES)
def test_images_and_labels_are_read_as_they_were_written(data, component, place, pack):
    arrays = write(data / place, pack)
    loaded = component.load()
    for split, part in ((loaded.train, "train"), (loaded.test, "t10k")):
        assert np.array_equal(split.pixels[:, 0].numpy(), arrays[f"{part}-images-idx3-ubyte"])
        assert split.labels.tolist() == arrays[f"{part}-labels-idx1-ubyte"].tolist()
        assert split.labels.dtype == torch.int64
    assert loaded.shape == (1, 28, 28)
    files = tuple(str(data / place / (name + ".gz" * pack)) for name in NAMES)
    looked = component.places[
        : component.places.index(place) + 1
    ]  # the first that is there is read
    assert loaded.sources == (*files, *(str(data / one) for one in looked))


def test_the_bytes_are_those_that_torchvision_reads(data):
    write(data / "MNIST/raw", pack=False)
    loaded, reference = MNIST().load(), datasets.MNIST(data, train=True)
    assert torch.equal(loaded.train.pixels[:, 0], reference.data)
    assert torch.equal(loaded.train.labels, reference.targets)


def test_packed_or_not_the_content_is_the_same(data):
    write(data / "mnist", pack=True)
    write(data / "MNIST/raw", pack=False)
    first = MNIST().load()
    for path in (data / "mnist").iterdir():
        path.unlink()
    second = MNIST().load()
    assert first.sources != second.sources
    assert first.digest == second.digest


def test_the_first_place_wins(data):
    write(data / "fashion-mnist", seed=1)
    write(data / "FashionMNIST/raw", seed=2)
    assert {Path(s).parent for s in FashionMNIST().load().sources[:4]} == {data / "fashion-mnist"}


def test_a_garment_may_be_mirrored_and_a_digit_may_not(data):
    write(data / "mnist")
    write(data / "fashion-mnist")
    assert FashionMNIST().load().flip
    assert not MNIST().load().flip


def test_the_classes_are_as_published(data):
    write(data / "mnist")
    write(data / "fashion-mnist")
    assert FashionMNIST().load().classes == tuple(datasets.FashionMNIST.classes)
    assert MNIST().load().classes == tuple(name[0] for name in datasets.MNIST.classes)


@pytest.mark.parametrize("component", [MNIST(), FashionMNIST()])
def test_missing_files_say_what_to_get_and_where_to_put_them(data, component):
    with pytest.raises(Missing) as error:
        component.load()
    message = str(error.value)
    assert message.startswith(f"{component.title} is not here; expected {', '.join(NAMES)}")
    assert f"in {data}/{component.name} or {data}/" in message
    assert "run with --download" in message
    assert "https://" in message
    assert ("apt install dataset-fashion-mnist" in message) == (component == FashionMNIST())


IMAGES, LABELS = NAMES[:2]
GOOD = idx(np.zeros((30, 28, 28), np.uint8))
BROKEN = {
    "empty": (IMAGES, b"", "starts with nothing"),
    "not IDX": (IMAGES, b"<html>not found</html>", "starts with 3c 68 74 6d"),
    "labels for images": (IMAGES, idx(np.zeros(30, np.uint8)), "starts with 00 00 08 01"),
    "images for labels": (LABELS, GOOD, "starts with 00 00 08 03"),
    "wide numbers": (IMAGES, b"\0\0\x0d\x03" + GOOD[4:], "starts with 00 00 0d 03"),
    "a header cut short": (IMAGES, GOOD[:10], "and 3 sizes"),
    "cut short": (IMAGES, GOOD[:-1], r"holds 23,519 bytes after its header, .* 23,520"),
    "too long": (IMAGES, GOOD + b"\0", r"holds 23,521 bytes after its header, .* 23,520"),
    "no images": (IMAGES, idx(np.zeros((0, 28, 28), np.uint8)), "promises .0, 28, 28."),
    "fewer images": (IMAGES, idx(np.zeros((29, 28, 28), np.uint8)), "30 labels for the 29 images"),
    "other images": (
        IMAGES,
        idx(np.zeros((30, 8, 8), np.uint8)),
        r"of \[8, 8\], not of \[28, 28\]",
    ),
    "eleven classes": (LABELS, idx(np.arange(30, dtype=np.uint8) % 11), "label 10, not of 0 to 9"),
}


@pytest.mark.parametrize(("name", "content", "fault"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named_with_its_fault(data, name, content, fault):
    write(data / "mnist", pack=False)
    (data / "mnist" / name).write_bytes(content)
    with pytest.raises(BenchError, match=f"{data}/mnist/.*{fault}.*delete it and get it again"):
        MNIST().load()


def test_a_gzipped_file_that_is_cut_short_is_named(data):
    write(data / "mnist")
    path = data / "mnist" / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BenchError, match=f"{path} cannot be unpacked"):
        MNIST().load()


needs_debian = pytest.mark.skipif(not DEBIAN.exists(), reason="apt install dataset-fashion-mnist")


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", str(tmp_path_factory.mktemp("empty")))
        return FashionMNIST().load()


@needs_debian
def test_fashion_mnist_is_complete_and_balanced(fashion):
    assert fashion.train.pixels.shape == (60_000, 1, 28, 28)
    assert fashion.test.pixels.shape == (10_000, 1, 28, 28)
    assert fashion.train.labels.bincount().tolist() == [6_000] * 10
    assert fashion.test.labels.bincount().tolist() == [1_000] * 10


@needs_debian
def test_fashion_mnist_has_the_mean_and_deviation_that_everybody_uses(fashion):
    assert fashion.mean == pytest.approx([0.2860], abs=5e-5)
    assert fashion.std == pytest.approx([0.3530], abs=5e-5)


@needs_debian
def test_trousers_and_sandals_stand_where_their_labels_say(fashion):
    """Trousers are narrow (dark at both sides); sandals leave most of the image dark."""
    pixels, labels = fashion.train.pixels[:, 0].float(), fashion.train.labels
    means = torch.stack([pixels[labels == k].mean(0) for k in range(10)])
    assert means[:, :, [0, 1, 2, 25, 26, 27]].mean((1, 2)).argmin() == 1
    assert means.mean((1, 2)).argmin() == fashion.classes.index("Sandal")


def test_both_keep_the_contract(data, monkeypatch):
    write(data / "mnist")
    write(data / "fashion-mnist")
    for component in (MNIST(), FashionMNIST()):
        verdicts = run_checks(checks_for("dataset", component))
        assert [v for v in verdicts if v.status != "passed"] == []
