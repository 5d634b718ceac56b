from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from bench.stages.checkpoint import StoredCheckpoint


def state(value: float) -> Callable[[], Mapping[str, Tensor]]:
    return lambda: {"a/b": torch.full((2,), value), "done": torch.tensor(3)}


def test_what_was_saved_last_is_loaded_with_what_was_counted_by_then(tmp_path: Path) -> None:
    path = tmp_path / "partial" / "train-1.safetensors"
    first = StoredCheckpoint(path, interval=0.0)
    first.passes.forward, first.passes.backward, first.drawn = 5, 4, 2
    first.save(state(1.0))
    first.save(state(2.0))

    again = StoredCheckpoint(path)
    assert again.load()["a/b"].tolist() == [2.0, 2.0]
    assert (again.passes.forward, again.passes.backward, again.drawn) == (5, 4, 2)
    assert again.seconds > 0


def test_the_state_is_asked_for_only_when_a_minute_has_passed(tmp_path: Path) -> None:
    def unwanted() -> Mapping[str, Tensor]:
        raise AssertionError("too early")

    StoredCheckpoint(tmp_path / "x.safetensors").save(unwanted)


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for content in (b"", b"nonsense", b"\x10" * 64):
        path.write_bytes(content)
        assert StoredCheckpoint(path).load() == {}


def test_without_a_path_nothing_is_kept() -> None:
    checkpoint = StoredCheckpoint(interval=0.0)
    checkpoint.save(state(1.0))
    checkpoint.remove()
    assert checkpoint.load() == {}


def test_at_the_last_call_of_a_run_the_state_is_kept_once(tmp_path: Path) -> None:
    path, asked = tmp_path / "x.safetensors", []

    def wanted() -> Mapping[str, Tensor]:
        asked.append(path.exists())
        return state(1.0)()

    now = time.monotonic()
    StoredCheckpoint(path, last_call=now + 1000).save(wanted)  # to come
    StoredCheckpoint(path, last_call=now - 1).save(wanted)  # before it began
    assert asked == []
    checkpoint = StoredCheckpoint(path, last_call=time.monotonic() + 0.05)
    time.sleep(0.1)
    checkpoint.save(wanted)
    checkpoint.save(wanted)
    assert asked == [False]
    assert checkpoint.load()
