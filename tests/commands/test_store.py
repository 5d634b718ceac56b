"""`bench store` says what a store holds, and removes what no board needs and no run holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import Ended, snapshot, stages, write_board

from bench.store.store import Store

Bench = Callable[..., Ended]


@pytest.fixture
def store(reference: Any, tmp_path: Path) -> Path:
    """The store of a finished board, and what a killed run has left in it, long ago and today."""
    folder = Path(shutil.copytree(reference.store, tmp_path / "store"))
    for name in ("partial", "tmp", "logs"):
        (folder / name).mkdir(exist_ok=True)
    for name in ("partial/train-old.safetensors", "partial/train-new.safetensors"):
        (folder / name).write_bytes(b"x" * 1000)
    (folder / "tmp" / "train-old").mkdir()
    (folder / "tmp" / "train-old" / "result.safetensors").write_bytes(b"x" * 500)
    for name in ("partial/train-old.safetensors", "tmp/train-old"):
        os.utime(folder / name, (0, 0))
    return folder


def rows(text: str) -> dict[str, list[str]]:
    split = [line.rsplit(maxsplit=2) for line in text.splitlines()]
    return {row[0]: row[1:] for row in split if len(row) == 3}


def test_what_a_store_holds_is_told_and_nothing_is_removed(bench: Bench, store: Path) -> None:
    before = snapshot(store)
    done = bench("store", "--store", store)
    assert done.code == 0, done
    found = rows(done.out)
    assert {"condense", "load", "measure", "probe", "train", "all", "of no use"} <= {*found}
    assert found["train"][1] == "31"  # 10 stages of a folder and two files each, in a folder
    assert found["of no use"][1] == "3"
    assert "made twice" not in done.out
    assert snapshot(store) == before


def test_what_runs_have_left_long_ago_goes_and_results_stay(bench: Bench, store: Path) -> None:
    kept = stages(store)
    assert bench("store", "--store", store, "--prune").code == 0
    assert stages(store) == kept
    assert [path.name for path in (store / "partial").iterdir()] == ["train-new.safetensors"]
    assert list((store / "tmp").iterdir()) == []


def test_results_that_no_named_board_needs_go_and_no_others(
    bench: Bench, store: Path, reference: Any, tmp_path: Path
) -> None:
    kept = stages(store)
    half = write_board(tmp_path / "half", ipc=[1], seeds=[0])
    assert bench("store", reference.board, half, "--store", store, "--prune").code == 0
    assert stages(store) == kept
    assert bench("store", half, "--store", store, "--prune").code == 0
    left = stages(store)
    assert left["train"] == 3  # a method, a control and the ceiling
    done = bench("run", half, "--store", store)
    assert done.code == 0
    assert stages(store) == left  # nothing was made again


def test_a_result_that_a_run_holds_stays(bench: Bench, store: Path, tmp_path: Path) -> None:
    other = write_board(tmp_path / "other", datasets=["closed"])
    key = next((store / "condense").iterdir()).name
    lock = Store(store).lock("condense", key)
    assert lock
    assert bench("store", other, "--store", store, "--prune").code == 0
    lock.release()
    assert stages(store) == {"condense": 1}


def test_the_store_is_where_the_environment_says(
    bench: Bench, store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reference: Any
) -> None:
    monkeypatch.setenv("BENCH_STORE", str(store))
    assert "train" in rows(bench("store").out)
    board = write_board(tmp_path / "board")
    assert bench("run", board).code == 0
    assert not (tmp_path / ".bench").exists()
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "nowhere"))
    done = bench("store")
    assert done.code == 2
    assert f"there is no store {tmp_path / 'nowhere'}; name another with --store" in done.err
