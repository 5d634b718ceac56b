"""What runs in a worker: a process that makes some calls, one after another, and ends."""

from __future__ import annotations

import faulthandler
import io
import math
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.contract.errors import BenchError, Unsupported, sentence
from bench.engine.fork import Link
from bench.engine.processes import ADOPTS, descendants, kill

INTERVAL = 0.1  # seconds between two reports of progress


def work(link: Link, data: bytes, device: str, seconds: float, parent: int) -> None:
    """Make the pickled calls (id, log, pickled function and arguments), and say what came of each.

    When a call has taken `seconds`, its log shows where it is.
    """
    link.say("pid", os.getpid())
    if not ADOPTS:
        threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    faulthandler.enable(file=2)  # a crash leaves a traceback in the log, too
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a crash must not swallow the last lines
    device = _alone_with(device)
    import torch

    torch.set_num_threads(1)  # the order of a sum depends on it
    for id, log, payload in pickle.loads(data):
        try:
            _redirect(log)
            faulthandler.dump_traceback_later(min(seconds, threading.TIMEOUT_MAX), file=2)
            _call(id, payload, device, link)
        except Exception as error:
            declined = isinstance(error, Unsupported)
            if not declined:
                traceback.print_exc()
            link.say("failed", id, sentence(error), declined)
        faulthandler.cancel_dump_traceback_later()
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, ValueError):  # the call may have closed them
                stream.flush()
    if not ADOPTS:  # wait to be killed, so that what the calls have started can be found
        threading.Event().wait()


def _alone_with(device: str) -> str:
    """Hide all GPUs but this one ("cuda:1"), so that code that says `.cuda()` is at it, too; what
    the device is called now. Before anything of CUDA has begun in this process."""
    kind, _, number = device.partition(":")
    if kind != "cuda" or not number:
        return device
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[int(number)] if visible else number
    return kind


def _call(id: str, payload: bytes, device: str, link: Link) -> None:
    function, arguments = pickle.loads(payload)
    value = function(*arguments, device=device, progress=_reporter(id, link))
    try:
        link.say("done", id, value)
    except (TypeError, ValueError, RecursionError) as error:
        raise BenchError(
            f"the result cannot be sent back: {error}; expected what JSON can hold"
        ) from error


def _reporter(id: str, link: Link) -> Callable[[int, int], None]:
    sent = -math.inf

    def progress(done: int, total: int) -> None:
        nonlocal sent
        now = time.monotonic()
        if done >= total or now - sent >= INTERVAL:
            sent = now
            link.say("progress", id, int(done), int(total))

    return progress


def _redirect(log: str | None) -> None:
    """Send what this process and its children print to a file, or nowhere."""
    if log:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        Path(log).write_bytes(b"")
    with open(log or os.devnull, "ab") as file:  # to its end, wherever that is: it may be cut
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def _die_with(parent: int) -> None:
    """Wait for the end of the process that forked us; one that is killed cannot clean up."""
    while os.getppid() == parent:
        time.sleep(1)
    kill(descendants(os.getpid()))
    os._exit(1)
