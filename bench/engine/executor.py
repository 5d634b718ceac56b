"""What runs jobs, as a scheduler sees it: an executor with slots, and what is said through it.

The scheduler knows nothing more. Whether a slot is a process of this machine or a place on a
cluster is the executor's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.contract.limits import Limits


@dataclass(frozen=True)
class Slot:
    """A place that runs one job at a time, on a device of torch's: "cpu", "cuda:1"."""

    device: str = "cpu"


@dataclass(frozen=True)
class Job:
    """A call `function(*arguments, device=str, progress=callable(done, total))`.

    The device is that of the slot in which the job starts. `function` and the classes of
    `arguments` can be imported, and not from `__main__`, which the process does not have. What
    the call prints goes to the file `log`.
    """

    id: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    log: Path | None = None
    provides: tuple[str, ...] = ()  # distributions whose components the call uses, sorted
    modules: tuple[str, ...] = ()  # what it imports: an executor may have that ready


@dataclass(frozen=True)
class Done:
    """What a job returned."""

    id: str
    value: Any


@dataclass(frozen=True)
class Failed:
    """Why a job has no value, in one sentence. `unsupported`: a component declined."""

    id: str
    reason: str
    unsupported: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a job is; sent at most ten times a second, and at its end."""

    id: str
    done: int
    total: int


Event = Done | Failed | Progress


class Executor(Protocol):
    """Runs bundles of jobs. Used from one thread; jobs of a bundle run one after another."""

    @property
    def free(self) -> int:
        """How many bundles may be started now."""

    def start(self, jobs: Sequence[Job]) -> None:
        """Run a bundle. Each of its jobs ends in one `Done` or one `Failed`, unless closed."""

    def events(self, timeout: float) -> list[Event]:
        """What has happened, in order; waits up to `timeout` seconds for something to happen."""

    def close(self) -> None:
        """End all that runs; its jobs have no outcome."""


Executors = Callable[[Sequence[Slot], Limits], Executor]
"""What makes an executor for some slots, whose jobs stay within these limits."""
