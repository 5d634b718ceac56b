"""The files of a board's folder: written from what a run has given, and found out of date."""

from __future__ import annotations

from pathlib import Path

from bench import features, pictures, published, report
from bench.display import console, show_tables
from bench.engine import Engine
from bench.graph import Plan, key_of
from bench.keys import digest
from bench.matrix import read as read_matrix
from bench.records import coordinate, merge, read, sift, write, write_bytes
from bench.run import Ran, board_of, carried
from bench.store import Store
from bench.types import BenchError

READ = ("matrix.toml", "published.toml", f"{features.FOLDER}/*")
"""What a run reads of a board's folder, beside its records."""


def copied(board: Path, into: Path) -> Path:
    """Make `into` a board to run in the place of another, which is then only read; `into`.

    What an earlier run has left there stays, so that runs go on. Raises BenchError where `into` is
    the board itself, holds another board, or holds what is no board's.
    """
    there = into / "matrix.toml"
    if into.resolve() == board.resolve():
        raise BenchError(f"--into {into} is the board itself; leave it out, or name another folder")
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
    for path in (path for pattern in READ for path in board.glob(pattern)):
        write_bytes(into / path.relative_to(board), path.read_bytes())
    return into


def publish(board: Path, ran: Ran, store: Store) -> list[str]:
    """Write records, pictures and tables, if there are any. Returns why records were refused."""
    sound, refused = sift(ran.records)
    for sentence in refused:
        console.print(f"failed: {sentence}", style="red")
    if not sound:
        return refused
    with store.waiting_lock("board", digest(str(board.resolve()))):  # another run may write, too
        old = read(board)
        matrix = read_matrix(board)
        records = merge(old, carried(old, sound, matrix.metrics))
        write(board, records)
        kept = {
            coordinate(record): store.folder(probe.stage, probe.key) / "pictures.safetensors"
            for record, probe in ran.probes
        }
        pictures.write(board, board_of(matrix), records, kept)
        names = write_tables(board)
    show_tables(board)
    console.print(f"wrote {', '.join(str(board / name) for name in names)} and {board / 'records'}")
    return refused


def keep_networks(board: Path, plan: Plan, engine: Engine) -> None:
    """Keep with the board what its metrics have looked with, and say so."""
    for name, stage in plan.looking.items():
        found = engine.store.find(stage.kind, key_of(stage, {}, engine.device))
        path = board / features.FOLDER / name
        if found and not found.unsupported and features.keep(board, name, found, engine.store):
            console.print(f"wrote {path}: metrics look with it, so commit it with the records")
        elif found and not found.unsupported and not path.exists():
            console.print(f"{name} is too large to be kept: only its hash is")


def stale(board: Path) -> list[str]:
    """What does not follow from the records of a board, or is not there, and what to do."""
    records = read(board)
    wrong = [
        f"{board / name} is not what the records say; run: bench leaderboard {board}"
        for name in report.check(board, _tables(board))
    ]
    wrong += [
        f"{board / name} is missing; run: bench run {board}"
        for name in pictures.missing(board, board_of(read_matrix(board)), records)
    ]
    return wrong + [
        f"{board / features.FOLDER} lacks {name}, or it is damaged: metrics have looked with the "
        f"network whose SHA-256 begins with {name[-features.DIGITS :]}; get it from the "
        "repository, or from where the board was run"
        for name in features.missing(board, records)
    ]


def write_tables(board: Path) -> list[str]:
    """Write the page and the table that follow from the records of a board; their names."""
    tables = _tables(board)
    report.write_files(board, tables)
    return list(tables)


def _tables(board: Path) -> dict[str, str]:
    return report.render(board_of(read_matrix(board)), read(board), published.read(board))
