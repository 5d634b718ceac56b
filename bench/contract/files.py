"""Files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.contract.errors import BenchError


def write_text(path: Path, text: str) -> None:
    """Make `text` (UTF-8) the content of a file, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Make `data` the content of a file, atomically; leave it alone if it is already."""
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno and not error.filename:  # a full disk does not say of which file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def resolved(path: Path) -> Path:
    """The path without links. One that leads back to itself is left as it is: what opens it says
    so, where `Path.resolve` raises RuntimeError."""
    return Path(os.path.realpath(path))


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder`, new or empty, when nothing has gone wrong."""
    target = resolved(folder)  # an empty folder may be a link's
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
    except OSError as error:  # of which the user knows the folder alone
        raise OSError(error.errno, error.strerror, str(folder)) from error
    try:
        yield beside
        os.replace(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def own(folder: Path) -> Path:
    """A folder of a board that is written to. Raises BenchError for a link: it leads to others'."""
    if folder.is_symlink():
        raise BenchError(
            f"{folder} is a link to {os.readlink(folder)}; expected a folder of the board's own, "
            "whose files a run may replace and delete; move it here, or delete the link"
        )
    return folder


def stamp(path: str) -> list[Any]:
    """What changes when a file, or a file in a folder, is written: [] for what is not there."""
    try:
        found = os.stat(path)
        if not stat.S_ISDIR(found.st_mode):
            return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]  # archives set mtimes
        with os.scandir(path) as entries:
            rows = sorted(_row(entry) for entry in entries)
    except OSError:
        return []
    return [len(rows), hashlib.sha256("\n".join(rows).encode(errors="replace")).hexdigest()[:16]]


def _row(entry: os.DirEntry[str]) -> str:
    try:
        found = entry.stat()
    except OSError:
        return f"{entry.name} gone"
    inside = stat.S_ISDIR(found.st_mode)  # whose time also tells of what is below
    times = found.st_mtime_ns, found.st_ctime_ns
    return f"{entry.name} {'/' if inside else (found.st_size, *times)}"
