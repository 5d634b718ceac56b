"""The limits of one stage: time and memory; and when an import is said to hang."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from bench.contract.typed import Above0

PATIENCE = 5
"""So many times its limit is an import given that computes: a busy machine is slow, and no hang."""


@dataclass(frozen=True)
class Limits:
    """Of one job: seconds on the clock, and GB (10^9 bytes) that its process may hold.

    What the server has (torch, a few hundred MB) is shared by all and charged to none.
    """

    seconds: Above0 = 6 * 3600  # which no stage of a few hours comes to
    memory_gb: Above0 = 8


def hangs(process: int, seconds: float, limit: float) -> bool:
    """Whether a process has been at an import for too many `seconds`."""
    return seconds > PATIENCE * limit or (seconds > limit and not wants_to_run(process))


def wants_to_run(process: int) -> bool:
    """Whether a process computes, or would if it got a core."""
    import psutil  # which not every command needs

    with suppress(psutil.Error):
        return bool(psutil.Process(process).status() == psutil.STATUS_RUNNING)
    return False
