"""The files of a board's folder: written from what a run has given, and found out of date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.board import kept
from bench.board.matrix import read as read_matrix
from bench.contract.errors import BenchError
from bench.records.files import read, write, write_bytes
from bench.records.record import Record, carried, merge
from bench.report import page, pictures, published
from bench.report.model import Page
from bench.report.numbers import board_of

READ = ("matrix.toml", "published.toml", f"{kept.FOLDER}/*")
"""What a run reads of a board's folder, beside its records."""


def copied(board: Path, into: Path) -> Path:
    """Make `into` a board to run in the place of another, which is then only read; `into`.

    What an earlier run has left there stays, so that runs go on. Raises BenchError where `into` is
    the board itself, holds another board, or holds what is no board's.
    """
    there = into / "matrix.toml"
    if board.resolve() in (into.resolve(), *into.resolve().parents):
        where = "is the board itself" if into.resolve() == board.resolve() else "lies in the board"
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


def publish(
    board: Path, new: Iterable[Record], pictured: Mapping[tuple[str | int, ...], Path]
) -> list[str]:
    """Write records (sound ones), pictures and tables; the names of the tables.

    `pictured` says where the pictures of a record's cell are kept. The caller holds the board.
    """
    records = keep(board, new)
    pictures.write(board, board_of(read_matrix(board)), records, pictured)
    return write_tables(board)


def keep(board: Path, new: Iterable[Record]) -> list[Record]:
    """Write records (sound ones) beside those that a board has; all of them."""
    old = read(board)
    records = merge(old, carried(old, new, read_matrix(board).metrics))
    write(board, records)
    return records


def stale(board: Path) -> list[str]:
    """What does not follow from the records of a board, or is not there, and what to do."""
    records = read(board)
    wrong = [
        f"{board / name} is not what the records say; run: bench leaderboard {board}"
        for name in page.check(board, _tables(board))
    ]
    wrong += [
        f"{board / name} is missing; run: bench run {board}"
        for name in pictures.missing(board, board_of(read_matrix(board)), records)
    ]
    return wrong + kept.wrong(board, records)


def write_tables(board: Path) -> list[str]:
    """Write the page and the table that follow from the records of a board; their names."""
    tables = _tables(board)
    page.write_files(board, tables)
    return list(tables)


def page_of(board: Path) -> Page:
    """The page that follows from the records of a board."""
    return page.build(board_of(read_matrix(board)), read(board), published.read(board))


def _tables(board: Path) -> dict[str, str]:
    return page.files(page_of(board))
