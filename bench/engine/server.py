"""What runs in a server: it imports modules, and forks servers and workers when asked to.

There is one server for each set of distributions, so that a process holds the modules of its own
components and no others. A module that raises is left out: the job that needs it imports it
again, and fails alone.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NoReturn

from bench.contract import imported, vetting
from bench.contract.unnoticed import unnoticed
from bench.engine.fork import Link
from bench.engine.processes import ADOPTS, adopt, children, descendants, die_with, kill

HARNESS = (
    *("torch.optim", "torch.nn.functional", "safetensors.torch"),
    *("bench.engine.scheduler", "bench.stages.execute", "bench.training.classifier"),
    *("bench.training.gates", "bench.stages.probing"),
)

SPARE = ["torch._dynamo"]
"""Imported by the base when nothing else is asked of it, or when a server wants it. The first
optimizer of a process does, for 1.8 s; data sets, which are asked for first, need not wait."""

_own_path = list(sys.path)  # what Python searches of itself, without the current folder


def main(number: int) -> NoReturn:
    """The base: what the process does that `fork.Base` starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that we work for
    adopt()
    gc.disable()  # until `load` has ended, too
    import torch  # noqa: F401  (an error here ends us, and is seen)

    import bench.engine.worker  # noqa: F401

    load(HARNESS)
    if execute := sys.modules.get("bench.stages.execute"):
        execute.look_round()
    _settle()
    with suppress(ConnectionError):  # the process that we work for was killed meanwhile
        _serve(Link(socket.socket(fileno=number)), list(SPARE))
    os._exit(0)


def load(names: Iterable[str]) -> None:
    """Import the modules that can be imported; their only trace is in `sys.modules`."""
    gc.disable()  # what is imported stays: a sixth of the time went on looking for garbage
    with unnoticed():
        for name in names:
            with suppress(Exception, SystemExit, KeyboardInterrupt):
                importlib.import_module(name)
    gc.enable()


def _settle() -> None:
    """Make forks cheap."""
    gc.collect()
    gc.freeze()  # or a collection in a fork touches, and so copies, every page of ours


def _serve(link: Link, spare: list[str]) -> NoReturn:
    """Answer requests until the process at the other end is gone, then end all that is below."""
    woken, wakes = os.pipe()
    for number in (woken, wakes):
        os.set_blocking(number, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    forked: dict[int, int] = {}  # numbers by which they were asked for, by process id
    tried: set[str] = set()
    helpers = children(os.getpid())  # what modules have started that we imported
    link.say("pid", os.getpid())
    while True:
        ends: list[Any] = [link.socket, woken]
        ready = select.select(ends, [], [], 0 if spare else None)[0]
        if not ready:
            load([spare.pop(0)])
            _settle()
        if woken in ready:
            with suppress(BlockingIOError):
                os.read(woken, 1 << 10)
            _bury(link, forked, helpers)
        if link.socket in ready:
            asked = link.asked()
            if asked is None:
                _end(forked)
            request, data, end = asked
            modules = [m for m in request.get("modules", ()) if m not in tried]
            if "serve" in request:  # what is torch's is loaded once, here
                modules = [m for m in modules if m.split(".")[0] == "torch"]
            if modules:
                spare = [name for name in spare if name not in modules]
                tried.update(modules)
                before = children(os.getpid())
                for module in modules:
                    link.say("importing", module)
                    load([module])
                helpers |= children(os.getpid()) - before
                link.say("imported")
                if "serve" in request:
                    _settle()
                else:
                    gc.freeze()
            us = os.getpid()
            child = os.fork()
            if not child:
                _child(us, request, data, end, [link.socket, woken, wakes])
            forked[child] = request.get("number", 0)
            end.close()


def _child(
    parent: int, request: Any, data: bytes, end: socket.socket, inherited: list[Any]
) -> NoReturn:
    """The rest of the life of a process that was just forked: as a server, or as a worker."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        link, *pipe = inherited
        link.close()
        for number in pipe:
            os.close(number)
        adopt()
        die_with(parent)
        if "serve" in request:
            _move(**request["serve"])
            imported.record(vetting.installed_packages())  # before a plugin is imported
            _serve(Link(end), [])
        from bench.engine.worker import work

        work(Link(end), data, request["device"], request["seconds"], parent)
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except ConnectionError:
        pass  # the process that we work for was killed: nobody hears us
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _move(folder: str, path: list[str], environment: dict[str, str]) -> None:
    """Find modules, variables and files where the process that we work for finds them."""
    with suppress(OSError):
        os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    here = {"", folder, os.path.realpath(folder)}
    kept = [place for place in path if place in _own_path or place not in here]
    sys.path[:] = [*kept, *(place for place in _own_path if place not in kept)]
    importlib.invalidate_caches()


def _bury(link: Link, forked: dict[int, int], helpers: set[int]) -> None:
    """Say which processes have ended, and end what they have left behind."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            process, status = found
            if number := forked.pop(process, 0):
                with suppress(OSError):
                    link.say("ended", number, os.waitstatus_to_exitcode(status))
            helpers.discard(process)
    if ADOPTS:
        kill(children(os.getpid()) - forked.keys() - helpers)


def _end(forked: Iterable[int]) -> NoReturn:
    """End all that is below, also what was detached: it comes to us when its parent goes."""
    if not ADOPTS:
        kill({*forked, *(process for one in forked for process in descendants(one))})
        os._exit(0)
    while below := children(os.getpid()):
        kill(below)
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)
    os._exit(0)
