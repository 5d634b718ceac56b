"""Street View House Numbers, on small MATLAB files."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io
import torch
from torchvision import datasets

from bench import BenchError, Missing
from bench.checks import checks_for, run_checks
from bench_standard.datasets.svhn import SVHN

COUNTS = {"train": 30, "test": 20}


def mat(count: int, seed: int) -> dict[str, np.ndarray]:
    """X [32, 32, 3, T] and y [T, 1], 1 to 10, as published."""
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
    return {"X": pixels, "y": (np.arange(count, dtype=np.uint8) % 10 + 1)[:, None]}


def write(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate(COUNTS.items()):
        content = mat(count, seed)
        scipy.io.savemat(folder / f"{split}_32x32.mat", content, do_compression=True)


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def test_every_pixel_and_digit_is_where_it_was(data):
    write(data / "svhn")
    loaded = SVHN().load()
    for seed, (split, count) in enumerate(COUNTS.items()):
        content, read = mat(count, seed), getattr(loaded, split)
        for i in range(count):
            image = content["X"][:, :, :, i]  # [H, W, C]
            assert np.array_equal(read.pixels[i].numpy(), np.moveaxis(image, 2, 0))
        assert read.labels.tolist() == [int(y) if y != 10 else 0 for y in content["y"][:, 0]]
        assert read.labels.dtype == torch.int64
    assert loaded.shape == (3, 32, 32)
    assert loaded.classes == tuple("0123456789")
    assert not loaded.flip


@pytest.mark.parametrize("split", COUNTS)
def test_the_bytes_are_those_that_torchvision_reads(data, monkeypatch, split):
    write(data)
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda self: True)
    reference, read = datasets.SVHN(data, split), getattr(SVHN().load(), split)
    assert np.array_equal(read.pixels.numpy(), reference.data)
    assert np.array_equal(read.labels.numpy(), reference.labels)


@pytest.mark.parametrize("place", ["svhn", "SVHN", "."])
def test_the_files_are_found_in_any_of_these_folders(data, place):
    write(data / place)
    files = tuple(str(data / place / f"{s}_32x32.mat") for s in COUNTS)
    assert SVHN().load().sources[:2] == files


def test_missing_files_say_what_to_get_and_where_to_put_them(data):
    with pytest.raises(Missing) as error:
        SVHN().load()
    assert str(error.value) == (
        f"SVHN is not here; expected train_32x32.mat, test_32x32.mat in {data}/svhn or "
        f"{data}/SVHN or {data}; run with --download, or get them from "
        "http://ufldl.stanford.edu/housenumbers/"
    )


GOOD = mat(20, 1)
BROKEN = {
    "no labels": {"X": GOOD["X"]},
    "no images": {"y": GOOD["y"]},
    "fewer labels": {"X": GOOD["X"], "y": GOOD["y"][:-1]},
    "images first": {"X": GOOD["X"].transpose(3, 0, 1, 2), "y": GOOD["y"]},
    "floats": {"X": GOOD["X"] / 255, "y": GOOD["y"]},
    "digits from 0": {"X": GOOD["X"], "y": GOOD["y"] - 1},
    "digits to 11": {"X": GOOD["X"], "y": GOOD["y"] + 1},
    "half digits": {"X": GOOD["X"], "y": GOOD["y"] - 0.5},
    "words": {"X": GOOD["X"], "y": "twenty letters, twen"},
    "one image": {"X": GOOD["X"][..., 0], "y": GOOD["y"][:1]},
    "none": {"X": GOOD["X"][..., :0], "y": GOOD["y"][:0]},
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_file_of_other_things_is_named(data, content):
    write(data / "svhn")
    path = data / "svhn/test_32x32.mat"
    scipy.io.savemat(path, content)
    with pytest.raises(BenchError, match=f"{path} (holds|cannot be read).*delete it and get it"):
        SVHN().load()


@pytest.mark.parametrize("keep", [0, 3, 100, 200, 5000, -1])
def test_a_file_cut_short_is_named(data, keep):
    write(data / "svhn")
    path = data / "svhn/train_32x32.mat"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BenchError, match=f"{path} (holds|cannot be read).*delete it and get it"):
        SVHN().load()


def test_a_page_of_html_is_no_matlab_file(data):
    write(data / "svhn")
    path = data / "svhn/train_32x32.mat"
    path.write_bytes(b"<html><body>404 Not Found</body></html>" * 20)
    with pytest.raises(BenchError, match=f"{path} cannot be read"):
        SVHN().load()


def test_the_contract_is_kept(data, monkeypatch):
    write(data / "svhn")
    verdicts = run_checks(checks_for("dataset", SVHN()))
    assert [v for v in verdicts if v.status != "passed"] == []
