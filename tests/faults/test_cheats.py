"""Methods that have found their way to the test images: what shows it, and what it costs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import SMALL, Shell, write_board

from bench.contract.errors import BenchError
from bench.engine.judged import suspicious
from bench.stages.closed import closed

Rng = np.random.Generator


def split(rng: Rng, images: int) -> dict[str, Any]:
    """Images of two classes, each a template and noise."""
    labels = np.arange(images) % 2
    noise = 0.1 * rng.standard_normal((images, 1, 8, 8))
    pixels = (0.3 + 0.4 * labels)[:, None, None, None] + noise
    return {"pixels": (255 * pixels.clip(0, 1)).astype(np.uint8), "labels": labels}


def flat(pixels: Any) -> Any:
    return pixels.reshape(len(pixels), -1) / 255


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (lambda test, train, rng: flat(test["pixels"][:10]), 10),
        (lambda test, train, rng: flat(test["pixels"][:10]) + rng.normal(0, 0.01, (10, 64)), 10),
        (lambda test, train, rng: flat(train["pixels"][:10]), 0),
        (lambda test, train, rng: flat(train["pixels"][:80]).reshape(8, 10, 64).mean(0), 0),
        (lambda test, train, rng: rng.random((10, 64)), 0),
    ],
    ids=["copies", "noisy copies", "training images", "means", "noise"],
)
def test_copies_of_test_images_are_told_from_images_that_are_none(
    made: Callable[..., Any], found: int
) -> None:
    rng = np.random.default_rng(0)
    test, train = split(rng, 200), split(rng, 1000)
    images = made(test, train, rng)
    assert suspicious(images, np.arange(10) % 2, test, train) == found


def test_a_test_image_that_also_stands_in_the_training_split_is_no_leak() -> None:
    rng = np.random.default_rng(0)
    train = split(rng, 1000)
    images = flat(train["pixels"][:10])
    assert suspicious(images, train["labels"][:10], train, train) == 0


@pytest.mark.slow
def test_a_set_of_test_images_does_not_hold_when_it_is_measured_again(shell: Shell) -> None:
    board = write_board(shell.folder / "board", **{**SMALL, "methods": ["smuggler"]})
    assert shell("run", board).code == 0
    done = shell("run", board, "--check", "--store", ".bench")
    assert done.code == 1
    said = "smuggler, ipc 1, seed 0: 8 of 8 images lie nearer to a test image than to half of"
    assert said in done.out
    assert "toy-first, ipc" not in done.out


@pytest.mark.slow
def test_a_set_that_its_own_process_has_let_through_is_judged_again(shell: Shell) -> None:
    board = write_board(shell.folder / "board", **{**SMALL, "methods": ["smuggler-patched"]})
    assert shell("run", board).code == 0
    done = shell("run", board, "--check", "--store", ".bench")
    assert done.code == 1
    assert "smuggler-patched, ipc 1, seed 0: the condensed set has 24 images; at most 8" in done.out


@pytest.mark.parametrize(
    "name", ["smuggler-store", pytest.param("smuggler-hushed", marks=pytest.mark.slow)]
)
def test_a_method_that_opens_the_test_split_of_the_store_fails(shell: Shell, name: str) -> None:
    board = write_board(shell.folder / "board", **{**SMALL, "methods": [name]})
    done = shell("run", board)
    assert done.code == 1
    assert "test.safetensors; expected a method and its teacher to see no test split" in done.out
    assert not (board / "records" / f"{name}.jsonl").exists()
    assert (board / "records" / "toy-first.jsonl").exists()


def test_files_that_are_opened_elsewhere_are_named_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, code = tmp_path / "digits.csv", tmp_path / "code.py"
    for path in (data, code):
        path.write_text("1")
    with closed(tmp_path / "store"):
        data.read_text()
        code.read_text()
        (tmp_path / "written").write_text("2")
    assert capsys.readouterr().err == f"opened outside the store: {data}\n"
    data.read_text()
    assert capsys.readouterr().err == ""


def test_a_test_split_is_closed_inside_and_open_before_and_after(tmp_path: Path) -> None:
    path = tmp_path / "load" / "0" / "test.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    (path.parent / "train.safetensors").write_bytes(b"")
    path.read_bytes()
    with closed(tmp_path):
        (path.parent / "train.safetensors").read_bytes()
    said = "expected a method and its teacher to see no test split"
    with pytest.raises(BenchError, match=said), closed(tmp_path):
        path.read_bytes()
    path.read_bytes()
