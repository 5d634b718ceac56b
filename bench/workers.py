"""A process for every job, forked from a warm server, so that a plugin that fails fails alone.

The server is a process that has torch loaded and does nothing but fork (the standard library's
`forkserver`); a fork of it is ready in milliseconds and shares its pages. One bundle of jobs
runs in one process and the process is used for nothing else. However a bundle ends, by its last
outcome, by a crash, at a limit or by `close`, its process is killed together with all that it
started. The server starts with the first job and ends with this process.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

from bench.types import BenchError

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",  # or the order of a set of strings differs between two runs
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic only with a fixed workspace
    # glibc returns large blocks to the kernel at once, and each batch pays the page faults again
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
}
"""What workers (the server and all that it forks) have in their environment, whatever we have."""

# torch alone is not enough: the first optimizer of a process imports torch._dynamo, 1.5 s.
PRELOAD = ("torch", "torch.optim", "torch._dynamo", "torch.nn.functional", "safetensors.torch")

SAMPLE = 0.2  # seconds between two looks at the processes
GRACE = 0.25  # seconds past the time limit, in which a hung job writes its traceback to the log
PROGRESS = 0.1  # seconds between two reports of progress


@dataclass(frozen=True)
class Limits:
    """Of one job: seconds on the clock; memory in GB (10^9 bytes) beyond what the server has."""

    seconds: float = 3600
    memory_gb: float = 8


@dataclass(frozen=True)
class Job:
    """A call `function(*arguments, progress=callable(done, total))`.

    `function` and the classes of `arguments` are importable, and not from `__main__`, which
    workers do not have. What the job prints goes to the file `log`, which is deleted if empty.
    """

    id: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    log: Path | None = None


@dataclass(frozen=True)
class Done:
    """What a job returned, its wall time, and by how much memory (10^6 bytes) grew at most."""

    id: str
    value: Any
    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Failed:
    """Why a job has no value, in one sentence. `unsupported`: a component declined."""

    id: str
    reason: str
    unsupported: bool = False
    seconds: float = 0


@dataclass(frozen=True)
class Progress:
    id: str
    done: int
    total: int


Event = Done | Failed | Progress


@dataclass
class _Bundle:
    jobs: list[Job]  # still to be done; the first of them runs now
    process: ForkServerProcess
    pipe: Connection
    root: psutil.Process | None  # None: died before we could look at it
    baseline: int  # bytes that the server has
    since: float  # when the first job began
    helpers: list[psutil.Process] = field(default_factory=list)  # descendants, when last seen
    peak: int = 0  # bytes of the tree beyond the baseline, in this job

    def end_job(self) -> Job:
        self.since, self.peak = time.monotonic(), 0
        return self.jobs.pop(0)


class Workers:
    """At most `jobs` processes at a time, each with its limits and `threads` threads of torch.

    A context manager, for one thread: `start` bundles while some are `free`, then read `events`.
    """

    def __init__(self, jobs: int, limits: Limits, threads: int = 1) -> None:
        if jobs < 1:
            raise BenchError(f"{jobs} workers; expected at least 1, as in `--jobs 1`")
        self.jobs, self.limits, self.threads = jobs, limits, threads
        self._bundles: list[_Bundle] = []
        self._events: list[Event] = []
        self._next_look = 0.0

    @property
    def free(self) -> int:
        """How many more bundles may be started now."""
        return self.jobs - len(self._bundles)

    def start(self, jobs: Sequence[Job]) -> None:
        """Run a bundle: its jobs one after another in one fresh process.

        A job that takes the process down fails alone; those after it go on in another process.
        Raises RuntimeError if no worker is free, BenchError if no process can be forked.
        """
        if not self.free:
            raise RuntimeError(f"all {self.jobs} workers are busy; start bundles while `free` > 0")
        self._launch(jobs)

    def events(self, timeout: float = 0.1) -> list[Event]:
        """What has happened, in order; waits up to `timeout` seconds for something to happen."""
        until = time.monotonic() + timeout
        while True:
            left = 0.0 if self._events else max(0.0, until - time.monotonic())
            if self._bundles:
                ends = [end for b in self._bundles for end in (b.pipe, b.process.sentinel)]
                multiprocessing.connection.wait(ends, min(left, SAMPLE))
            for bundle in tuple(self._bundles):
                self._listen(bundle)
            if time.monotonic() >= self._next_look:
                self._look()
            if self._events or not self._bundles or time.monotonic() >= until:
                events, self._events = self._events, []
                return events

    def close(self) -> None:
        """End all that runs. Nothing is left behind but the server, which waits for more."""
        running = tuple(self._bundles)
        self._end(*running)
        for bundle in running:
            _delete_if_empty(bundle.jobs[0].log)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self, jobs: Sequence[Job]) -> None:
        calls: dict[Job, bytes] = {}
        ready: list[Job] = []
        payloads: list[bytes] = []
        for job in jobs:
            try:
                payloads.append(pickle.dumps((job.function, job.arguments)))
            except Exception as error:
                reason = f"its arguments cannot be sent to a worker: {_sentence(error)}"
                self._events.append(Failed(job.id, reason))
            else:
                ready.append(job)
        if not ready:
            return
        calls = [(j.id, p, j.log) for j, p in zip(ready, payloads, strict=True)]
        process, pipe = _fork(calls, self.limits.seconds, self.threads)
        root, baseline = None, 0
        with suppress(psutil.Error):
            root = psutil.Process(process.pid)
            baseline = _private_bytes([server]) if (server := root.parent()) else 0
        self._bundles.append(_Bundle(ready, process, pipe, root, baseline, time.monotonic()))
