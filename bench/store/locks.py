"""Locks of files: those of the file system, or leases where it has none that hold.

Neither is a promise. Two runs that believe to hold one lock do one thing twice, to the same bytes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import SoftFileLease

LEASE = 90.0  # seconds without a sign of life after which what was leased is free

NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
"""What a file system says that knows no locks."""


@dataclass
class Lock:
    """A lock of this process, which `let_go` ends; once released, it stays so."""

    let_go: Callable[[], None] | None

    @property
    def is_locked(self) -> bool:
        return self.let_go is not None

    def release(self) -> None:
        let_go, self.let_go = self.let_go, None
        if let_go:
            let_go()


def held(path: Path, flags: int = os.O_RDWR, *, leases: bool = False) -> Lock | None:
    """A lock on a file, or a lease where the file system has no locks; None if another process
    has it. Raises OSError."""
    if not leases:
        try:
            return locked(path, flags)
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
    return _leased(path.with_name(f"{path.name}.lease"))


_watched: dict[Path, SoftFileLease] = {}  # leases of others: they know since when nothing moved


def _leased(path: Path) -> Lock | None:
    """A file that its holder touches as long as it lives. Another one takes it when it has seen no
    touch for `LEASE` seconds of its own clock, so that clocks may differ between machines; then
    both may be at work. Raises OSError."""
    from filelock import SoftFileLease, Timeout

    lease = _watched.pop(path, None) or SoftFileLease(
        path, lease_duration=LEASE, thread_local=False
    )
    try:
        lease.acquire(timeout=0)
    except Timeout:
        _watched[path] = lease
        return None
    return Lock(lease.release)


def locked(path: Path, flags: int = os.O_RDWR) -> Lock | None:
    """A lock on a file, or None if another process has it. Raises OSError."""
    descriptor = os.open(path, flags, 0o666)  # and the umask: a group may share it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return None
        raise
    return Lock(partial(os.close, descriptor))


@contextmanager
def waiting(path: Path, what: str, *, leases: bool = False) -> Iterator[None]:
    """Inside, a file that is there is locked; what is waited for, and since when, is told.

    Where that cannot be, a line says so: finished work is not lost for want of a lock.
    """
    lock, told = None, False
    try:
        while not (lock := held(path, leases=leases)):
            if not told:
                told = True
                sys.stderr.write(
                    f"waiting since {time.strftime('%H:%M:%S')} for another run that {what} "
                    f"(it holds a lock on {path}): wait, or end that run\n"
                )
            time.sleep(0.2)
    except OSError as error:
        sys.stderr.write(
            f"{path} cannot be locked ({error.strerror}): see that no other run {what} now\n"
        )
    try:
        yield
    finally:
        if lock:
            lock.release()
