"""What the operating system says of processes, and what it does for us: Linux does most."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

ADOPTS = sys.platform == "linux"
"""Can a process adopt what its descendants detach? Elsewhere that outlives whatever started it."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>


def adopt() -> None:
    """Become the parent of every descendant that loses its own, also of a detached one."""
    if ADOPTS:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with(parent: int) -> None:
    """Be killed when the process `parent`, which has just forked this one, ends."""
    if ADOPTS:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the kernel was asked
            os._exit(1)


def children(process: int) -> set[int]:
    """The ids of the children of a process; nothing for one that is gone."""
    found: set[int] = set()
    try:
        for thread in Path(f"/proc/{process}/task").iterdir():
            found |= set(map(int, (thread / "children").read_text().split()))
    except OSError:  # another system, or a kernel without this file, or it is gone
        with suppress(psutil.Error):
            return {child.pid for child in psutil.Process(process).children()}
    return found


def descendants(process: int) -> set[int]:
    """The ids of all processes below a process."""
    found: set[int] = set()
    waiting = [process]
    while waiting:
        new = children(waiting.pop()) - found
        found |= new
        waiting += new
    return found


def kill(processes: Iterable[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def private_bytes(processes: Iterable[int]) -> int:
    """Resident memory but for files and what is explicitly shared; costs microseconds."""
    total = 0
    for process in processes:
        with suppress(psutil.Error):
            memory = psutil.Process(process).memory_info()
            total += memory.rss - getattr(memory, "shared", 0)
    return total


def proportional_bytes(processes: Iterable[int]) -> int:
    """Resident memory, a page divided among those that share it; costs many milliseconds."""
    total = 0
    for process in processes:
        with suppress(psutil.Error):
            memory = psutil.Process(process).memory_full_info()
            total += getattr(memory, "pss", memory.uss)
    return total
