"""What a store takes of a disk, and what of it is of no use."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.store.locks import locked
from bench.store.store import DONE, Store

LEFT_OVER = ("tmp", "partial", "logs", "locks", "slurm")
"""Folders of a store that hold no result: what runs need while they go on."""
DAYS = 30  # since it was last written, until that is of no use


@dataclass(frozen=True)
class Room:
    """What a folder takes."""

    bytes: int = 0
    files: int = 0

    def __add__(self, other: Room) -> Room:
        return Room(self.bytes + other.bytes, self.files + other.files)


def rooms(store: Store) -> dict[str, Room]:
    """What each folder of a store takes, by its name."""
    return {path.name: room_of(path) for path in sorted(store.root.iterdir()) if path.is_dir()}


def useless(store: Store, wanted: Container[tuple[str, str]] | None) -> Iterator[Path]:
    """What may go: what is left over, and results that are not `wanted`, if that is said."""
    old = time.time() - 86400 * DAYS
    for path in (one for name in LEFT_OVER for one in sorted((store.root / name).glob("*"))):
        with suppress(OSError):  # it goes at this moment
            if path.stat().st_mtime < old and (lock := locked(path, os.O_RDONLY)):
                yield path
                lock.release()
    if wanted is None:
        return
    for done in sorted(store.root.glob(f"*/*/{DONE}")):
        kind, key = done.parent.parent.name, done.parent.name
        if kind not in LEFT_OVER and (kind, key) not in wanted and (lock := store.lock(kind, key)):
            yield done.parent
            lock.release()


def room_of(path: Path) -> Room:
    """What a file or a folder takes, with all that is in it."""
    sizes = []
    for one in [path, *path.rglob("*")]:
        with suppress(OSError):  # it goes at this moment
            sizes.append(one.lstat().st_size)
    return Room(sum(sizes), len(sizes))


def removed(path: Path) -> Room:
    """Remove a file or a folder; what it took."""
    room = room_of(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return room
