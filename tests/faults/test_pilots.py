"""Runs that share a store end with the tables of one run, whatever befalls some of them."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import (
    PATIENCE,
    SMALL,
    Shell,
    comes_to,
    contents,
    ended,
    records,
    signal_all,
    stages,
    tables,
    write_board,
)

from bench.store.store import LEASES, Store

HURRIED = """
from bench.engine.deadline import Deadline
from bench.engine import walk
done = []
def counted(self, stage, found, status, heard=walk.Walk._done):
    done.append(status == "done")
    heard(self, stage, found, status)
walk.Walk._done = counted
Deadline.left = property(lambda self: 9.0 if sum(done) < 20 else 0.0)
from bench.cli import main
main()
"""
"""A run whose time is over when it has finished twenty stages."""

SHORT_LEASES = """
from bench.store import locks
locks.LEASE = 2.0
from bench.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("leases", [False, True], ids=["locks", "leases"])
def test_pilots_that_end_before_the_work_does_leave_the_tables_of_one_run(
    reference: Any, shell: Shell, tmp_path: Path, leases: bool
) -> None:
    folder, store = write_board(tmp_path / "board"), tmp_path / "store"
    store.mkdir()
    if leases:
        (store / LEASES).touch()
    command = ("run", folder, "--store", store, "--jobs", 1, "--minutes", 30)
    codes = []
    while not codes or 75 in codes[-1]:
        with (
            shell.begun(*command, code=HURRIED) as one,
            shell.begun(*command, code=HURRIED) as other,
        ):
            both = [ended(one), ended(other)]
        codes.append([run.code for run in both])
        assert {*codes[-1]} <= {0, 75}, both
        if 75 in codes[-1]:
            assert "work is left: its time is over; " in both[codes[-1].index(75)].out
            assert not (folder / "README.md").exists() or 0 in codes[-1]
        assert len(codes) < 9
    assert [75, 75] in codes
    assert tables(folder) == tables(reference.board)
    assert contents(folder) == contents(reference.board)
    assert shell.calls == reference.shell.calls  # nothing was done twice
    assert Store(store).doubled == 0
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".lease") == []


def slow_board(tmp_path: Path) -> tuple[Path, Path, tuple[Any, ...]]:
    """A board with a set that takes as long as the test wants, its store, and how to run it."""
    changes: dict[str, Any] = {**SMALL, "methods": ["slow"], "controls": None}
    folder, store = write_board(tmp_path / "board", **changes), tmp_path / "store"
    store.mkdir()
    return folder, store, ("run", folder, "--store", store, "--jobs", 1)


def begun(shell: Shell, times: int) -> Callable[[], bool]:
    return lambda: shell.calls.count("condense slow") >= times


@pytest.mark.slow
def test_a_store_that_loses_its_locks_costs_work_and_no_figure(
    shell: Shell, tmp_path: Path
) -> None:
    folder, store, command = slow_board(tmp_path)
    with shell.begun(*command) as one:
        comes_to(one, begun(shell, 1))
        shutil.rmtree(store / "locks")
        with shell.begun(*command) as other:
            comes_to(other, begun(shell, 2))
            (shell.folder / "healed").touch()
            assert [ended(run).code for run in (one, other)] == [0, 0]
    assert stages(store) == {"condense": 1, "load": 1, "measure": 1, "probe": 1, "train": 1}
    assert Store(store).doubled >= 1
    assert len(records(folder)) == 1
    assert f"{Store(store).doubled} results were made twice" in shell("store", "--store", store).out


@pytest.mark.slow
def test_what_a_machine_that_stands_still_was_at_is_done_by_another_and_its_return_is_harmless(
    shell: Shell, tmp_path: Path
) -> None:
    folder, store, command = slow_board(tmp_path)
    (store / LEASES).touch()
    with shell.begun(*command, code=SHORT_LEASES) as still:
        comes_to(still, begun(shell, 1))
        still.send_signal(signal.SIGSTOP)
        with shell.begun(*command, code=SHORT_LEASES) as other:
            comes_to(other, begun(shell, 2))
            (shell.folder / "healed").touch()
            assert ended(other).code == 0
        before = tables(folder)
        still.send_signal(signal.SIGCONT)
        assert ended(still).code == 0
    assert tables(folder) == before
    assert len(records(folder)) == 1


@pytest.mark.slow
def test_what_a_killed_pilot_was_at_is_free_at_once(shell: Shell, tmp_path: Path) -> None:
    folder, store, command = slow_board(tmp_path)
    (store / LEASES).touch()
    with shell.begun(*command) as one:
        comes_to(one, begun(shell, 1))
        signal_all(one, signal.SIGKILL)
        one.wait(PATIENCE)
    (shell.folder / "healed").touch()
    assert shell(*command).code == 0
    assert len(records(folder)) == 1
