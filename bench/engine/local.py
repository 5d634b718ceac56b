"""This machine: a process for every bundle of jobs, so that a plugin that crashes, hangs or eats
the memory fails alone.

A process is forked from the server of its jobs' distributions and is used for nothing else. When
a bundle ends, by its last outcome, by a crash, at a limit or by `close`, all that it has started
ends, too.
"""

from __future__ import annotations

import pickle
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bench.contract.code import owners
from bench.contract.errors import BenchError
from bench.contract.limits import Limits, hangs
from bench.engine.executor import Done, Event, Failed, Job, Progress, Slot
from bench.engine.fork import NO_SERVER, Link, base_failed, serve
from bench.engine.logs import cut, delete_if_empty
from bench.engine.processes import (
    ADOPTS,
    descendants,
    kill,
    private_bytes,
    proportional_bytes,
)

LOOK = 0.2  # seconds between two looks at the processes
GRACE = 0.25  # seconds past the time limit, in which a hung job writes its traceback to the log
IMPORT = 120  # seconds that a module may take to be imported, where a job has more time than that

DETACHED = (
    "on this system, a process that a plugin detaches can outlive its stage: Linux alone has "
    "subreapers"
)


@dataclass
class _Server:
    """A server of a set of distributions, as far as it has been heard."""

    link: Link
    process: int = 0  # its id, once it is known
    importing: str = ""  # the module at which it is
    since: float = 0.0
    bytes: int = 0  # that its workers share with it
    codes: dict[int, int] = field(default_factory=dict)  # exit codes of its workers, by number

    def hear(self) -> None:
        for message in self.link.heard():
            match message:
                case ["pid", int(process)]:
                    self.process = process
                case ["importing", str(module)]:
                    self.importing, self.since = module, time.monotonic()
                case ["imported"]:
                    self.importing = ""
                    self.bytes = 0
                case ["ended", int(number), int(code)]:
                    self.codes[number] = code


@dataclass
class _Bundle:
    jobs: list[Job]  # still to be done; the first of them runs now
    slot: int
    server: _Server
    link: Link
    number: int  # by which the server knows it: a process id may be used again
    since: float  # when the running job began
    again: bool = False  # its server was killed before
    process: int = 0  # its id, once it has been forked
    below: set[int] = field(default_factory=set)  # its descendants, when last seen


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")


class Local:
    """One bundle a slot at a time, with one thread of torch and these limits; an `Executor`.

    `say` gets a line on what has happened that is no outcome of a job.

    A context manager, for use from one thread: `start` bundles while some are `free`, then read
    `events`.
    """

    def __init__(
        self, slots: Sequence[Slot], limits: Limits, say: Callable[[str], None] = _to_stderr
    ) -> None:
        if not slots:
            raise BenchError("no slots cannot run anything; expected at least 1")
        self.slots, self.limits, self.say = tuple(slots), limits, say
        self._bundles: list[_Bundle] = []
        self._servers: dict[tuple[str, ...], _Server] = {}
        self._refused: dict[str, str] = {}  # modules that no server may import, and why
        self._events: list[Event] = []
        self._next_look = self._next_search = 0.0
        self._number = 0
        if not ADOPTS:
            say(DETACHED)

    @property
    def free(self) -> int:
        """How many bundles may be started now."""
        return len(self.slots) - len(self._bundles)

    def start(self, jobs: Sequence[Job]) -> None:
        """Run a bundle: its jobs one after another in one fresh process.

        A job that takes the process down fails alone; those after it go on in another process.
        Raises RuntimeError if no slot is free, BenchError if there is nothing to fork from.
        """
        if not self.free:
            raise RuntimeError(f"all {len(self.slots)} slots are busy; start while `free` > 0")
        self._start(jobs)

    def _start(self, jobs: Sequence[Job], *, again: bool = False) -> None:
        calls, sent = [], []
        for job in jobs:
            if refused := [self._refused[m] for m in job.modules if m in self._refused]:
                self._events.append(Failed(job.id, refused[0]))
                continue
            try:
                payload = pickle.dumps((job.function, job.arguments))
            except Exception as error:
                self._events.append(Failed(job.id, _unsendable(error)))
            else:
                calls.append((job.id, str(job.log or ""), payload))
                sent.append(job)
        if not sent:
            return
        taken = {bundle.slot for bundle in self._bundles}
        slot = next(number for number in range(len(self.slots)) if number not in taken)
        self._number += 1
        request = {
            "number": self._number,
            "modules": list(dict.fromkeys(module for job in sent for module in job.modules)),
            "device": self.slots[slot].device,
            "seconds": self.limits.seconds,
        }
        provides = tuple(sorted({name for job in sent for name in job.provides}))
        server, link = self._asked(provides, request, pickle.dumps(calls))
        now = time.monotonic()
        self._bundles.append(_Bundle(sent, slot, server, link, self._number, now, again))

    def _asked(
        self, provides: tuple[str, ...], request: Mapping[str, Any], data: bytes
    ) -> tuple[_Server, Link]:
        """A worker, asked of the server for these distributions, or of a new one."""
        server = self._servers.get(provides)
        if server and not server.link.ended:
            with suppress(OSError):
                return server, server.link.ask(request, data)
        server = _Server(serve(request["modules"], self._above(provides)))
        self._servers[provides] = server
        try:
            return server, server.link.ask(request, data)
        except OSError as error:
            raise BenchError(NO_SERVER) from error

    def _above(self, provides: tuple[str, ...]) -> Link | None:
        """The server of most of these distributions, and of no other: it has what they import."""
        found = {
            len(names): server.link
            for names, server in self._servers.items()
            if {*names} < {*provides} and not (server.importing or server.link.ended)
        }
        return found[max(found)] if found else None

    def events(self, timeout: float = 0.1) -> list[Event]:
        """What has happened, in order; waits up to `timeout` seconds for something to happen."""
        until = time.monotonic() + timeout
        while True:
            if self._bundles:
                left = 0.0 if self._events else max(0.0, until - time.monotonic())
                links = [b.link for b in self._bundles] + [b.server.link for b in self._bundles]
                _wait([link for link in links if not link.ended], min(left, LOOK))
            for server in self._servers.values():
                server.hear()  # first: the last words of a process that has ended are in its link
            for bundle in tuple(self._bundles):
                self._listen(bundle)
            self._replace_servers()
            if time.monotonic() >= self._next_look:
                self._look()
            if self._events or not self._bundles or time.monotonic() >= until:
                events, self._events = self._events, []
                return events

    def close(self) -> None:
        """End all that runs; its jobs have no outcome. The base stays, for other executors."""
        for bundle in tuple(self._bundles):
            self._end(bundle)
            delete_if_empty(bundle.jobs[0].log)
        for server in self._servers.values():
            server.link.close()  # it ends, with all that is below it
        self._servers.clear()

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self, bundle: _Bundle) -> None:
        """Take in what a process has said, and whether it has died."""
        for message in bundle.link.heard():
            event: Event | None = None
            match message:
                case ["pid", int(process)] if not bundle.process:
                    bundle.process, bundle.since = process, time.monotonic()
                case ["progress", str(id), int(done), int(total)] if id == bundle.jobs[0].id:
                    self._events.append(Progress(id, done, total))
                case ["done", str(id), value]:
                    event = Done(id, value)
                case ["failed", str(id), str(reason), bool(unsupported)]:
                    event = Failed(id, reason, unsupported)
            if event and event.id == bundle.jobs[0].id:
                delete_if_empty(bundle.jobs.pop(0).log)
                bundle.since = time.monotonic()
                self._events.append(event)
            if not bundle.jobs:
                return self._end(bundle)
        code = bundle.server.codes.pop(bundle.number, None)
        if code is not None:
            bundle.process = 0
            self._fail(bundle, _death(code))
        return None

    def _replace_servers(self) -> None:
        """What ran under a server that is gone runs once more under another one."""
        for provides, server in tuple(self._servers.items()):
            if not server.link.ended:
                continue
            del self._servers[provides]
            lost = [bundle for bundle in self._bundles if bundle.server is server]
            for bundle in lost:
                self._end(bundle)
            server.link.close()
            if not server.process and base_failed():
                raise BenchError(NO_SERVER)
            module = server.importing
            if module and module not in self._refused:
                self._refuse(module, "ended the process that imported it")
            elif lost and not module:
                what = " and ".join(provides) or "the harness"
                self.say(f"the server for {what} was killed; what ran there is tried once more")
            for bundle in lost:
                if bundle.again and not module:
                    reason = "its server was killed, and so was the next one (out of memory?)"
                    self._events += [Failed(job.id, reason) for job in bundle.jobs]
                else:
                    self._start(bundle.jobs, again=not module)

    def _refuse(self, module: str, did: str) -> None:
        names = " and ".join(owners(module.split(".")[0])) or "no known distribution"
        self._refused[module] = (
            f"the module {module} of {names} {did}; mend it, or take it off the board; "
            f"to see it fail: python -c 'import {module}'"
        )

    def _look(self) -> None:
        """Hold all that runs to its limits."""
        now = time.monotonic()
        for server in tuple(self._servers.values()):
            limit, gone = min(IMPORT, self.limits.seconds), now - server.since
            if server.importing and hangs(server.process, gone, limit):
                did = f"did not finish its import within {gone:.0f} s"
                self._refuse(server.importing, did)
                kill([server.process])  # its end is heard next
        if now >= self._next_search:
            for bundle in self._bundles:
                bundle.below = descendants(bundle.process) if bundle.process else set()
            # Slow where there are thousands of processes: never more than a tenth of our time.
            self._next_search = now + 10 * (time.monotonic() - now)
        for bundle in tuple(self._bundles):
            if bundle.jobs[0].log:
                cut(bundle.jobs[0].log)
            if bundle.process:
                self._hold(bundle, now)
        self._next_look = now + LOOK

    def _hold(self, bundle: _Bundle, now: float) -> None:
        seconds, memory_gb = self.limits.seconds, self.limits.memory_gb
        server = bundle.server
        server.bytes = server.bytes or private_bytes([server.process])
        tree = [bundle.process, *bundle.below]
        used = private_bytes(tree) - server.bytes
        if used > memory_gb * 1e9 and bundle.below:  # it charges each in full for what they share
            used = proportional_bytes(tree)  # slow
        if now - bundle.since > seconds + GRACE:
            self._fail(bundle, f"exceeded its time limit of {seconds:g} s")
        elif used > memory_gb * 1e9:
            self._fail(bundle, f"exceeded its memory limit of {memory_gb:g} GB")

    def _fail(self, bundle: _Bundle, reason: str) -> None:
        """The running job is at fault; those after it go on in a fresh process."""
        self._end(bundle)
        if log := bundle.jobs[0].log:
            cut(log)
            delete_if_empty(log)
        self._events.append(Failed(bundle.jobs[0].id, reason))
        self._start(bundle.jobs[1:])

    def _end(self, bundle: _Bundle) -> None:
        """End a process and what it has started. It is not waited for: the next bundle begins
        while the kernel takes its memory apart."""
        if bundle.process and not (ADOPTS and not bundle.jobs):  # then it goes by itself
            kill([*descendants(bundle.process), bundle.process])
        if not ADOPTS:  # what a dead process leaves is below no process
            kill(bundle.below)
        self._bundles.remove(bundle)
        bundle.link.close()


def _wait(links: Sequence[Link], seconds: float) -> None:
    poll = select.poll()
    for link in links:
        poll.register(link.fileno(), select.POLLIN)
    poll.poll(1000 * seconds)


def _unsendable(error: Exception) -> str:
    return (
        f"the job cannot be sent to a process of its own ({error}); expected a function and "
        "classes that can be imported; define them at the top of a module"
    )


def _death(code: int) -> str:
    if code >= 0:
        return f"the process exited with code {code} before the job was done"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    name = next((s.name for s in signal.Signals if s == -code), f"signal {-code}")
    return f"the process died of {name}{hint}"
