"""From a board to its graph of stages: what must run once, for whom.

A teacher is trained once for all methods that name it, a set condensed once for all students, a
student trained once for all attacks. Each question below is asked once for the coordinates of a
cell that its answer depends on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from bench.board import networks
from bench.board.components import Components, labeller
from bench.board.matrix import NO_BUDGET, Cell, Matrix
from bench.board.networks import EVALUATOR_SEED
from bench.contract.errors import BenchError
from bench.contract.files import resolved
from bench.contract.keys import digest
from bench.contract.kinds import fact
from bench.stages.attack import Attack, Probe
from bench.stages.condense import Condense
from bench.stages.load import Load, data_folder, located
from bench.stages.measure import Looked, Measure
from bench.stages.sample import Sample
from bench.stages.squeeze import Squeeze, settings_of
from bench.stages.stage import Dataset, Stage, identity_of
from bench.stages.survey import Survey
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
    teacher: Squeeze | None  # who labels, or else whom the method asks

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
    declined: Mapping[str, str] = field(default_factory=dict)  # why, by the id of a cell's probe
    lost: int = 0  # cells left out because their data cannot be had


def load_stage(components: Components, name: str) -> Load:
    """The stage that loads a data set."""
    component = located(components.get("dataset", name, dataset=name), components.folder)
    evaluate, folder = components.matrix.evaluate, data_folder()
    partial = components.matrix.may_be_partial(name)
    nothing = Dataset(name, component, "", {}, evaluate)
    stage = Load(nothing, 0, component, evaluate, folder, partial)
    identity = components.registry.identity
    return replace(stage, id=digest(stage.spec(lambda part: digest(identity(part)))))


def short_of(cell: Cell, dataset: Dataset, images: int) -> str:
    """Why there are too few images for a cell; "" if there are enough. `images` is the probe's."""
    facts = dataset.facts
    least = min(facts["counts"])
    if cell.ipc > least:
        scarce = facts["classes"][facts["counts"].index(least)]
        return (
            f"ipc = {cell.ipc} on {dataset.name}: class '{scarce}' has only {least} training images"
        )
    if images > facts["test"]:
        return f"[probe] images = {images}: {dataset.name} has {facts['test']} test images"
    return ""


def plan(
    components: Components,
    datasets: Mapping[str, Dataset],
    cells: Iterable[Cell],
    board: Path | None = None,
) -> Plan:
    """The graph for some cells of a board; `board` is its folder, where it carries networks.

    No stage is run for a cell that there are too few images for.
    """
    asked = Questions(components, datasets, board)
    aside = Questions(components, datasets, board)  # whose stages are only described
    planned, declined = [], {}
    for cell in cells:
        why = asked.short(cell)
        planned.append((aside if why else asked).planned(cell))
        if why:
            declined[planned[-1].probe.id] = why
    return Plan(tuple(planned), tuple(asked.stages.values()), declined)


def per(*axes: str) -> Callable[[Question], Question]:
    """The answer depends on these coordinates of a cell alone: it is found once for each."""

    coordinates = attrgetter(*axes)

    def decorate(ask: Question) -> Question:
        def once(self: Questions, cell: Cell, *given: Any) -> Any:
            known, place = self.known[ask], (coordinates(cell), given)
            if place not in known:
                known[place] = ask(self, cell, *given)
            return known[place]

        return cast(Question, once)

    return decorate


@dataclass
class Questions:
    """Which stage does a cell need? The state is what has been answered."""

    components: Components
    datasets: Mapping[str, Dataset]
    board: Path | None
    stages: dict[str, Stage] = field(default_factory=dict)  # by id: equal inputs are one stage
    known: dict[Any, dict[Any, Any]] = field(default_factory=lambda: defaultdict(dict))

    def __post_init__(self) -> None:
        self.matrix = self.components.matrix
        identity = cache(lambda part: digest(self.components.registry.identity(part)))
        self.identity = cache(lambda part: identity_of(part, identity))

    def one(self, stage: AnyStage) -> AnyStage:
        """The stage of these inputs, which may be known already."""

        def named(part: Any) -> Any:
            return part.id if isinstance(part, Stage) else self.identity(part)

        # no key of the store, and ten times as fast as `digest`
        said = msgspec.json.encode([stage.kind, stage.spec(named)], order="sorted")
        key = sha256(said).hexdigest()[:16]
        if key not in self.stages:
            object.__setattr__(stage, "id", key)  # it is new: nobody else has it yet
            self.stages[key] = stage
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

    def short(self, cell: Cell) -> str:
        return short_of(cell, self.datasets[cell.dataset], self.matrix.probe.images)

    @per(*SET)
    def squeeze(self, cell: Cell, teacher: str, network: str) -> Squeeze | None:
        if not teacher:
            return None
        backbone = self.get("architecture", network, cell)
        component = self.get("teacher", teacher, cell)
        stage = Squeeze(self.datasets[cell.dataset], cell.seed, component, backbone)
        return self.one(self._carried(stage) if self.matrix.networks else stage)

    def _carried(self, stage: Squeeze) -> Squeeze:
        """The stage, with its file where the board carries it."""
        dataset, network, teacher = stage.dataset, stage.architecture, stage.teacher
        settings = settings_of(self.components, dataset.component, network, teacher)
        names = (dataset.name, dataset.facts["digest"], network.name, teacher.name)
        place = (*names, settings, stage.number)
        found = next((one for one in self.matrix.networks if one.place == place), None)
        if not found or not self.board:
            return stage
        if damage := networks.damage(self.board, found):
            raise BenchError(damage)
        file = str(resolved(self.board / networks.FOLDER / found.file))
        return replace(stage, sha256=found.sha256, file=file, passes=found.passes)

    @per(*SET)
    def condense(self, cell: Cell) -> Condense:
        method, data = self.get("method", cell.method, cell), self.datasets[cell.dataset]
        networks, survey = self._asked(cell, method), fact("method", method, "survey")
        if survey:
            asked = self._asked(cell, survey)
            networks["survey"] = self.one(Survey(data, cell.seed, survey, **asked))
        return self.one(Condense(data, cell.seed, method, cell.ipc, **networks))

    def _asked(self, cell: Cell, by: Any) -> dict[str, Any]:
        """The networks that a method, or its survey, asks for, by role."""

        def asks(name: str) -> Any:
            return fact("method", by, name)

        def fresh(what: str, network: str) -> Any:
            return self.get("architecture", network, cell) if asks(f"fresh_{what}") else None

        backbone, denoiser = self.matrix.backbone, self.matrix.denoiser
        return {
            "teacher": self.squeeze(cell, asks("teacher"), backbone),
            "scorer": self.squeeze(cell, asks("scorer"), denoiser),
            "backbone": fresh("networks", backbone),
            "denoiser": fresh("denoisers", denoiser),
        }

    @per(*SET, "labels")
    def labelling(self, cell: Cell) -> Squeeze | None:
        """Who labels what the student is trained on."""
        method = self.get("method", cell.method, cell)
        return self.squeeze(cell, labeller(self.matrix, method, cell.labels), self.matrix.backbone)

    @per(*SET, "labels")
    def teacher(self, cell: Cell) -> Squeeze | None:
        """Who labels, or else whom the method asks. None is trained for a metric's sake."""
        asked = fact("method", self.get("method", cell.method, cell), "teacher")
        return self.labelling(cell) or self.squeeze(cell, asked, self.matrix.backbone)

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
                self.labelling(cell),
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

    def measure(self, cell: Cell, name: str) -> Measure | None:
        metric = self.get("metric", name, cell)
        of, teacher = fact("metric", metric, "of"), fact("metric", metric, "features")
        looked, judged = self.looked(cell, of), self.train(cell) is None
        siblings = [*_siblings(cell, fact("metric", metric, "needs"), self.matrix.ceiling)]
        if any(s is None or self.short(s) for s in siblings) or (of == "student" and judged):
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
    def evaluator(self, cell: Cell, teacher: str) -> Squeeze | None:
        """The network that metrics look with: one teacher for the whole board."""
        no_method = replace(cell, method="", ipc=NO_BUDGET, seed=EVALUATOR_SEED)
        return self.squeeze(no_method, teacher, self.matrix.backbone)


def _source(cell: Cell, source: Mapping[str, str], matrix: Matrix) -> Cell:
    """The cell whose student a transferred attack is made on: of the same budget, where it has one.

    The full set is attacked through the largest budget of a method that has one.
    """
    found = replace(cell, **dict[str, Any](source))
    if found.method in matrix.ceiling:
        return replace(found, ipc=NO_BUDGET)
    return replace(found, ipc=max(matrix.ipc)) if found.ipc == NO_BUDGET else found


def _siblings(
    cell: Cell, needs: Iterable[Mapping[str, Any]], ceiling: tuple[str, ...]
) -> Iterator[Cell | None]:
    """The cells that a metric compares with; None for a method with a budget beside a ceiling."""
    for need in needs:
        sibling = replace(cell, **need)
        if sibling.method in ceiling:
            yield replace(sibling, ipc=NO_BUDGET)
        else:
            yield None if sibling.ipc == NO_BUDGET else sibling
