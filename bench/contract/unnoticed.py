"""Importing plugins so that nothing of it is seen but the modules."""

from __future__ import annotations

import builtins
import gc
import locale
import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any


@contextmanager
def unnoticed(output: IO[Any] | None = None) -> Iterator[None]:
    """What the code inside changes of the process is put back, and what it prints is not seen.

    Put back are Python's own functions, its limit of recursion and its collector of garbage, the
    environment, the current folder, `sys.path`, the mask of permissions, the patience of sockets,
    the filters of warnings, the locale, the handlers of signals and the three standard streams.
    Standard input is empty; what is printed goes to `output`, a file, or nowhere. What torch
    computes with is not looked at: a stage sets that itself.
    """
    own, limit, collects = dict(vars(builtins)), sys.getrecursionlimit(), gc.isenabled()
    os.umask(mask := os.umask(0))
    patience = socket.getdefaulttimeout()
    environment, path, region = dict(os.environ), list(sys.path), locale.setlocale(locale.LC_ALL)
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    folder = _folder()
    with warnings.catch_warnings(), _redirected(output):
        try:
            yield
        finally:
            vars(builtins).update(own)  # first: all that follows calls them
            sys.setrecursionlimit(limit)
            (gc.enable if collects else gc.disable)()
            os.umask(mask)
            socket.setdefaulttimeout(patience)  # workers are spoken to through sockets
            if dict(os.environ) != environment:
                os.environ.clear()
                os.environ.update(environment)
            sys.path[:] = path
            with suppress(locale.Error):  # the environment may name one that is not installed
                locale.setlocale(locale.LC_ALL, region)
            for number, handler in handlers.items():
                if handler is not None and signal.getsignal(number) != handler:
                    signal.signal(number, handler)
            if folder and _folder() != folder:
                os.chdir(folder)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # somebody has removed it
        return ""


@contextmanager
def _redirected(output: IO[Any] | None) -> Iterator[None]:
    """Both the streams of Python and those of C libraries."""
    streams = sys.stdin, sys.stdout, sys.stderr
    _flush()
    kept: dict[int, int] = {}
    for number in (0, 1, 2):
        with suppress(OSError):  # closed by the caller
            kept[number] = os.dup(number)
    with open(os.devnull) as empty, open(os.devnull, "w") as nowhere:
        into = output.fileno() if output else nowhere.fileno()
        for number in kept:
            os.dup2(into if number else empty.fileno(), number)
        try:
            with open(into, "w", closefd=False, errors="replace") as text:
                sys.stdin, sys.stdout, sys.stderr = empty, text, text
                yield
        finally:
            _flush()  # what the code has put there instead
            sys.stdin, sys.stdout, sys.stderr = streams
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):  # none, closed, a full disk
            stream.flush()
