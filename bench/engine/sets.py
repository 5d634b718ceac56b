"""Condensed sets that a board keeps: given to it after a run."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open

from bench.board import sets
from bench.board.sets import BUDGETS, KeptSet
from bench.contract.keys import digest
from bench.engine.estimate import look
from bench.engine.scheduler import Engine
from bench.stages.condense import Condense
from bench.stages.plan import Plan
from bench.stages.squeeze import RESULT
from bench.store.store import Finished


def carry(engine: Engine, plan: Plan, board: Path) -> list[str]:
    """Give a board its sets of the first seed at the small budgets; a sentence for each.

    A set that there is no room for is not kept, and one that has not been made is not told of.
    """
    first, contents = engine.components.matrix.seeds[0], look(engine, plan.stages).contents
    said = []
    for stage in plan.stages:
        if not isinstance(stage, Condense) or stage.number != first or stage.ipc not in BUDGETS:
            continue
        if stage.id not in contents:
            continue
        found = engine.store.find(stage.kind, engine.key_of(stage, contents))
        if found and not found.unsupported:
            said.append(_keep(engine, stage, found, board))
    return said


def _keep(engine: Engine, stage: Condense, found: Finished, board: Path) -> str:
    path = engine.store.folder(found.stage, found.key) / RESULT
    card = _card(engine, stage, found, path)
    size, left = path.stat().st_size, sets.room(board, card)
    if size > left:
        return (
            f"the set of {stage.title} weighs {size:,} bytes and is not kept: of the "
            f"{sets.HEAVIEST:,} of a board {max(left, 0):,} are left"
        )
    sets.add(board, card, path.read_bytes())
    return f"wrote {board / sets.FOLDER / card.file}: commit it with the records"


def _card(engine: Engine, stage: Condense, found: Finished, path: Path) -> KeptSet:
    name, method, environment = stage.dataset.name, stage.method.name, found.environment
    with safe_open(path, "np") as file:
        images = file.get_slice("images")
        dtype, shape = images.get_dtype(), tuple(images.get_shape())
    return KeptSet(
        file=f"{name}.{method}.ipc-{stage.ipc}.seed-{stage.number}.safetensors",
        sha256=found.files[RESULT],
        dataset=name,
        data=stage.dataset.facts["digest"],
        method=method,
        settings=digest(engine.components.registry.identity(stage.method))[:8],
        ipc=stage.ipc,
        seed=stage.number,
        dtype=dtype,
        shape=shape,
        content=found.content,
        machine=", ".join(
            str(environment[k]) for k in ("cpu", "device", "torch") if k in environment
        ),
    )
