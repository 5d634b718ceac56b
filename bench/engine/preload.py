"""What the server imports for plugins when it starts. Only the server imports this module.

The server would die of a module that raises, and every stage with it. Here such a module is left
out instead: the stage that needs it imports it again, and fails alone.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from bench.contract import imported, vetting
from bench.engine.fork import WANTED


def load(names: Iterable[str]) -> None:
    """Import the modules that can be imported; their only trace is in `sys.modules`."""
    with _unnoticed():
        for name in names:
            with suppress(Exception, SystemExit):
                importlib.import_module(name)


@contextmanager
def _unnoticed() -> Iterator[None]:
    """Nothing that is printed inside is seen, and the environment is put back."""
    environment, streams = dict(os.environ), (sys.stdout, sys.stderr)
    kept = [os.dup(number) for number in (1, 2)]  # C libraries print, too
    with open(os.devnull, "wb") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for stream, number, copy in zip(streams, (1, 2), kept, strict=True):
            with suppress(AttributeError, ValueError):  # a module may have closed it
                stream.flush()
            os.dup2(copy, number)
            os.close(copy)
        os.environ.clear()
        os.environ.update(environment)


imported.record(vetting.installed_packages())
load(os.environ.pop(WANTED, "").split())
# or a collection in a fork touches, and so copies, every page of ours: 0.65 s of CPU, not 0.06
gc.freeze()
