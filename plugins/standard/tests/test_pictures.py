"""One door for pictures: 8 bits a channel whatever the mode, or one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import BenchError
from bench_standard.pictures import eight_bits, opened

GREY = np.tile(np.linspace(0, 1, 64), (8, 1))
BYTES = (GREY * 255 + 0.5).astype(np.uint8)
COLOUR = np.stack([BYTES, BYTES[:, ::-1], BYTES], 2)


def read(path: Path, image: Image.Image) -> np.ndarray:
    image.save(path)
    return np.asarray(eight_bits(opened(path), path)).astype(int)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("8.png", BYTES),
        ("16.png", (GREY * 65535).astype(np.uint16)),
        ("16.tif", (GREY * 65535).astype(np.uint16)),
        ("float.tif", GREY.astype(np.float32)),
    ],
)
def test_deep_grey_is_scaled_and_not_clipped(tmp_path, name, values):
    found = read(tmp_path / name, Image.fromarray(values))
    assert np.abs(found - BYTES).max() <= 1
    assert found.min() == 0
    assert found.max() == 255


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_that_says_nothing_is_dropped(tmp_path, mode):
    image = Image.fromarray(COLOUR).convert(mode)
    expected = np.asarray(Image.fromarray(COLOUR).convert("L" if mode == "LA" else "RGB"))
    assert np.array_equal(read(tmp_path / "x.png", image), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_refused(tmp_path, mode):
    image = Image.fromarray(COLOUR).convert(mode)
    if mode == "P":
        image.info["transparency"] = image.getpixel((0, 0))
    else:
        image.putpixel((3, 3), (*image.getpixel((3, 3))[:-1], 100))
    path = tmp_path / "x.png"
    with pytest.raises(BenchError, match=f"{path} has transparent pixels; .*flatten"):
        read(path, image)


@pytest.mark.parametrize("high", [3000.0, float("nan")])
def test_floats_outside_0_to_1_are_refused(tmp_path, high):
    path = tmp_path / "x.tif"
    with pytest.raises(BenchError, match=f"{path} holds floats from .*; expected 0 to 1"):
        read(path, Image.fromarray(np.full((4, 4), high, np.float32)))


def test_integers_without_a_range_are_refused(tmp_path):
    path = tmp_path / "x.tif"
    with pytest.raises(BenchError, match=f"{path} has pixels of mode I, whose range is unknown"):
        read(path, Image.fromarray(np.full((4, 4), 70_000, np.int32)))
