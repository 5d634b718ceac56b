"""From a board to its graph of stages: what must run once, for whom.

A teacher is trained once for all methods that name it, a set condensed once for all students, a
student trained once for all attacks. Each question below is asked once for the coordinates of a
cell that its answer depends on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from bench.board.components import Components, labeller
from bench.board.matrix import FULL, Cell, Matrix
from bench.contract.errors import BenchError
from bench.contract.keys import digest
from bench.contract.kinds import fact
from bench.stages import evaluator
from bench.stages.attack import Attack, Probe
from bench.stages.condense import Condense
from bench.stages.evaluator import Evaluator
from bench.stages.load import Load, data_folder, located
from bench.stages.measure import Looked, Measure
from bench.stages.sample import Sample
from bench.stages.squeeze import Squeeze
from bench.stages.stage import EVALUATOR_SEED, Dataset, Stage, identity_of
from bench.stages.train import Train

SET = ("dataset", "method", "ipc", "seed")
STUDENT = (*SET, "labels", "architecture")
CELL = (*STUDENT, "attack", "sampler", "step")

Question = TypeVar("Question", bound=Callable[..., Any])
AnyStage = TypeVar("AnyStage", bound=Stage)


@dataclass(frozen=True)
class Planned:
    """A cell, and the stages whose results make its record."""

    cell: Cell
    condensed: Condense
    student: Train | None  # None where the images of the set are judged as samples
    probe: Probe | Sample
    measures: Mapping[str, Measure]  # by metric
    teacher: Squeeze | None  # who labels the views, or else whom the method asks

    @property
    def components(self) -> dict[str, Any]:
        """What the record names, by kind."""
        made, teacher, probe = self.condensed, self.teacher, self.probe
        scorer = made.scorer
        found = {
            "dataset": made.dataset.component,
            "method": made.method,
            "architecture": self.student and self.student.architecture,
            "attack": getattr(probe, "attack", None),
            "sampler": getattr(probe, "sampler", None),
            "teacher": teacher and teacher.teacher,
            "backbone": teacher.architecture if teacher else made.backbone,
            "denoiser": scorer.architecture if scorer else made.denoiser,
            "scorer": scorer and scorer.teacher,
        }
        return {kind: component for kind, component in found.items() if component}


@dataclass(frozen=True)
class Plan:
    cells: tuple[Planned, ...]
    stages: tuple[Stage, ...]  # those above come first
    looking: Mapping[str, Squeeze] = field(default_factory=dict)  # by file: networks not kept yet
    lost: int = 0  # cells left out because their data cannot be had


def load_stage(components: Components, name: str) -> Load:
    """The stage that loads a data set."""
    component = located(components.get("dataset", name, dataset=name), components.folder)
    evaluate, folder = components.matrix.evaluate, data_folder()
    partial = getattr(components.matrix, "partial", False)
    nothing = Dataset(name, component, "", {}, evaluate)
    stage = Load(nothing, 0, component, evaluate, folder, partial)
    identity = components.registry.identity
    return replace(stage, id=digest(stage.spec(lambda part: digest(identity(part)))))


def check_budgets(components: Components, datasets: Mapping[str, Dataset]) -> None:
    """What can be said only when the data are known: is there enough for ipc and probe?"""
    matrix = components.matrix
    for name, dataset in datasets.items():
        facts = dataset.facts
        least = min(facts["counts"])
        scarce = facts["classes"][facts["counts"].index(least)]
        for ipc in matrix.ipc:
            if ipc > least:
                raise BenchError(
                    f"ipc = {ipc} on {name}: class '{scarce}' has only {least} training images; "
                    f"expected at most {least}"
                )
        if matrix.probe.images > facts["test"]:
            raise BenchError(
                f"[probe] images = {matrix.probe.images}: {name} has {facts['test']} test images; "
                "expected at most that, or 0 for all"
            )


def plan(
    components: Components,
    datasets: Mapping[str, Dataset],
    cells: Iterable[Cell],
    board: Path | None = None,
) -> Plan:
    """The graph for some cells of a board; `board` is its folder, where it keeps networks."""
    asked = Questions(components, datasets, board)
    planned = tuple(asked.planned(cell) for cell in cells)
    return Plan(planned, tuple(asked.stages.values()), asked.looking)


def per(*axes: str) -> Callable[[Question], Question]:
    """The answer depends on these coordinates of a cell alone: it is found once for each."""

    def decorate(ask: Question) -> Question:
        def once(self: Questions, cell: Cell, *given: Any) -> Any:
            place = (ask.__name__, *(getattr(cell, axis) for axis in axes), *given)
            if place not in self.known:
                self.known[place] = ask(self, cell, *given)
            return self.known[place]

        return cast(Question, once)

    return decorate


@dataclass
class Questions:
    """Which stage does a cell need? The state is what has been answered."""

    components: Components
    datasets: Mapping[str, Dataset]
    board: Path | None
    stages: dict[str, Stage] = field(default_factory=dict)  # by id: equal inputs are one stage
    looking: dict[str, Squeeze] = field(default_factory=dict)
    known: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.matrix = self.components.matrix
        identity = cache(lambda part: digest(self.components.registry.identity(part)))
        self.identity = cache(lambda part: identity_of(part, identity))

    def one(self, stage: AnyStage) -> AnyStage:
        """The stage of these inputs, which may be known already."""

        def named(part: Any) -> Any:
            return part.id if isinstance(part, Stage) else self.identity(part)

        key = digest([stage.kind, stage.spec(named)])
        if key not in self.stages:
            self.stages[key] = replace(stage, id=key)
        known: AnyStage = self.stages[key]  # type: ignore[assignment]
        return known

    def get(self, kind: str, name: str, cell: Cell) -> Any:
        return self.components.get(kind, name, **vars(cell)) if name else None

    def planned(self, cell: Cell) -> Planned:
        measures = {name: self.measure(cell, name) for name in self.matrix.metrics}
        return Planned(
            cell,
            self.condense(cell),
            self.train(cell),
            self.probe(cell),
            {name: stage for name, stage in measures.items() if stage},
            self.teacher(cell),
        )

    @per(*SET)
    def squeeze(self, cell: Cell, teacher: str, network: str) -> Squeeze | None:
        if not teacher:
            return None
        backbone = self.get("architecture", network, cell)
        component = self.get("teacher", teacher, cell)
        return self.one(Squeeze(self.datasets[cell.dataset], cell.seed, component, backbone))

    @per(*SET)
    def condense(self, cell: Cell) -> Condense:
        method, matrix = self.get("method", cell.method, cell), self.matrix

        def fresh(what: str, network: str) -> Any:
            asked = fact("method", method, f"fresh_{what}")
            return self.get("architecture", network, cell) if asked else None

        return self.one(
            Condense(
                self.datasets[cell.dataset],
                cell.seed,
                method,
                cell.ipc,
                teacher=self.squeeze(cell, fact("method", method, "teacher"), matrix.backbone),
                scorer=self.squeeze(cell, fact("method", method, "scorer"), matrix.denoiser),
                backbone=fresh("networks", matrix.backbone),
                denoiser=fresh("denoisers", matrix.denoiser),
            )
        )

    @per(*SET, "labels")
    def teacher(self, cell: Cell) -> Squeeze | None:
        """Who labels the views, or whom the method asks. None is trained for a metric's sake."""
        method = self.get("method", cell.method, cell)
        if cell.labels != "teacher" and not fact("method", method, "teacher"):
            return None
        return self.squeeze(cell, labeller(self.matrix, method), self.matrix.backbone)

    @per(*STUDENT)
    def train(self, cell: Cell) -> Train | None:
        """The student; None where the images of the set are judged as samples are."""
        if fact("method", self.get("method", cell.method, cell), "samples"):
            return None
        return self.one(
            Train(
                self.datasets[cell.dataset],
                cell.seed,
                self.condense(cell),
                self.get("architecture", cell.architecture, cell),
                self.components.recipe(**vars(cell)),
                cell.labels,
                self.teacher(cell) if cell.labels == "teacher" else None,
            )
        )

    @per(*CELL)
    def probe(self, cell: Cell) -> Probe | Sample:
        return self._sample(cell) if cell.sampler else self._attack(cell)

    def _sample(self, cell: Cell) -> Sample:
        student = self.train(cell)
        return self.one(
            Sample(
                self.datasets[cell.dataset],
                cell.seed,
                self.condense(cell),
                student,
                self.get("sampler", cell.sampler, cell) if student else None,
                self.matrix.probe.images,
                cell.step if student else 0,
            )
        )

    def _attack(self, cell: Cell) -> Probe:
        """The attack of a cell; a slow one as a stage for every block of its test images."""
        dataset, images = self.datasets[cell.dataset], self.matrix.probe.images
        source = self.components.source(cell.attack)
        made_on = self.train(_source(cell, source, self.matrix)) if source else None
        student, attack = self.train(cell), self.get("attack", cell.attack, cell)
        size, count = fact("attack", attack, "block"), images or dataset.facts["test"]
        blocks = range(-(-count // size)) if 0 < size < count else ()
        parts = tuple(
            self.one(Attack(dataset, cell.seed, student, made_on, attack, images, block, size))
            for block in blocks
        )
        return self.one(Probe(dataset, cell.seed, student, made_on, attack, images, parts))

    @per(*CELL)
    def looked(self, cell: Cell, of: str) -> Looked:
        return {
            "set": self.condense(cell),
            "teacher": self.teacher(cell),
            "student": self.train(cell) if of in ("student", "probe") else None,
            "probe": self.probe(cell) if of == "probe" else None,
        }

    @per(*CELL)
    def measure(self, cell: Cell, name: str) -> Measure | None:
        metric = self.get("metric", name, cell)
        of, teacher = fact("metric", metric, "of"), fact("metric", metric, "features")
        looked, judged = self.looked(cell, of), self.train(cell) is None
        siblings = [*_siblings(cell, fact("metric", metric, "needs"), self.matrix.ceiling)]
        if None in siblings or (of == "student" and judged):
            return None
        network = cell.architecture if of != "set" else self.matrix.backbone
        return self.one(
            Measure(
                self.datasets[cell.dataset],
                cell.seed,
                metric,
                looked,
                tuple(self.looked(sibling, of) for sibling in siblings if sibling),
                self.evaluator(cell, teacher) if teacher else None,
                cell.step if looked["student"] else 0,
                network="" if judged else network,
            )
        )

    @per("dataset")
    def evaluator(self, cell: Cell, teacher: str) -> Evaluator:
        """The network that metrics look with: as the board keeps it, or to be trained."""
        nobody = replace(cell, method="", ipc=FULL, seed=EVALUATOR_SEED)
        name = evaluator.file_of(self.components, cell.dataset, teacher)
        path = self.board / evaluator.FOLDER / name if self.board else None
        backbone = self.get("architecture", self.matrix.backbone, cell)
        stage = Evaluator(self.datasets[cell.dataset], EVALUATOR_SEED, name, backbone)
        if path and path.is_file():
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            return self.one(replace(stage, sha256=sha256, file=str(path.resolve())))
        trained = self.squeeze(nobody, teacher, self.matrix.backbone)
        assert trained is not None
        self.looking[name] = trained
        return self.one(replace(stage, trained=trained))


def _source(cell: Cell, source: Mapping[str, str], matrix: Matrix) -> Cell:
    """The cell whose student a transferred attack is made on: of the same budget, where it has one.

    The full set is attacked through the largest budget of a method that has one.
    """
    found = replace(cell, **dict[str, Any](source))
    if found.method in matrix.ceiling:
        return replace(found, ipc=FULL)
    return replace(found, ipc=max(matrix.ipc)) if found.ipc == FULL else found


def _siblings(
    cell: Cell, needs: Iterable[Mapping[str, Any]], ceiling: tuple[str, ...]
) -> Iterator[Cell | None]:
    """The cells that a metric compares with; None for a method with a budget beside a ceiling."""
    for need in needs:
        sibling = replace(cell, **need)
        if sibling.method in ceiling:
            yield replace(sibling, ipc=FULL)
        else:
            yield None if sibling.ipc == FULL else sibling
