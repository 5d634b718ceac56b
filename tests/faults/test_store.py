"""What is damaged in a store, or held by another run, costs a line and no figure."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import toyplug
from support import BOARD, SMALL, write_board

from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract.errors import BenchError
from bench.contract.registry import registry_of
from bench.engine.outcome import Outcome
from bench.engine.scheduler import Engine
from bench.stages.plan import Plan
from bench.store.store import Store

REGISTRY = registry_of(toyplug.COMPONENTS)
CHANGES = {**SMALL, "methods": ["noted"], "controls": None}

Bench = Callable[..., Any]


def planned(store: Path, **changes: object) -> tuple[Engine, Plan]:
    document = {k: v for k, v in {**BOARD, **CHANGES, **changes}.items() if v is not None}
    engine = Engine(resolve(parse(document), REGISTRY), Store(store))
    return engine, engine.plan(engine.components.matrix.cells())


def lose(store: Path, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        for done in store.glob(f"{kind}/*"):
            for file in done.iterdir():
                file.unlink()
            done.rmdir()


def damage(store: Path, kind: str) -> None:
    for file in store.glob(f"{kind}/*/*.safetensors"):
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def values(outcome: Outcome) -> dict[str, object]:
    return {id: (found.value, found.content) for id, found in outcome.finished.items()}


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [("condense", "train"), ("load",)])
def test_a_result_that_a_stage_below_finds_damaged_is_made_again_in_the_same_run(
    tmp_path: Path, damaged: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    engine, plan = planned(tmp_path)
    first = engine.execute(plan.stages)
    assert not first.failed
    kinds = ("condense", "train", "probe", "measure")
    lose(tmp_path, tuple(kind for kind in kinds if kind not in damaged))
    for kind in damaged:
        damage(tmp_path, kind)
    again = engine.execute(plan.stages)
    assert not again.failed
    assert values(again) == values(first)
    assert " again" in capfd.readouterr().err


@pytest.mark.slow
def test_a_stage_that_another_run_holds_is_waited_for_with_a_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine, plan = planned(tmp_path)
    held = next(stage for stage in plan.stages if stage.kind == "condense")
    lock = engine.store.lock("condense", engine.key_of(held, {}))
    assert lock is not None
    threading.Timer(2, lock.release).start()
    assert not engine.execute(plan.stages).failed
    said = capfd.readouterr().err
    assert said.count("waiting since") == 1
    assert held.title in said
    assert str(tmp_path) in said
    assert time.strftime("%H:") in said


# ---- a store that a group shares


@pytest.mark.parametrize("part", ["logs", "tmp", "measure"])
def test_a_part_of_a_store_that_another_keeps_for_itself_is_found_before_any_work(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    board = write_board(tmp_path / "board", **SMALL)
    (tmp_path / "store" / part).mkdir(parents=True)
    access = os.access  # the user of these tests may be root, who may write anywhere
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path).name != part and access(path, mode)
    )
    done = bench("run", board, "--store", tmp_path / "store")
    assert done.code == 2
    assert f"store/{part} cannot be read and written" in done.err.replace("\n", "")
    assert "chmod -R g+rwX" in done.err
    assert not (board / "records").exists()


def test_what_is_damaged_and_cannot_be_deleted_is_not_said_to_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    done = store.publish("condense", "k", {"result": {"x": torch.zeros(1)}}, {})
    damage(tmp_path, "condense")
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(BenchError, match="cannot be deleted; let its owner do that"):
        store.read(done)
    monkeypatch.undo()
    with pytest.raises(BenchError, match="is deleted; run again"):
        store.read(done)
