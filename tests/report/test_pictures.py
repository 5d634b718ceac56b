"""Pictures of attacked images: what is drawn, for which rows, and what is left alone."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from support import as_result

from bench.report.markdown import rendered
from bench.report.model import Frame, Page
from bench.report.numbers import Board
from bench.report.pictures import (
    GAP,
    SIDE,
    edited,
    missing,
    name_of,
    note_sums,
    rows,
    samples,
    sections,
    sheet,
    sums,
    write,
)

BOARD = Board(
    title="Pictures",
    track="classification",
    datasets=("blobs",),
    methods=("alpha",),
    controls=("beta",),
    ceiling=("all",),
    ipc=(1, 10),
    labels=("hard",),
    architectures=("small",),
    attacks=("none", "weak", "strong"),
    metrics=("right",),
    seeds=(3, 4),
)


def record(method="alpha", ipc=1, attack="weak", seed=3, moved=0.1, **changes):
    fields = {
        "dataset": "blobs",
        "method": method,
        "ipc": ipc,
        "labels": "hard",
        "architecture": "small",
        "attack": attack,
        "seed": seed,
        "pictured": True,
        "content": {"probe": f"{method} {attack}"},
        "perturbation": {"linf": {"mean": moved, "max": moved}},
    }
    return as_result(fields | changes)


def text_of(parts) -> str:
    return rendered(Page("", (), (), parts, Frame((), ())))


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_sheet_has_a_line_for_each_image_and_two_columns_for_each_attack():
    clean = np.full((3, 1, 8, 8), 100, np.uint8)
    moved = clean.copy()
    moved[:, :, 0, 0] += 10  # the largest change is white
    moved[:, :, 7, 7] -= 5  # half of it, the other way
    drawn = pixels(sheet(clean, {"weak": moved, "strong": moved}))
    assert drawn.shape == (3 * (SIDE + GAP) - GAP, 5 * (SIDE + GAP) - GAP, 3)
    change = drawn[:SIDE, SIDE + GAP : 2 * SIDE + GAP]
    assert change[0, 0].tolist() == [255] * 3
    assert change[SIDE // 2, SIDE // 2].tolist() == [128] * 3
    assert change[-1, -1].tolist() == [64] * 3
    assert (drawn[:SIDE, :SIDE] == 100).all()
    assert (drawn[:, SIDE : SIDE + GAP] == 255).all()
    assert drawn[0, 2 * (SIDE + GAP)].tolist() == [110] * 3


def test_colours_stay_and_large_images_keep_their_size():
    clean = np.random.default_rng(0).integers(0, 256, (1, 3, 70, 70)).astype(np.uint8)
    drawn = pixels(sheet(clean, {"weak": clean}))
    assert (drawn[:, :70] == clean[0].transpose(1, 2, 0)).all()
    assert (drawn[:, 70 + GAP : 140 + GAP] == 128).all()  # nothing has changed


def test_rows_show_what_moved_the_images_of_the_first_seed():
    records = [
        record(attack="strong"),
        record(attack="weak"),
        record(attack="none", moved=0.0),
        record(attack="weak", seed=4),
        record(method="beta", reason="no"),
        record(method="beta", ipc=10, pictured=False),
        record(method="all", ipc=0),
    ]
    found = rows(BOARD, records)
    [alpha, whole] = found
    assert [list(of_row) for of_row in found.values()] == [["weak", "strong"], ["weak"]]
    assert alpha.startswith("images/blobs.small.hard.alpha.ipc-1.")
    assert whole.startswith("images/blobs.small.hard.all.ipc-all.")
    text = text_of(sections(BOARD, records))
    assert "alpha, IPC 1, hard labels, small, blobs: clean, weak, strong\n" in text
    assert f"![weak, strong]({alpha})" in text
    assert sections(BOARD, [record(attack="none", moved=0.0)]) == ()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    place = tmp_path / "pictures.safetensors"
    image = np.zeros((1, 1, 8, 8), np.uint8)
    save_file({"natural": image, "adversarial": image + 1}, place)
    return place


def test_only_rows_whose_attacks_are_all_at_hand_are_drawn(tmp_path: Path, kept: Path):
    weak, strong = record(attack="weak"), record(attack="strong")
    file = tmp_path / name_of({"weak": weak, "strong": strong})
    write(tmp_path, BOARD, [weak, strong], {weak.coordinate: kept})
    assert missing(tmp_path, BOARD, [weak, strong]) == [file.relative_to(tmp_path).as_posix()]
    write(tmp_path, BOARD, [weak, strong], {r.coordinate: kept for r in (weak, strong)})
    assert pixels(file.read_bytes()).shape == (SIDE, 5 * (SIDE + GAP) - GAP, 3)


def test_a_picture_that_stays_the_same_is_not_touched(tmp_path: Path, kept: Path):
    one = record()
    write(tmp_path, BOARD, [one], {one.coordinate: kept})
    [name] = rows(BOARD, [one])
    before = (tmp_path / name).stat().st_mtime_ns
    write(tmp_path, BOARD, [one], {one.coordinate: kept})
    assert (tmp_path / name).stat().st_mtime_ns == before
    assert missing(tmp_path, BOARD, [one]) == []


def test_a_picture_of_other_results_has_another_name_and_takes_the_place(
    tmp_path: Path, kept: Path
):
    for one in (record(), record(content={"probe": "another"}), record(attack="strong")):
        write(tmp_path, BOARD, [one], {one.coordinate: kept})
        assert [f"images/{file.name}" for file in (tmp_path / "images").iterdir()] == [
            *rows(BOARD, [one])
        ]


def test_a_picture_that_was_edited_is_found_by_its_hash_until_it_is_drawn_again(
    tmp_path: Path, kept: Path
):
    one = record()
    note_sums(tmp_path, write(tmp_path, BOARD, [one], {one.coordinate: kept}))
    [name] = sums(tmp_path)
    assert edited(tmp_path) == []
    (tmp_path / name).write_bytes(b"better than it was")
    for _ in range(2):  # the page is written again, and nothing is drawn
        [said] = edited(tmp_path)
        assert said.startswith(f"{tmp_path / name} is not the picture that was drawn")
        note_sums(tmp_path)
    note_sums(tmp_path, write(tmp_path, BOARD, [one], {one.coordinate: kept}))
    assert edited(tmp_path) == []
    (tmp_path / name).unlink()
    note_sums(tmp_path)
    assert sums(tmp_path) == {}


def test_pictures_of_an_earlier_version_are_noted_and_those_of_others_are_not(tmp_path: Path):
    (tmp_path / "images").mkdir()
    ours, mine = (tmp_path / "images" / n for n in ("set.d.m.1.0123abcd.png", "diagram.png"))
    for file in (ours, mine):
        file.write_bytes(b"png")
    [said] = edited(tmp_path)
    assert said == f"{ours} has no line in SHA256SUMS; run: bench leaderboard {tmp_path}"
    note_sums(tmp_path)
    assert edited(tmp_path) == []
    assert [*sums(tmp_path)] == [f"images/{ours.name}"]
    assert (ours.parent / "SHA256SUMS").read_text().endswith(f"  {ours.name}\n")


def test_a_board_without_pictures_gets_no_folder_for_them(tmp_path: Path):
    note_sums(tmp_path)
    assert [*tmp_path.iterdir()] == []


# ---- samples

SAMPLED = replace(
    BOARD, track="generation", attacks=(), samplers=("few", "many"), checkpoints=(100,)
)


def sampled(sampler="few", step=0, **changes):
    content = {"probe": f"{changes.get('method', 'alpha')} {sampler} {step}"}
    fields = {"sampler": sampler, "step": step, "content": content, "perturbation": {}}
    return record(attack="", **{**fields, **changes})


def test_a_grid_has_a_line_for_each_class_and_a_column_for_each_sample():
    grid = np.random.default_rng(0).integers(0, 256, (3, 5, 1, 8, 8)).astype(np.uint8)
    drawn = pixels(samples(grid))
    assert drawn.shape == (3 * (SIDE + GAP) - GAP, 5 * (SIDE + GAP) - GAP, 3)
    for line in range(3):
        for column in range(5):
            y, x = line * (SIDE + GAP), column * (SIDE + GAP)
            one = drawn[y : y + SIDE : SIDE // 8, x : x + SIDE : SIDE // 8]
            assert (one == grid[line, column].transpose(1, 2, 0)).all()
    assert (drawn[SIDE : SIDE + GAP] == 255).all()


def test_rows_show_the_end_of_the_training_of_the_first_seed_by_sampler():
    records = [
        sampled("many"),
        sampled("few"),
        sampled("few", step=100),
        sampled("few", seed=4),
        sampled("few", method="beta", reason="no"),
        sampled("few", method="all", ipc=0),
    ]
    found = rows(SAMPLED, records)
    [alpha, whole] = found
    assert [list(of_row) for of_row in found.values()] == [["few", "many"], ["few"]]
    assert alpha.startswith("images/blobs.small.alpha.ipc-1.")
    assert whole.startswith("images/blobs.small.all.ipc-all.")
    text = text_of(sections(SAMPLED, records))
    assert "Samples of the students of seed 3, for each sampler, a line a class; a row" in text
    assert "alpha, IPC 1, small, blobs: few, many\n" in text
    assert "labels" not in text
    assert "clean" not in text
    assert sections(SAMPLED, [sampled(step=100)]) == ()


def test_the_samplers_of_a_row_stand_below_each_other(tmp_path: Path):
    places = {}
    for number, name in enumerate(("few", "many")):
        places[sampled(name).coordinate] = tmp_path / name
        save_file({"samples": np.full((2, 3, 1, 8, 8), 100 * number, np.uint8)}, tmp_path / name)
    both = [sampled("few"), sampled("many")]
    write(tmp_path, SAMPLED, both, {both[0].coordinate: tmp_path / "few"})
    assert missing(tmp_path, SAMPLED, both) == [*rows(SAMPLED, both)]  # one is not at hand
    write(tmp_path, SAMPLED, both, places)
    [name] = rows(SAMPLED, both)
    drawn = pixels((tmp_path / name).read_bytes())
    assert drawn.shape == (4 * (SIDE + GAP) - GAP, 3 * (SIDE + GAP) - GAP, 3)
    assert drawn[0, 0].tolist() == [0] * 3
    assert drawn[2 * (SIDE + GAP), 0].tolist() == [100] * 3
    assert missing(tmp_path, SAMPLED, both) == []
