"""The networks that a board's metrics look with, kept beside its records.

Processors round differently, so one training gives two networks on two machines, and figures that
two networks have found cannot be compared. So the first run of a board keeps its networks in
`features/`, and every later run, anywhere, looks with those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.components import Components
from bench.keys import digest
from bench.plan import Plan, Stage, key_of
from bench.store import Store
from bench.types import BenchError

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "features"
HEAVIEST = 4 * 2**20  # bytes; a larger network is not for a repository, and is trained or fetched
RESULT = "result.safetensors"
UNTRAINED = {"forward": 0, "backward": 0}  # passes: nothing was trained here


def of_plan(plan: Plan, components: Components) -> dict[str, Stage]:
    """The stages that make such networks, by the name of their file.

    The name holds what the board sets of teacher, backbone and data, but not their code: a network
    outlives a refactoring, and not a change of the board.
    """
    measures = [m for planned in plan.cells for m in planned.measures.values()]
    stages = [m.above["features"] for m in measures if "features" in m.above]
    return {_name(stage, components): stage for stage in stages}


def _name(stage: Stage, components: Components) -> str:
    assert stage.dataset is not None
    backbone, teacher = stage.parts["backbone"], stage.parts["teacher"]
    identities = [components.registry.identity(part) for part in (backbone, teacher)]
    fields = [(one["class"], one["fields"]) for one in identities]
    mark = digest([fields, stage.dataset.identity, stage.seed])[:8]
    return f"{stage.dataset.name}.{backbone.name}.{teacher.name}.{mark}.safetensors"


def adopt(board: Path, stages: Mapping[str, Stage], store: Store, device: str) -> None:
    """Put the networks that a board keeps into the store, in place of any other.

    Raises BenchError for a file that is not a network as `keep` writes it.
    """
    for name, stage in stages.items():
        path, key = board / FOLDER / name, key_of(stage, {}, device)
        if not path.is_file():
            continue
        blob = path.read_bytes()
        wanted = hashlib.sha256(blob).hexdigest()
        with store.waiting_lock(stage.kind, key):
            had = store.find(stage.kind, key)
            if had and had.files.get(RESULT) == wanted:
                continue
            if had:
                store.remove(had)
            value = {"bytes": len(blob), "passes": UNTRAINED}
            found = store.publish(stage.kind, key, {"result": _state(path, blob)}, value)
        if found.files[RESULT] != wanted:
            store.remove(found)
            raise BenchError(f"{path} is not as it was written; get it from the repository again")


def _state(path: Path, blob: bytes) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state: dict[str, Tensor] = load(blob)
    except SafetensorError as error:
        raise BenchError(
            f"{path} is no safetensors file ({error}); get it from the repository again, or delete "
            "it to train a network that no other machine has"
        ) from None
    return state


def keep(board: Path, stages: Mapping[str, Stage], store: Store, device: str) -> list[str]:
    """Give a board the networks of a run that it does not have yet: the names of the new files."""
    written = []
    for name, stage in stages.items():
        path, found = board / FOLDER / name, store.find(stage.kind, key_of(stage, {}, device))
        if found is None or path.exists():
            continue
        blob = (store.folder(found.stage, found.key) / RESULT).read_bytes()
        if len(blob) <= HEAVIEST:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(blob)
            written.append(f"{FOLDER}/{name}")
    return written
