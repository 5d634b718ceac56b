"""Condensed sets that a board keeps, so that they outlive the machine that made them.

`sets/` holds one file a set, as the store has it, and `sets.toml`, which says what each is. No run
reads them: a set follows from its method.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from bench.board import carried
from bench.board.carried import Entry
from bench.contract.typed import Count, Text, Whole

FOLDER, TABLE = "sets", "sets.toml"
BUDGETS = (1, 10)  # IPCs whose sets are kept, of the first seed
HEAVIEST = 25 * 10**6  # bytes, of all sets of a board


@dataclass(frozen=True, kw_only=True)
class KeptSet(Entry):
    """The card of a set: which cells of the board it stands for, what it is, and who made it."""

    dataset: Text
    data: Text  # the digest of the data
    method: Text
    settings: Text  # the digest of what the board sets of the method, and of its code
    ipc: Count
    seed: Whole
    dtype: Text  # of the images: "U8"; "I64" for a set of real images: their indices in the split
    shape: Annotated[tuple[Count, ...], Meta(min_length=1)]  # of the images, or of the indices
    content: Text  # what the board's records name as that of the set
    machine: str = ""

    @property
    def place(self) -> tuple[str, str, int, int]:
        return self.dataset, self.method, self.ipc, self.seed


def read(board: Path) -> tuple[KeptSet, ...]:
    """The sets that a board keeps. Raises BenchError for whatever is wrong with the table."""
    path = board / FOLDER / TABLE
    return carried.read(path, "set", KeptSet) if path.is_file() else ()


def add(board: Path, new: KeptSet, blob: bytes) -> None:
    """Give a board a set. Another of the same place makes room."""
    carried.add(board / FOLDER / TABLE, "set", read(board), new, blob)


def room(board: Path, new: KeptSet) -> int:
    """Bytes that are left for a set beside the others that a board keeps."""
    paths = [board / FOLDER / one.file for one in read(board) if one.place != new.place]
    return HEAVIEST - sum(path.stat().st_size for path in paths if path.is_file())


def wrong(board: Path) -> list[str]:
    """What does not hold of the sets of a board: one sentence each."""
    again = f"get it from the repository again, or delete its lines in {TABLE}"
    found = (carried.damage(board / FOLDER / TABLE, one, again) for one in read(board))
    return [said for said in found if said]
