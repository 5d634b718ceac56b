"""The folder that a run writes to: made, and tried, before it runs.

Nothing of pages is imported here, which takes a second.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile

from bench.board import networks
from bench.contract.errors import BenchError
from bench.contract.files import own, resolved, write_bytes
from bench.report import pictures

READ = ("matrix.toml", "published.toml", f"{networks.FOLDER}/*")
"""What a run reads of a board's folder, beside its records."""


def check_writable(board: Path) -> None:
    """Raise BenchError where a run could not write what it finds: before it runs, not after."""
    for folder in (board, *(board / one for one in ("records", pictures.FOLDER, networks.FOLDER))):
        if folder != board and not os.path.lexists(folder):
            continue
        try:
            with TemporaryFile(dir=folder if folder == board else own(folder)):
                pass
        except OSError as error:
            raise BenchError(
                f"{folder} cannot be written to ({error.strerror}); expected a folder for what a "
                "run finds; name another with --into"
            ) from None


def copied(board: Path, into: Path) -> Path:
    """Make `into` a board to run in the place of another, which is then only read; `into`.

    What an earlier run has left there stays, so that runs go on. Raises BenchError where `into` is
    the board itself, holds another board, or holds what is no board's.
    """
    there = into / "matrix.toml"
    home, target = resolved(board), resolved(into)
    if home in (target, *target.parents):
        where = "is the board itself" if target == home else "lies in the board"
        raise BenchError(f"--into {into} {where}; leave it out, or name another folder")
    if there.is_file() and there.read_bytes() != (board / "matrix.toml").read_bytes():
        raise BenchError(
            f"--into {into} holds another board: its matrix.toml is not that of {board}; delete "
            "the folder, or name another"
        )
    if into.exists() and not there.is_file() and (into.is_file() or any(into.iterdir())):
        raise BenchError(
            f"--into {into} holds something else than a board; expected a new folder, an empty "
            "one, or one of an earlier --into"
        )
    read = {
        path.relative_to(board): path.read_bytes()
        for pattern in READ
        for path in board.glob(pattern)
        if path.is_file() and not path.name.startswith(".")
    }
    for path in (path for pattern in READ for path in into.glob(pattern)):
        if path.is_file() and path.relative_to(into) not in read:
            path.unlink()  # what the board no longer has
    for name, content in read.items():
        write_bytes(into / name, content)
    return into
