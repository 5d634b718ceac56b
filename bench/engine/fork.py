"""One process that makes calls for us, forked from a warm server.

The server (the standard library's `forkserver`) has torch loaded and does nothing but fork: a
fork of it is ready in milliseconds and shares its pages. It starts with the first process and
ends with us. This module does not import torch: we never hold it ourselves.
"""

from __future__ import annotations

import faulthandler
import io
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from bench.contract.errors import BenchError, Unsupported, said
from bench.contract.moved import moved

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",  # or the order of a set of strings differs between two runs
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic only with a fixed workspace
    # glibc returns large blocks to the kernel at once, and each batch pays the page faults again
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
}
"""What the server and all that it forks have in their environment, whatever we have in ours."""

# torch alone is not enough: the first optimizer of a process imports torch._dynamo, 1.5 s.
PRELOAD = (
    *("torch", "torch.optim", "torch._dynamo", "torch.nn.functional", "safetensors.torch"),
    *(__name__, "bench.engine.preload"),
)
WANTED = "BENCH_PRELOAD"  # the variable that tells bench.engine.preload what else to import

INTERVAL = 0.1  # seconds between two reports of progress
LONGEST = 300  # characters of a message that nobody worded for a reader


@dataclass(frozen=True)
class Job:
    """A call `function(*arguments, progress=callable(done, total))`.

    `function` and the classes of `arguments` can be imported, and not from `__main__`, which the
    process does not have. What the call prints goes to the file `log`.
    """

    id: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    log: Path | None = None


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


def packed(job: Job) -> bytes:
    """The call as it travels to another process. Raises BenchError if it cannot."""
    try:
        return pickle.dumps((job.function, job.arguments))
    except Exception as error:
        raise BenchError(
            f"the job cannot be sent to a process of its own ({error}); expected a function and "
            "classes that can be imported; define them at the top of a module"
        ) from error


def fork(
    calls: Sequence[tuple[Job, bytes]], seconds: float, preload: Sequence[str] = ()
) -> tuple[ForkServerProcess, Connection]:
    """A process that makes the packed calls, and a pipe out of which come pickled events.

    When a call has taken `seconds`, its log shows where it is. After the last event the process
    waits to be killed, so that what it started can still be found. `preload` names modules that
    the server imports when it starts, beside torch, as far as they can be imported. Raises
    BenchError if there is no server to fork from.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    here, there = context.Pipe(duplex=False)
    sent = [(job.id, job.log, payload) for job, payload in calls]
    process = context.Process(target=_work, args=(sent, there, seconds))
    try:
        with _no_main():
            _ensure_server([calls[0][0].function.__module__, *preload])
            process.start()
    except (EOFError, OSError) as error:
        here.close()
        if preload:  # one of them may have taken the server down: try a server without them
            time.sleep(INTERVAL)  # its pipe closes a moment before it can be seen to be dead
            return fork(calls, seconds)
        raise BenchError(
            f"no process could be forked ({sentence(error)}); expected a server that imports "
            'torch; try `python -c "import torch._dynamo"`'
        ) from error
    finally:
        there.close()
    return process, here


def sentence(error: BaseException) -> str:
    """One line on an exception: what it is, what it says, and where it was raised."""
    told = traceback.TracebackException.from_exception(error)  # survives a broken __str__
    text = said(told)
    if isinstance(error, BenchError | Unsupported):
        return text or type(error).__name__
    text = moved(error) or said(told, LONGEST)
    # The innermost frame is often torch's own; what the author can mend is further out.
    frames = [f for f in told.stack if not f.filename.startswith("<")]
    own = [f for f in frames if f"{os.sep}torch{os.sep}" not in f.filename] or frames
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"


def _ensure_server(preload: Sequence[str]) -> None:
    """Start the server if there is none, in ENVIRONMENT and deaf to Ctrl-C, which is for us."""
    resource_tracker.ensure_running()  # before SIGINT is blocked, since starting it unblocks it
    its = ENVIRONMENT | {WANTED: " ".join(map(str, preload))}
    ours = {name: os.environ.get(name) for name in its}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(its)
    try:
        forkserver.ensure_running()
    finally:
        for name, value in ours.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _no_main() -> Iterator[None]:
    """Hide `__main__`, which multiprocessing would run again in every process that it starts."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


# What follows runs in the forked process.


def _work(
    calls: Sequence[tuple[str, Path | None, bytes]], pipe: Connection, seconds: float
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch = threading.Thread(target=_die_with_parent, daemon=True)
    watch.start()
    faulthandler.enable(file=2)  # a crash leaves a traceback in the log, too
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a crash must not swallow the last lines
    import torch

    torch.set_num_threads(1)  # the order of a sum depends on it
    for id, log, payload in calls:
        try:
            _redirect(log)
            faulthandler.dump_traceback_later(min(seconds, threading.TIMEOUT_MAX), file=2)
            message = _call(id, payload, pipe)
        except Exception as error:
            declined = isinstance(error, Unsupported)
            if not declined:
                traceback.print_exc()
            message = pickle.dumps(Failed(id, sentence(error), declined))
        faulthandler.cancel_dump_traceback_later()
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, ValueError):  # the call may have closed them
                stream.flush()
        pipe.send_bytes(message)
    watch.join()


def _call(id: str, payload: bytes, pipe: Connection) -> bytes:
    function, arguments = pickle.loads(payload)
    value = function(*arguments, progress=_reporter(id, pipe))
    try:
        # Plain pickle: multiprocessing's sends a tensor as a file handle that dies with us.
        return pickle.dumps(Done(id, value))
    except Exception as error:
        raise BenchError(f"the result cannot be sent back: {error}") from error


def _reporter(id: str, pipe: Connection) -> Callable[[int, int], None]:
    sent = -math.inf

    def progress(done: int, total: int) -> None:
        nonlocal sent
        now = time.monotonic()
        if done >= total or now - sent >= INTERVAL:
            sent = now
            pipe.send_bytes(pickle.dumps(Progress(id, int(done), int(total))))

    return progress


def _redirect(log: Path | None) -> None:
    """Send what this process and its children print to a file, or nowhere."""
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
    with open(log or os.devnull, "wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def _die_with_parent() -> None:
    """Wait for the end of the process that we work for; one that is killed cannot clean up."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    with suppress(psutil.Error):
        for process in psutil.Process().children(recursive=True):
            process.kill()
    os._exit(1)
