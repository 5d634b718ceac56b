"""The networks that a board's metrics look with, kept beside its records.

Processors round differently, so one training gives two networks on two machines, and figures that
two networks have found cannot be compared. So the first run of a board keeps its networks in
`features/`, and every later run, anywhere, looks with those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.components import Components
from bench.keys import digest
from bench.matrix import FULL
from bench.records import write_bytes
from bench.store import Finished, Store

FOLDER = "features"
HEAVIEST = 4 * 2**20  # bytes; a larger network is not for a repository, and is trained or fetched
RESULT = "result.safetensors"


def file_of(components: Components, dataset: str, teacher: str) -> str:
    """The name of the file of a network, which holds what the board sets of it.

    Not its code, nor what it leaves to the defaults: a network that is kept outlives a
    refactoring, and not a change of the board.
    """
    matrix = components.matrix
    whole = {"dataset": dataset, "method": "", "ipc": FULL}  # nobody's set in particular
    made_of: list[tuple[str, str, dict[str, Any]]] = [
        ("dataset", dataset, {"dataset": dataset}),
        ("architecture", matrix.backbone, {"dataset": dataset}),
        ("teacher", teacher, whole),
    ]
    settings = [
        (
            components.entry(kind, name).name,
            components.differs(kind, components.get(kind, name, **where)),
        )
        for kind, name, where in made_of
    ]
    mark = digest([matrix.evaluate, *settings])[:8]
    return f"{dataset}.{matrix.backbone}.{teacher}.{mark}.safetensors"


def keep(board: Path, name: str, found: Finished, store: Store) -> bool:
    """Give a board a network of the store that it does not have; whether it was kept.

    One that is larger than `HEAVIEST` is not.
    """
    path = board / FOLDER / name
    source = store.folder(found.stage, found.key) / RESULT
    if path.exists() or source.stat().st_size > HEAVIEST:
        return False
    write_bytes(path, source.read_bytes())
    return True
