"""The child in which plugins are imported for the first time; `vetting` starts it and listens."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Sequence
from importlib.metadata import EntryPoint

from bench.contract.errors import said
from bench.contract.registry import Found, load
from bench.contract.unnoticed import unnoticed


def main(work: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> None:
    """Import distributions, given as (name, [(entry point, its value)]), one after another.

    Writes a line for each: JSON of the reason why it must not be imported, or "" if it may. The
    line before them says that we are ready.
    """
    pipe = os.dup(1)
    os.write(pipe, b'""\n')
    for name, points in work:
        os.write(pipe, json.dumps(fault(name, points)).encode() + b"\n")
    os._exit(0)  # what plugins have left for our end is not run


def fault(name: str, points: Sequence[tuple[str, str]]) -> str:
    """What an import and its hooks do that a process of ours would not survive, or show.

    An exception is no such fault: it is caught, and told, wherever it is raised.
    """
    place = f"the import of {name}"
    before = set(threading.enumerate())
    with tempfile.TemporaryFile() as output:
        try:
            with unnoticed(output):
                for point, value in points:
                    load(EntryPoint(point, value, "bench"), name, "", Found())
        except BaseException as error:
            return f"{place} raised {type(error).__name__}, which would end every command"
        output.seek(0)
        if text := output.read(4096).decode(errors="replace"):
            return (
                f"{place} prints {said(text, 100)!r}; expected silence: what a command prints "
                "is read by other programs"
            )
    if any(not thread.daemon for thread in set(threading.enumerate()) - before):
        return f"{place} starts a thread that keeps every command from ending; make it a daemon"
    return ""
