"""What the workers of test_workers.py do: each function is a job, and most are up to no good."""

from __future__ import annotations

import builtins
import ctypes
import importlib
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


def double(x: int, *, device: str, progress: Report) -> int:
    return 2 * x


def process_id(*, device: str, progress: Report) -> int:
    return os.getpid()


def surroundings(*, device: str, progress: Report) -> dict[str, Any]:
    import torch

    return {
        "threads": torch.get_num_threads(),
        "environment": dict(os.environ),
        "group": os.getpgrp(),
        "interrupts ignored": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "daemon": multiprocessing.current_process().daemon,
    }


def optimize(*, device: str, progress: Report) -> float:
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


def speak(*, device: str, progress: Report) -> None:
    sys.stdout.write("from python\n")
    sys.stderr.write("to stderr, no newline")
    subprocess.run(["echo", "from a helper"], check=True)


def fail(message: str, *, device: str, progress: Report) -> None:
    raise ValueError(message)


def fail_in_torch(*, device: str, progress: Report) -> None:
    import torch

    torch.nn.Linear(2, 2)(torch.ones(3, 3))


def decline(*, device: str, progress: Report) -> None:
    raise Unsupported("needs BatchNorm;\nconvnet-in has none")


def reject(*, device: str, progress: Report) -> None:
    raise BenchError("ipc is 0; expected at least 1")


def abort(*, device: str, progress: Report) -> None:
    sys.stdout.write("last words\n")
    os.abort()


def segfault(*, device: str, progress: Report) -> None:
    ctypes.string_at(0)


def kill_itself(*, device: str, progress: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code: int, *, device: str, progress: Report) -> None:
    os._exit(code)


def leave_politely(code: int, *, device: str, progress: Report) -> None:
    sys.exit(code)


def hang(*, device: str, progress: Report) -> None:
    sys.stdout.write("before\n")
    time.sleep(60)


def hang_with_helper(note: Path, *, device: str, progress: Report) -> None:
    helper = subprocess.Popen(["sleep", "60"])
    note.with_suffix(".part").write_text(f"{os.getpid()} {helper.pid}")
    note.with_suffix(".part").rename(note)
    time.sleep(60)


def leave_helper(*, device: str, progress: Report) -> int:
    return subprocess.Popen(["sleep", "60"]).pid


def crash_beside_helper(note: Path, *, device: str, progress: Report) -> None:
    note.write_text(str(subprocess.Popen(["sleep", "60"]).pid))
    time.sleep(1)  # long enough to be seen
    os.abort()


def eat(gigabytes: float, seconds: float, *, device: str, progress: Report) -> int:
    food = b"\1" * int(gigabytes * 1e9)
    time.sleep(seconds)
    return len(food)


def share(gigabytes: float, helpers: int, *, device: str, progress: Report) -> int:
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


def not_plain(*, device: str, progress: Report) -> Any:
    return Path("x")


def send_noise(*, device: str, progress: Report) -> str:
    """What is no message of ours goes over the link, and is dropped."""
    link = progress.__closure__[1].cell_contents  # type: ignore[attr-defined]
    pickled = b"cos\nabort\n(tR."
    link.socket.sendall(len(pickled).to_bytes(4, "big") + pickled)
    link.say("done", "another job", 1)
    link.say("nonsense")
    return "said"


def count(total: int, *, device: str, progress: Report) -> float:
    """Seconds that it took."""
    since = time.monotonic()
    for i in range(total):
        progress(i + 1, total)
    return time.monotonic() - since


def loaded(names: tuple[str, ...], *, device: str, progress: Report) -> list[str]:
    return [name for name in names if name in sys.modules]


def files_of(names: tuple[str, ...], *, device: str, progress: Report) -> dict[str, str]:
    """Where each module lies; "" for one that cannot be found."""
    found = {}
    for name in names:
        try:
            found[name] = str(importlib.import_module(name).__file__)
        except ImportError:
            found[name] = ""
    return found


def builtins_named(*names: str, device: str, progress: Report) -> list[str]:
    return [name for name in names if hasattr(builtins, name)]


def device_of(*, device: str, progress: Report) -> list[str]:
    time.sleep(0.3)
    return [device, os.environ.get("CUDA_VISIBLE_DEVICES", "all")]


def kill_server(*, device: str, progress: Report) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def kill_server_once(note: Path, *, device: str, progress: Report) -> str:
    if note.exists():
        return "lives"
    note.touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
    return "was not killed"


def babble(megabytes: int, *, device: str, progress: Report) -> None:
    sys.stdout.write("first\n")
    for _ in range(megabytes):
        os.write(1, b"x" * 1_000_000)
    time.sleep(0.5)
    sys.stdout.write("last\n")


def detach(note: Path, crash: bool = False, *, device: str, progress: Report) -> None:
    """Start a process of a session of its own, which belongs to nobody."""
    subprocess.run(["sh", "-c", f"setsid sleep 60 & echo $! > {note}"], check=True)
    time.sleep(0.3)
    if crash:
        os.abort()
