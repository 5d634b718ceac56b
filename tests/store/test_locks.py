"""A lock is held by one run; a lease, where there are no locks, by one that shows signs of life."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.contract.errors import BenchError
from bench.store import locks
from bench.store.locks import waiting
from bench.store.store import LEASES, Store

HOLDING = """
import sys, pathlib, time
from bench.store import locks
from bench.store.store import Store
locks.LEASE = float(sys.argv[2])
lock = Store(pathlib.Path(sys.argv[1])).lock('condense', 'k')
print('held' if lock else 'refused', flush=True)
time.sleep(60)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose runs take leases."""
    (tmp_path / LEASES).touch()
    return Store(tmp_path)


@contextmanager
def holder(store: Store, lease: float) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has the lease."""
    command = [sys.executable, "-c", HOLDING, str(store.root), str(lease)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """From the call on, the file system answers a lock with this error."""

    def refused(number: int) -> None:
        def flock(*args: Any) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("fcntl.flock", flock)

    return refused


def test_a_lease_is_held_by_one_and_leaves_nothing(store: Store) -> None:
    lock = store.lock("condense", "k")
    assert lock
    assert lock.is_locked
    assert store.lock("condense", "k") is None
    other = store.lock("train", "k")
    assert other
    lock.release()
    again = store.lock("condense", "k")
    assert again
    for one in (lock, again, other):
        one.release()
    assert list((store.root / "locks").iterdir()) == []


def test_the_lease_of_a_killed_process_of_this_machine_is_free_at_once(store: Store) -> None:
    with holder(store, locks.LEASE) as process:
        assert store.lock("condense", "k") is None
        process.kill()
        process.wait()
        lock = store.lock("condense", "k")
    assert lock
    lock.release()


def test_the_lease_of_a_process_that_shows_no_life_is_free_after_a_while(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a machine that is gone, or stands still. Only our own clock counts."""
    monkeypatch.setattr(locks, "LEASE", 1.0)
    with holder(store, 1.0) as process:
        began = time.monotonic()
        while time.monotonic() < began + 2:  # it lives
            assert store.lock("condense", "k") is None
            time.sleep(0.1)
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        while not (lock := store.lock("condense", "k")):
            assert time.monotonic() < began + 20
            time.sleep(0.1)
        process.send_signal(signal.SIGCONT)
        assert time.monotonic() - began > 0.5
    lock.release()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_runs_take_leases(
    tmp_path: Path, no_flock: Callable[[int], None], number: int
) -> None:
    no_flock(number)
    store = Store(tmp_path)
    lock = store.lock("condense", "k")
    assert lock
    assert store.lock("condense", "k") is None
    lock.release()
    board = tmp_path / "matrix.toml"
    board.touch()
    with waiting(board, "writes to it"):
        assert (tmp_path / "matrix.toml.lease").exists()
    assert not (tmp_path / "matrix.toml.lease").exists()


def test_a_lock_that_fails_otherwise_is_told_and_costs_no_finished_work(
    tmp_path: Path, no_flock: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    no_flock(errno.EIO)
    with pytest.raises(BenchError, match=r"cannot be locked \(Input/output error\); .*--store"):
        Store(tmp_path).lock("condense", "k")
    board = tmp_path / "matrix.toml"
    board.touch()
    with waiting(board, "writes to it"):
        assert "see that no other run writes to it now" in capsys.readouterr().err
