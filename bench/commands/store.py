"""`bench store`: what a store holds, and what of it no board needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contract.errors import BenchError

if TYPE_CHECKING:
    from bench.store.store import Store

DEVICES = ("cpu", "cuda", "mps")  # types, of which each key holds one


def store(boards: Sequence[Path], root: Path | None, prune: bool) -> None:
    """Show what a store holds, by kind of stage, and what of it is of no use; `prune` removes that.

    It is what killed runs have left; and, where boards are named, results that none of these needs.
    Raises BenchError for a store that is not there.
    """
    from bench.display import show_rooms
    from bench.store.room import Room, removed, room_of, rooms, useless
    from bench.store.store import Store, place

    found = Store(place(root))
    if not found.root.is_dir():
        raise BenchError(f"there is no store {found.root}; name another with --store")
    wanted = {key for board in boards for key in _wanted(found, board)} if boards else None
    what, room = ("removed", removed) if prune else ("of no use", room_of)
    freed = sum((room(path) for path in useless(found, wanted)), Room())
    show_rooms(rooms(found), {what: freed}, found.doubled)


def _wanted(store: Store, board: Path) -> set[tuple[str, str]]:
    """Kinds and keys of all that a board needs, on any type of device. Nothing is run."""
    from bench.board.check import resolve
    from bench.board.matrix import read
    from bench.contract.registry import discover
    from bench.engine.estimate import look
    from bench.engine.executor import Slot
    from bench.engine.scheduler import Engine
    from bench.stages.plan import load_stage, plan
    from bench.stages.stage import Dataset

    components, found = resolve(read(board), discover(), board), set[tuple[str, str]]()
    cells = components.matrix.cells()
    for device in DEVICES:
        engine = Engine(components, store, (Slot(device),), board=board)
        datasets = {}
        for name in dict.fromkeys(cell.dataset for cell in cells):
            load = load_stage(components, name)
            if loaded := store.find("load", engine.key_of(load, {})):
                found.add(("load", loaded.key))
                given = (load.component, loaded.key, loaded.value, load.evaluate)
                datasets[name] = Dataset(name, *given)
        kept = [cell for cell in cells if cell.dataset in datasets]
        stages = plan(components, datasets, kept, board).stages if kept else ()
        contents = look(engine, stages).contents
        for stage in stages:
            if all(one.id in contents for one in stage.above.values()):
                found.add((stage.kind, engine.key_of(stage, contents)))
    return found
