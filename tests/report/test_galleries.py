"""Pictures of condensed sets: which are drawn, what they hold, and which go."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import as_result

from bench.report.galleries import GAP, SIDE, compared, drawn, name_of, sections, sets, write
from bench.report.model import Paragraph, Picture
from bench.report.numbers import Board

BOARD = Board(
    title="Sets",
    track="classification",
    datasets=("blobs",),
    methods=("alpha",),
    controls=("beta",),
    ceiling=("all",),
    ipc=(1, 10),
    labels=("hard", "soft"),
    architectures=("small",),
    attacks=("none", "weak"),
    metrics=("right",),
    seeds=(3, 4),
)


def record(method: str = "alpha", ipc: int = 1, seed: int = 3, **changes: Any) -> Any:
    fields = {
        "dataset": "blobs",
        "method": method,
        "ipc": ipc,
        "labels": "hard",
        "architecture": "small",
        "attack": "none",
        "seed": seed,
        "pictured": True,
        "content": {"set": f"{ipc:02d}{seed:02d}{method[0] * 4}0000"},
    }
    return as_result(fields | changes)


def grid(*counts: int, channels: int = 1) -> list[Any]:
    return [np.full((n, channels, 8, 8), 17 * n, np.uint8) for n in counts]


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_picture_has_a_line_a_class_and_white_where_a_class_has_fewer() -> None:
    shown = pixels(drawn(grid(2, 3)))
    assert shown.shape == (2 * (SIDE + GAP) - GAP, 3 * (SIDE + GAP) - GAP, 3)
    assert shown[0, 0].tolist() == pytest.approx([34] * 3, abs=2)
    assert shown[-1, -1].tolist() == pytest.approx([51] * 3, abs=2)
    assert (shown[:SIDE, -SIDE:] == 255).all()


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32), (3, 224)])
def test_a_picture_weighs_little(channels: int, side: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (10, channels, side, side)).astype(np.uint8)
    assert len(drawn([noise] * 10)) < 120_000


def test_each_set_of_the_first_seed_has_one_picture() -> None:
    records = [
        record(),
        record(attack="weak"),
        record(labels="soft"),
        record(seed=4),
        record(ipc=10),
        record("beta"),
        record("all", 0),
        record("beta", 10, pictured=False),
    ]
    assert [(r.method, r.ipc) for r in sets(BOARD, records).values()] == [
        *(("alpha", 1), ("beta", 1), ("alpha", 10))
    ]


def test_a_board_shows_what_it_has_and_says_what_it_lacks(tmp_path: Path) -> None:
    one, two = record(), record(ipc=10)
    [section] = sections(tmp_path, BOARD, [one, two])
    assert section.blocks == (
        Paragraph(("2 of 2 sets have no picture: their tensors were not at hand.",)),
    )
    write(tmp_path, BOARD, [one, two], {one.content["set"]: lambda: grid(1, 1)}, {})
    [section] = sections(tmp_path, BOARD, [one, two])
    said, picture = section.blocks
    assert section.folded
    assert "1 of 2 sets have no picture" in str(said)
    assert picture == Picture(name_of(one), "alpha, IPC 1", ("alpha, IPC 1",))
    assert sections(tmp_path, BOARD, [record("all", 0)]) == ()


def test_a_picture_of_other_tensors_takes_the_place_and_others_stay(tmp_path: Path) -> None:
    one, other = record(), record(content={"set": "0123abcd"})
    write(tmp_path, BOARD, [one], {one.content["set"]: lambda: grid(1)}, {})
    attacked = tmp_path / "images" / "blobs.small.hard.alpha.ipc-1.01234567.png"
    attacked.write_bytes(b"of an attack")
    write(tmp_path, BOARD, [other], {other.content["set"]: lambda: grid(1)}, {})
    there = {file.name for file in (tmp_path / "images").iterdir()}
    assert there == {attacked.name, Path(name_of(other)).name}


def test_a_set_that_has_its_picture_is_not_read(tmp_path: Path) -> None:
    one, made = record(), []
    grids = {one.content["set"]: lambda: made.append(1) or grid(1)}
    write(tmp_path, BOARD, [one], grids, {})
    write(tmp_path, BOARD, [one], grids, {})
    assert made == [1]


# ---- beside real images


def apart(difference: int) -> tuple[list[Any], list[Any]]:
    """Two classes with images that differ from real ones in one pixel of the first."""
    own, real = grid(2, 4), grid(2, 4)
    own[0][0, 0, 3, 5] += difference
    return own, real


@pytest.mark.parametrize(("difference", "factor"), [(1, 64), (5, 16), (60, 2), (150, 1)])
def test_a_difference_is_shown_as_large_as_it_can_be_and_it_is_said_how_large(
    difference: int, factor: int
) -> None:
    found, picture = compared(*apart(difference))
    assert found == factor
    shown = pixels(picture)
    step = 64 + 4  # an enlarged image, and white
    assert shown.shape == (2 * step - 4, 2 * 3 * step - 4, 3)  # two images a class, as the least
    own, real, change = (shown[:64, k * step : k * step + 64, 0] for k in range(3))
    assert own[26, 42] == 34 + difference
    assert (real == 34).all()
    assert change[26, 42] == min(255, 128 + factor * difference)
    assert (change == 128).sum() == 64 * 64 - 8 * 8


def test_sets_beside_real_images_are_drawn_once_shown_and_let_go(tmp_path: Path) -> None:
    one, other, made = record(), record(content={"set": "0123abcd"}), []
    content = one.content["set"]
    beside = {content: lambda: made.append(1) or apart(5)}
    grids = {content: lambda: grid(2, 4)}
    drawn_files = write(tmp_path, BOARD, [one], grids, beside)
    assert drawn_files == [name_of(one), "images/near.blobs.alpha.1.x16.0103aaaa.png"]
    assert write(tmp_path, BOARD, [one], grids, beside) == []
    assert made == [1]
    [section] = sections(tmp_path, BOARD, [one])
    said, _, picture = section.blocks
    assert "nearest, of their class and in pixels" in str(said)
    words = "alpha, IPC 1: condensed, the nearest real image, and what differs, 16 times as large"
    assert picture.caption == (f"{words} (grey: nothing)",)
    write(tmp_path, BOARD, [other], {}, {})
    assert not [*(tmp_path / "images").iterdir()]


def test_sets_of_real_images_stand_beside_nothing(tmp_path: Path) -> None:
    one = record()
    assert write(tmp_path, BOARD, [one], {}, {one.content["set"]: lambda: None}) == []
