"""The test split stays closed while a method or a teacher works: what its process opens is seen.

It tells of carelessness, and of a cheat that does not look for it: a library that reads files
without Python is not seen, and code that knows of the hook goes round it (docs/protocol.md).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contract.errors import BenchError, require

CODE = (".py", ".pyc", ".pyi", ".so", ".pth", ".toml", ".cfg", ".ini", ".md", ".html")
SYSTEM = tuple(f"{os.sep}{name}{os.sep}" for name in ("proc", "sys", "dev", "etc"))
SHOWN = 5  # files that the log names


@dataclass
class _Watch:
    """What is opened while a verb works: test splits of the store, and files of elsewhere."""

    root: str
    tests: list[str] = field(default_factory=list)
    others: dict[str, None] = field(default_factory=dict)

    def saw(self, path: str) -> None:
        """Raises BenchError for a test split."""
        place = os.path.abspath(path)
        inside = place.startswith(self.root + os.sep)
        if inside and place.split(os.sep)[-3] == "load" and os.path.basename(place)[:4] == "test":
            self.tests.append(place)
            raise BenchError(_refusal(place))
        if not inside and not place.startswith(SYSTEM) and not place.endswith(CODE):
            self.others[place] = None


_WATCHES: list[_Watch] = []  # of this process; a stage has one
_HOOKED: list[bool] = []  # a hook stays for good


@contextmanager
def closed(store: Path) -> Iterator[None]:
    """Inside, no test split of a store may be opened; its log names the data files that were.

    Raises BenchError at the end for one that was tried all the same.
    """
    if not _HOOKED:
        _HOOKED.append(True)
        sys.addaudithook(_hear)
    watch = _Watch(os.path.abspath(store))
    _WATCHES.append(watch)
    try:
        yield
    finally:
        _WATCHES.remove(watch)
        if watch.others:
            names = [*watch.others]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            told = f"opened outside the store: {', '.join(names[:SHOWN])}{more}\n"
            sys.stderr.write(told)
    require(not watch.tests, _refusal(watch.tests[0]) if watch.tests else "")


def _hear(event: str, arguments: Any) -> None:
    if event == "open" and _WATCHES and isinstance(arguments[0], str | bytes | os.PathLike):
        mode = arguments[1]
        if not (isinstance(mode, str) and {*mode} & {*"wax"}):
            _WATCHES[-1].saw(os.fsdecode(arguments[0]))


def _refusal(place: str) -> str:
    return f"it has opened {place}; expected a method and its teacher to see no test split"
