"""Networks that a board carries: given to it after a run, and proved by training them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.board import networks
from bench.board.matrix import Cell
from bench.board.networks import BoardNetwork
from bench.contract.errors import BenchError
from bench.contract.keys import digest, plain
from bench.contract.kinds import fact
from bench.engine.scheduler import Engine
from bench.records.result import by_chance
from bench.stages.grade import Grade
from bench.stages.plan import Plan
from bench.stages.squeeze import RESULT, Squeeze, settings_of
from bench.store.store import Finished


def carry(engine: Engine, plan: Plan, board: Path, *, teachers: bool) -> list[str]:
    """Give a board the networks that its metrics have looked with, and its `teachers` if asked.

    Returns what was done, a sentence each. Of a network that is too heavy only that is said.
    """
    said = []
    for stage in _classifiers(plan):
        if stage.sha256 or not (teachers or stage.number == networks.EVALUATOR_SEED):
            continue
        found = engine.store.find(stage.kind, engine.key_of(stage, {}))
        if found and not found.unsupported:
            said.append(_carry(engine, stage, found, board))
    return said


def _carry(engine: Engine, stage: Squeeze, found: Finished, board: Path) -> str:
    path = engine.store.folder(found.stage, found.key) / RESULT
    evaluator = stage.number == networks.EVALUATOR_SEED
    if (size := path.stat().st_size) > networks.HEAVIEST:
        return (
            f"{stage.title} weighs {size:,} bytes and is not carried: a board carries networks "
            f"of at most {networks.HEAVIEST:,}"
        )
    components, network, teacher = engine.components, stage.architecture, stage.teacher
    settings = settings_of(components, stage.dataset.component, network, teacher)
    names = (stage.dataset.name, network.name, teacher.name)
    file = ".".join(
        (*names, "metrics" if evaluator else str(stage.number), settings, "safetensors")
    )
    new = BoardNetwork(
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
    networks.add(board, new, path.read_bytes())
    why = "metrics look with it" if evaluator else "its labels pair the rows of all machines"
    return f"wrote {board / networks.FOLDER / file}: {why}, so commit it with the records"


def prove(engine: Engine, cells: Sequence[Cell]) -> tuple[list[str], list[str]]:
    """Train the networks again that the board carries: what is said of each, and what is wrong.

    Another machine comes to another network; its accuracy must be that of the one that it carries,
    but for chance. Raises BenchError if it carries none of those that the cells need.
    """
    plan, bare = engine.plan(cells), _bare(engine)
    bare_stages = {_place(stage): stage for stage in _classifiers(bare.plan(cells))}
    pairs = [(one, bare_stages[_place(one)]) for one in _classifiers(plan) if one.sha256]
    if not pairs:
        raise BenchError(
            "the board carries no teacher of these cells; nothing can be trained again"
        )
    said, wrong = [], []
    for old, new in pairs:
        stated = next(n for n in engine.components.matrix.networks if n.sha256 == old.sha256)
        outcome = engine.execute((new,))
        if new.id in outcome.failed:
            wrong.append(f"{stated.file}: {outcome.failed[new.id].reason}")
            continue
        if outcome.finished[new.id].files[RESULT] == old.sha256:
            said.append(f"{stated.file}: trained again, it is the same, byte for byte")
            continue
        a, b, agreement, images = _grade(engine, old, new)
        text = (
            f"{stated.file}: trained again, it is another network: accuracy {b:.4f}, where the one "
            f"that the board carries has {a:.4f}; they agree on {agreement:.1%} of {images} images"
        )
        (said if abs(a - b) <= by_chance(a, b, int(images)) else wrong).append(text)
        if stated.accuracy is not None and abs(a - stated.accuracy) > 1 / images:
            wrong.append(f"{stated.file}: its accuracy is {a:.4f}, not {stated.accuracy:.4f}")
    return said, wrong


def _classifiers(plan: Plan) -> list[Squeeze]:
    """A denoiser carries a schedule beside its weights, and is not carried."""
    teachers = (stage for stage in plan.stages if isinstance(stage, Squeeze))
    return [s for s in teachers if fact("architecture", s.architecture, "track") != "generation"]


def _place(stage: Squeeze) -> tuple[object, ...]:
    return stage.dataset.name, stage.number, stage.teacher, stage.architecture


def _bare(engine: Engine) -> Engine:
    """The engine of a board that carries nothing."""
    components = engine.components
    matrix = replace(components.matrix, networks=())
    return replace(engine, components=replace(components, matrix=matrix))


def _grade(engine: Engine, *teachers: Squeeze) -> tuple[float, ...]:
    """The accuracy of each network, how many images they agree on, and how many there are."""
    first = teachers[0]
    stage = Grade(first.dataset, first.number, teachers)
    stage = replace(stage, id=digest([stage.kind, *(one.id for one in teachers)]))
    outcome = engine.execute((*teachers, stage))
    if stage.id not in outcome.finished:
        reason = outcome.failed[stage.id].reason if stage.id in outcome.failed else "interrupted"
        raise BenchError(f"{stage.title} failed: {reason}")
    value = outcome.finished[stage.id].value
    return (*value["accuracies"], value["agreement"][-1], value["images"])
