"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
