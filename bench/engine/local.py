"""A process for every job, so that a plugin that crashes, hangs or eats the memory fails alone.

One bundle of jobs runs in one process, which is used for nothing else. However a bundle ends, by
its last outcome, by a crash, at a limit or by `close`, its process is killed together with all
that it has started.
"""

from __future__ import annotations

import multiprocessing.connection
import pickle
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil

from bench.contract.errors import BenchError
from bench.contract.limits import Limits
from bench.engine.executor import Event, Failed, Job, Progress, Slot
from bench.engine.fork import fork, packed, sentence

LOOK = 0.2  # seconds between two looks at the processes


GRACE = 0.25  # seconds past the time limit, in which a hung job writes its traceback to the log


@dataclass
class _Bundle:
    jobs: list[Job]  # still to be done; the first of them runs now
    slot: Slot
    process: ForkServerProcess
    pipe: Connection
    since: float  # when the running job began
    root: psutil.Process | None = None  # None: it died before we could look at it
    helpers: list[psutil.Process] = field(default_factory=list)  # descendants, when last seen
    baseline: int = 0  # bytes that the server has, shared with the process


class Local:
    """At most `jobs` processes at a time, with one thread of torch and these limits.

    `preload` names modules that jobs will want; the server that forks them imports each once,
    and leaves out those that cannot be imported.

    A context manager, for use from one thread: `start` bundles while some are `free`, then read
    `events`.
    """

    def __init__(self, slots: Sequence[Slot], limits: Limits) -> None:
        if not slots:
            raise BenchError("no slot: nothing can be done; expected at least 1")
        self.slots, self.limits = tuple(slots), limits
        self._bundles: list[_Bundle] = []
        self._dying: list[_Bundle] = []  # killed, and not yet gone
        self._events: list[Event] = []
        self._next_look = self._next_search = 0.0

    @property
    def free(self) -> int:
        """How many bundles may be started now."""
        return len(self.slots) - len(self._bundles)

    def start(self, jobs: Sequence[Job]) -> None:
        """Run a bundle: its jobs one after another in one fresh process.

        A job that takes the process down fails alone; those after it go on in another process.
        Raises RuntimeError if no worker is free, BenchError if there is nothing to fork from.
        """
        if not self.free:
            raise RuntimeError(
                f"all {len(self.slots)} workers are busy; start bundles while `free` > 0"
            )
        calls: list[tuple[Job, bytes]] = []
        for job in jobs:
            try:
                calls.append((job, packed(job)))
            except BenchError as error:
                self._events.append(Failed(job.id, str(error)))
        if not calls:
            return
        busy = [bundle.slot for bundle in self._bundles]
        slot = next(s for s in self.slots if busy.count(s) < self.slots.count(s))
        preload = tuple(dict.fromkeys(module for job in jobs for module in job.modules))
        process, pipe = fork(calls, slot.device, self.limits.seconds, preload)
        bundle = _Bundle([job for job, _ in calls], slot, process, pipe, time.monotonic())
        self._bundles.append(bundle)
        with suppress(psutil.Error):  # it may be dead already
            bundle.root = psutil.Process(process.pid)
            server = bundle.root.parent()
            bundle.baseline = _private_bytes([server]) if server else 0

    def events(self, timeout: float = 0.1) -> list[Event]:
        """What has happened, in order; waits up to `timeout` seconds for something to happen."""
        until = time.monotonic() + timeout
        while True:
            if self._bundles:
                left = 0.0 if self._events else max(0.0, until - time.monotonic())
                ends = [end for b in self._bundles for end in (b.pipe, b.process.sentinel)]
                multiprocessing.connection.wait(ends, min(left, LOOK))
            self._reap()
            for bundle in tuple(self._bundles):
                self._listen(bundle)
            if time.monotonic() >= self._next_look:
                self._look()
            if self._events or not self._bundles or time.monotonic() >= until:
                events, self._events = self._events, []
                return events

    def close(self) -> None:
        """End all that runs; its jobs have no outcome. The server stays, for other workers."""
        running = tuple(self._bundles)
        self._end(*running)
        for bundle in self._dying:
            bundle.process.join(5)  # not for ever: a driver can hold a process that was killed
        self._reap()
        for job in (job for bundle in running for job in bundle.jobs[:1]):
            _delete_if_empty(job.log)

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self, bundle: _Bundle) -> None:
        """Take in what a process has said, and whether it has died."""
        dead = bundle.process.exitcode is not None  # asked first: its last words are in the pipe
        while bundle.jobs and bundle.pipe.poll():
            try:
                message = bundle.pipe.recv_bytes()
            except (EOFError, OSError):
                bundle.process.join(1)
                dead = True
                break
            try:
                event: Event = pickle.loads(message)
            except Exception as error:
                reason = f"the result cannot be read back: {sentence(error)}"
                event = Failed(bundle.jobs[0].id, reason)
            if not isinstance(event, Progress):
                _delete_if_empty(bundle.jobs.pop(0).log)
                bundle.since = time.monotonic()
            self._events.append(event)
        if not bundle.jobs:
            self._end(bundle)
        elif dead:
            self._fail(bundle, _death(bundle.process.exitcode))

    def _look(self) -> None:
        """Hold all that runs to its limits."""
        now = time.monotonic()
        seconds, memory_gb = self.limits.seconds, self.limits.memory_gb
        if now >= self._next_search:
            for bundle in self._bundles:
                bundle.helpers = _descendants(bundle.root)
            # Slow where there are thousands of processes: never more than a tenth of our time.
            self._next_search = now + 10 * (time.monotonic() - now)
        for bundle in tuple(self._bundles):
            tree = [bundle.root, *bundle.helpers] if bundle.root else bundle.helpers
            used = _private_bytes(tree) - bundle.baseline
            if bundle.helpers:  # which that figure charges in full for what they share
                used = min(used, _proportional_bytes(tree))
            if now - bundle.since > seconds + GRACE:
                self._fail(bundle, f"passed its time limit of {seconds:g} s")
            elif used > memory_gb * 1e9:
                self._fail(bundle, f"passed its memory limit of {memory_gb:g} GB")
        self._next_look = now + LOOK

    def _fail(self, bundle: _Bundle, reason: str) -> None:
        """The running job is at fault; those after it go on in a fresh process."""
        self._end(bundle)
        _delete_if_empty(bundle.jobs[0].log)
        self._events.append(Failed(bundle.jobs[0].id, reason))
        self.start(bundle.jobs[1:])

    def _end(self, *bundles: _Bundle) -> None:
        for bundle in bundles:
            # Those seen earlier count, too: what a dead process leaves is nobody's descendant.
            for process in (*_descendants(bundle.root), bundle.root, *bundle.helpers):
                with suppress(psutil.Error):
                    if process:
                        process.kill()
            self._bundles.remove(bundle)
            bundle.pipe.close()
        self._dying += bundles

    def _reap(self) -> None:
        """Let go of the processes that are gone. None is waited for: the next stage begins while
        the kernel takes a dead one's memory apart."""
        gone = [bundle for bundle in self._dying if bundle.process.exitcode is not None]
        for bundle in gone:
            bundle.process.close()
            self._dying.remove(bundle)


def _descendants(root: psutil.Process | None) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return root.children(recursive=True) if root else []
    return []


def _private_bytes(processes: Iterable[psutil.Process]) -> int:
    """Resident memory but for files and what is explicitly shared; costs microseconds."""
    total = 0
    for process in processes:
        with suppress(psutil.Error):
            memory = process.memory_info()
            total += memory.rss - getattr(memory, "shared", 0)
    return total


def _proportional_bytes(processes: Iterable[psutil.Process]) -> int:
    """Resident memory, a page divided among those that share it; costs many milliseconds."""
    total = 0
    for process in processes:
        with suppress(psutil.Error):
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.uss)
    return total


def _death(code: int | None) -> str:
    if code is None:
        return "the process closed its pipe before the job was done"
    if code >= 0:
        return f"the process exited with code {code} before the job was done"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    name = next((s.name for s in signal.Signals if s == -code), f"signal {-code}")
    return f"the process died of {name}{hint}"


def _delete_if_empty(log: Path | None) -> None:
    with suppress(OSError):
        if log and not log.stat().st_size:
            log.unlink()
