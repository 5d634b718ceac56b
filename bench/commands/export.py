"""`bench export`: a condensed set of a board, for somebody who trains on it without `bench`.

The set is one that the board keeps (`sets/`), or else one that the store has.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.commands.card import Exported, write
from bench.contract.errors import BenchError
from bench.contract.files import whole

if TYPE_CHECKING:
    from bench.board.matrix import Matrix
    from bench.engine.scheduler import Engine
    from bench.stages.stage import Dataset


@dataclass(frozen=True)
class Wanted:
    """Which set of a board: the first data set and seed, unless others are named."""

    board: Path
    dataset: str
    method: str
    ipc: int
    seed: int

    @property
    def command(self) -> str:
        """What makes the set."""
        return (
            f"bench run {self.board} --methods {self.method} --only ipc={self.ipc} --only "
            f"seed={self.seed} --only dataset={self.dataset}"
        )

    @property
    def name(self) -> str:
        return f"{self.dataset}.{self.method}.ipc-{self.ipc}.seed-{self.seed}"


def export(
    board: Path,
    method: str,
    ipc: int,
    seed: int | None = None,
    dataset: str | None = None,
    out: Path | None = None,
    store: Path | None = None,
) -> Path:
    """Write a condensed set with its pictures and its card; the folder.

    Raises BenchError for a set that is not on the board, that neither it nor the store has, or for
    a folder that holds something.
    """
    from bench.board.matrix import read
    from bench.store.store import place

    matrix = read(board)
    wanted = Wanted(
        board,
        dataset or matrix.datasets[0],
        method,
        ipc,
        matrix.seeds[0] if seed is None else seed,
    )
    folder = out or Path(wanted.name)
    if not ipc:
        raise BenchError("ipc is 0, the full set; expected the budget of a condensed set")
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise BenchError(f"--out {folder} holds something; expected a new folder, or an empty one")
    found = _found(wanted, matrix, place(store))
    with whole(folder) as beside:
        write(beside, found)
    return folder


def _found(wanted: Wanted, matrix: Matrix, root: Path) -> Exported:
    """The set, with all that its card says."""
    from bench.board import sets
    from bench.board.carried import damage
    from bench.board.check import resolve
    from bench.contract.kinds import fact
    from bench.contract.registry import discover
    from bench.engine.results import chosen_cells
    from bench.engine.scheduler import Engine
    from bench.records.files import read_all
    from bench.store.store import Store

    limits = {"ipc": [str(wanted.ipc)], "seed": [str(wanted.seed)], "dataset": [wanted.dataset]}
    cells = chosen_cells(matrix, [wanted.method], limits)
    place = (wanted.dataset, wanted.method, wanted.ipc, wanted.seed)
    kept = next((one for one in sets.read(wanted.board) if one.place == place), None)
    if kept is None and not (root / "condense").is_dir():
        raise _nowhere(wanted, matrix, root)
    components = resolve(matrix, discover(), wanted.board)
    engine = Engine(components, Store(root), board=wanted.board)
    loaded, lost = engine.load([wanted.dataset])
    data = loaded.get(wanted.dataset)
    if data is None and (kept is None or kept.dtype == "I64"):
        raise BenchError(
            f"dataset '{wanted.dataset}' cannot be loaded: {lost[wanted.dataset].reason}"
        )
    if kept:
        table = wanted.board / sets.FOLDER / sets.TABLE
        if said := damage(table, kept, "get it from the repository again"):
            raise BenchError(said)
        if data and data.facts["digest"] != kept.data:
            raise BenchError(
                f"dataset '{wanted.dataset}' has digest {data.facts['digest']} here; the set that "
                f"the board keeps was made of {kept.data}; get the same data"
            )
        blob, content = (table.parent / kept.file).read_bytes(), kept.content
    else:
        blob, content = _stored(wanted, matrix, engine, cells)
    method = components.get("method", wanted.method, dataset=wanted.dataset, ipc=wanted.ipc)
    known = read_all(wanted.board).results
    return Exported(
        wanted=wanted,
        matrix=matrix,
        tensors=_tensors(blob, data, engine),
        content=content,
        facts=data.facts if data else {},
        records=[r for r in known if r.content.get("set") == content and r.ok],
        teacher=fact("method", method, "teacher") or matrix.teacher,
    )


def _stored(wanted: Wanted, matrix: Matrix, engine: Engine, cells: Any) -> tuple[bytes, str]:
    """What the store has of a set: the file, and the hash of its content."""
    from bench.engine.estimate import look
    from bench.stages.condense import Condense
    from bench.stages.squeeze import RESULT

    plan = engine.plan(cells)
    contents = look(engine, plan.stages).contents
    for stage in plan.stages:
        own = isinstance(stage, Condense) and stage.method.name == wanted.method
        if not own or stage.id not in contents:
            continue
        found = engine.store.find(stage.kind, engine.key_of(stage, contents))
        if found and not found.unsupported:
            path = engine.store.folder(found.stage, found.key) / RESULT
            blob = path.read_bytes()
            if hashlib.sha256(blob).hexdigest() != found.files[RESULT]:
                raise BenchError(f"{path} was changed after it was written; run: {wanted.command}")
            return blob, found.content
    raise _nowhere(wanted, matrix, engine.store.root)


def _nowhere(wanted: Wanted, matrix: Matrix, root: Path) -> BenchError:
    place = f"{wanted.method}, ipc {wanted.ipc}, seed {wanted.seed}, {wanted.dataset}"
    if matrix.frozen:
        todo = f"the board is frozen ({matrix.frozen}), so run a copy of it without that line"
    else:
        todo = f"run: {wanted.command}"
    return BenchError(
        f"{wanted.board} keeps no set of {place}, and the store {root} has none that this code "
        f"would make; {todo}"
    )


def _tensors(blob: bytes, data: Dataset | None, engine: Engine) -> dict[str, Any]:
    """The tensors of a set as arrays: images as bytes where they are, labels [N, K]."""
    import numpy as np
    from safetensors.numpy import load

    found: dict[str, Any] = load(blob)
    total, labels = int(found.pop("total")), found["labels"]
    if labels.ndim == 1:
        found["labels"] = np.eye(total, dtype=np.float32)[labels]
    found.setdefault("classes", found["labels"].argmax(1).astype(np.int64))
    if found["images"].ndim == 1:
        assert data
        found["images"] = _real(found["images"], data, engine)
    return {name: one for name, one in found.items() if not name.startswith("notes.")}


def _real(index: Any, data: Dataset, engine: Engine) -> Any:
    """The images that a set has selected; bytes where that loses nothing."""
    import numpy as np
    import torch

    from bench.stages.source import Source

    split = Source(engine.store, data.load, data.component, data.evaluate).split("train")
    images = split.images(torch.from_numpy(index)).numpy()
    small = np.rint(images * 255).astype(np.uint8)
    return small if np.array_equal(small.astype(np.float32) / 255, images) else images
