"""Networks that a board carries: given to it after a run, and proved by training them again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.board import kept
from bench.board.kept import Kept
from bench.board.matrix import Cell
from bench.contract.errors import BenchError
from bench.contract.keys import digest, plain
from bench.contract.kinds import fact
from bench.engine.scheduler import Engine
from bench.stages.grade import Grade
from bench.stages.plan import Plan
from bench.stages.squeeze import RESULT, Squeeze, settings_of
from bench.store.store import Finished

STANDARD_ERRORS = 4  # how far two trainings of one teacher may lie from each other


def keep(engine: Engine, plan: Plan, board: Path, *, teachers: bool) -> list[str]:
    """Give a board the networks that its metrics have looked with, and its `teachers` if asked.

    Returns what was done, a sentence each. Of a network that is too heavy only that is said.
    """
    said = []
    for stage in _classifiers(plan):
        if stage.sha256 or not (teachers or stage.number == kept.EVALUATOR_SEED):
            continue
        found = engine.store.find(stage.kind, engine.key_of(stage, {}))
        if found and not found.unsupported:
            said.append(_keep(engine, stage, found, board))
    return said


def _keep(engine: Engine, stage: Squeeze, found: Finished, board: Path) -> str:
    path = engine.store.folder(found.stage, found.key) / RESULT
    looks = stage.number == kept.EVALUATOR_SEED
    if (size := path.stat().st_size) > kept.HEAVIEST:
        return (
            f"{stage.title} weighs {size:,} bytes and is not kept: a board carries networks of at "
            f"most {kept.HEAVIEST:,}"
        )
    components, network, teacher = engine.components, stage.architecture, stage.teacher
    settings = settings_of(components, stage.dataset.component, network, teacher)
    names = (stage.dataset.name, network.name, teacher.name)
    file = ".".join((*names, "metrics" if looks else str(stage.number), settings, "safetensors"))
    new = Kept(
        file=file,
        sha256=found.files[RESULT],
        dataset=stage.dataset.name,
        data=stage.dataset.facts["digest"],
        network=network.name,
        teacher=teacher.name,
        settings=settings,
        seed=stage.number,
        recipe={k: plain(v) for k, v in components.differs("teacher", teacher).items()},
        accuracy=round(_grade(engine, stage)[0], 4),
        passes=found.value["passes"],
        machine=", ".join(
            str(found.environment[k]) for k in ("cpu", "device", "torch") if k in found.environment
        ),
    )
    kept.add(board, new, path.read_bytes())
    why = "metrics look with it" if looks else "its labels pair the rows of all machines"
    return f"wrote {board / kept.FOLDER / file}: {why}, so commit it with the records"


def prove(engine: Engine, cells: Sequence[Cell]) -> tuple[list[str], list[str]]:
    """Train the networks again that the board keeps: what is said of each, and what is wrong.

    Another machine comes to another network; its accuracy must be that of the one that is kept,
    but for chance. Raises BenchError if the board keeps none of those that the cells need.
    """
    plan, bare = engine.plan(cells), _bare(engine)
    again = {_place(stage): stage for stage in _classifiers(bare.plan(cells))}
    pairs = [(one, again[_place(one)]) for one in _classifiers(plan) if one.sha256]
    if not pairs:
        raise BenchError("the board keeps no teacher of these cells; nothing can be trained again")
    said, wrong = [], []
    for carried, trained in pairs:
        stated = next(k for k in engine.components.matrix.kept if k.sha256 == carried.sha256)
        outcome = engine.execute((trained,))
        if trained.id in outcome.failed:
            wrong.append(f"{stated.file}: {outcome.failed[trained.id].reason}")
            continue
        if outcome.finished[trained.id].files[RESULT] == carried.sha256:
            said.append(f"{stated.file}: trained again, it is the same, byte for byte")
            continue
        a, b, agreement, images = _grade(engine, carried, trained)
        text = (
            f"{stated.file}: trained again, it is another network: accuracy {b:.4f}, where the one "
            f"that is kept has {a:.4f}; they agree on {agreement:.1%} of {images} images"
        )
        middle = min(max((a + b) / 2, 1 / images), 1 - 1 / images)
        allowed = STANDARD_ERRORS * math.sqrt(2 * middle * (1 - middle) / images)
        (said if abs(a - b) <= allowed else wrong).append(text)
        if stated.accuracy is not None and abs(a - stated.accuracy) > 1 / images:
            wrong.append(f"{stated.file}: its accuracy is {a:.4f}, not {stated.accuracy:.4f}")
    return said, wrong


def _classifiers(plan: Plan) -> list[Squeeze]:
    """A denoiser carries a schedule beside its weights, and is not kept."""
    teachers = (stage for stage in plan.stages if isinstance(stage, Squeeze))
    return [s for s in teachers if fact("architecture", s.architecture, "track") != "generation"]


def _place(stage: Squeeze) -> tuple[object, ...]:
    return stage.dataset.name, stage.number, stage.teacher, stage.architecture


def _bare(engine: Engine) -> Engine:
    """The engine of a board that keeps nothing."""
    components = engine.components
    matrix = replace(components.matrix, kept=())
    return replace(engine, components=replace(components, matrix=matrix))


def _grade(engine: Engine, *networks: Squeeze) -> tuple[float, ...]:
    """The accuracy of each network, how many images they agree on, and how many there are."""
    first = networks[0]
    stage = Grade(first.dataset, first.number, networks)
    stage = replace(stage, id=digest([stage.kind, *(one.id for one in networks)]))
    outcome = engine.execute((*networks, stage))
    if stage.id not in outcome.finished:
        reason = outcome.failed[stage.id].reason if stage.id in outcome.failed else "interrupted"
        raise BenchError(f"{stage.title} failed: {reason}")
    value = outcome.finished[stage.id].value
    return (*value["accuracies"], value["agreement"][-1], value["images"])
