"""What the workers of test_workers.py do: each function is a job, and most are up to no good."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.contract.errors import BenchError, Unsupported

Report = Callable[[int, int], None]


def double(x: int, *, progress: Report) -> int:
    return 2 * x


def process_id(*, progress: Report) -> int:
    return os.getpid()


def surroundings(*, progress: Report) -> dict[str, Any]:
    import torch

    return {
        "threads": torch.get_num_threads(),
        "environment": dict(os.environ),
        "group": os.getpgrp(),
        "interrupts ignored": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "daemon": multiprocessing.current_process().daemon,
    }


def optimize(*, progress: Report) -> float:
    import torch

    torch.manual_seed(0)
    network = torch.nn.Linear(8, 8)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        loss = network(torch.ones(4, 8)).square().mean()
        loss.backward()
        optimizer.step()
    return float(loss)


def speak(*, progress: Report) -> None:
    sys.stdout.write("from python\n")
    sys.stderr.write("to stderr, no newline")
    subprocess.run(["echo", "from a helper"], check=True)


def fail(message: str, *, progress: Report) -> None:
    raise ValueError(message)


def fail_in_torch(*, progress: Report) -> None:
    import torch

    torch.nn.Linear(2, 2)(torch.ones(3, 3))


def decline(*, progress: Report) -> None:
    raise Unsupported("needs BatchNorm;\nconvnet-in has none")


def reject(*, progress: Report) -> None:
    raise BenchError("ipc is 0; expected at least 1")


def abort(*, progress: Report) -> None:
    sys.stdout.write("last words\n")
    os.abort()


def segfault(*, progress: Report) -> None:
    ctypes.string_at(0)


def kill_itself(*, progress: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code: int, *, progress: Report) -> None:
    os._exit(code)


def leave_politely(code: int, *, progress: Report) -> None:
    sys.exit(code)


def hang(*, progress: Report) -> None:
    sys.stdout.write("before\n")
    time.sleep(60)


def hang_with_helper(note: Path, *, progress: Report) -> None:
    helper = subprocess.Popen(["sleep", "60"])
    note.with_suffix(".part").write_text(f"{os.getpid()} {helper.pid}")
    note.with_suffix(".part").rename(note)
    time.sleep(60)


def leave_helper(*, progress: Report) -> int:
    return subprocess.Popen(["sleep", "60"]).pid


def crash_beside_helper(note: Path, *, progress: Report) -> None:
    note.write_text(str(subprocess.Popen(["sleep", "60"]).pid))
    time.sleep(1)  # long enough to be seen
    os.abort()


def eat(gigabytes: float, seconds: float, *, progress: Report) -> int:
    food = b"\1" * int(gigabytes * 1e9)
    time.sleep(seconds)
    return len(food)


def share(gigabytes: float, helpers: int, *, progress: Report) -> int:
    """Forked helpers share the memory, so that there is no more of it than of one."""
    food = b"\1" * int(gigabytes * 1e9)
    children = []
    for _ in range(helpers):
        child = os.fork()
        if not child:
            time.sleep(60)
        children.append(child)
    time.sleep(1)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(food)


def unpicklable(*, progress: Report) -> Any:
    return lambda: None


class Unloadable:
    def __reduce__(self) -> Any:
        return _refuse, (os.getpid(),)


def _refuse(pid: int) -> None:
    if os.getpid() != pid:
        raise ValueError("not here")


def unloadable(*, progress: Report) -> Any:
    return Unloadable()


def count(total: int, *, progress: Report) -> float:
    """Seconds that it took."""
    since = time.monotonic()
    for i in range(total):
        progress(i + 1, total)
    return time.monotonic() - since


def is_loaded(module: str, *, progress: Report) -> bool:
    return module in sys.modules
