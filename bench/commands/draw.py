"""Which cells of a board are recomputed: a draw that nobody can have made before.

Whoever knows the commit that is checked and what it holds could amend one of the two until the
draw spares what he has forged; so each draw is new. It is printed, and can be repeated.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contract.keys import digest

if TYPE_CHECKING:
    from bench.board.matrix import Cell
    from bench.commands.asked import Asked
    from bench.records.result import Result

DIGITS = 16  # of a salt, drawn anew


def submitted(board: Path, cells: Sequence[Cell], against: str) -> tuple[Cell, ...]:
    """Of some cells, those whose records are not those of a commit."""
    from bench.commands.against import at
    from bench.report import against as held

    with at(board, against) as folder:
        changed = {one.coordinate for one in held.new(held.side(folder), held.side(board))}
    return tuple(cell for cell in cells if cell.coordinate in changed)


def drawn(
    board: Path, cells: Sequence[Cell], count: int, against: str = "", salt: str = ""
) -> tuple[tuple[Cell, ...], str]:
    """`count` of some cells, and a sentence that says how to draw them again.

    The draw hangs on the commit of the base (if one is named), on what the board's matrix and
    records hold, and on a salt, which is a new one unless it is given.
    """
    from bench.commands.against import commit_of
    from bench.report import verify

    base = commit_of(board, against) if against else ""
    salt = salt or secrets.token_hex(DIGITS // 2)
    found = verify.sample(cells, count, digest([base, content(board), salt]))
    return found, f"{len(found)} of {len(cells)} cells are recomputed, drawn with --salt {salt}"


def content(board: Path) -> str:
    """The digest of what a board's matrix and records hold."""
    paths = [board / "matrix.toml", *sorted((board / "records").glob("*.jsonl"))]
    return digest([[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in paths])


def to_check(
    asked: Asked, cells: tuple[Cell, ...], records: Sequence[Result]
) -> tuple[tuple[Cell, ...], list[str]]:
    """The cells that a check is to recompute, drawn and said, and what has no record of them all.

    Of a run that checks nothing, all.
    """
    from bench.display import console
    from bench.report import verify

    if asked.against:
        cells = submitted(asked.board, cells, asked.against)
        if not cells:
            console.print(f"no record differs from those of {asked.against}")
    if asked.keep_checked:
        known = {one.coordinate for one in records if one.ok}
        cells = tuple(cell for cell in cells if cell.coordinate in known)
        if not cells:
            console.print(f"{asked.board} has no record to check")
    lost = verify.missing(cells, records)
    if asked.sample and cells:
        cells, said = drawn(asked.board, cells, asked.sample, asked.against, asked.salt)
        console.print(said)
    return cells, lost
