"""From a board to its graph of stages: what must run once, for whom.

A teacher is trained once for all methods that name it, a set condensed once for all students, a
student trained once for all attacks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from bench.board.components import Components, labeller
from bench.board.matrix import FULL, Cell, Matrix
from bench.contract.errors import BenchError
from bench.contract.keys import digest, parameters, seed_of
from bench.records.record import at_step
from bench.stages import evaluator
from bench.stages.stage import Dataset, Plan, Planned, Stage
from bench.store.store import Finished

APART = -1  # the seed of networks that metrics look with: no method can have asked one of them


def load_stage(components: Components, name: str) -> Stage:
    """The stage that loads a data set. What the rest of the plan looks like depends on it."""
    component = components.get("dataset", name, dataset=name)
    evaluate = components.matrix.evaluate
    spec = {
        "dataset": components.registry.identity(component),
        "evaluate": evaluate,
        "folder": data_folder(),
    }
    parts = {"dataset": component, "evaluate": evaluate}
    return Stage(digest(spec), "load", f"load {name}", spec, {}, parts)


def data_folder() -> str:
    """Where the user has put data files, as far as the harness knows."""
    return os.environ.get("BENCH_DATA", "")


def is_current(loaded: Finished) -> bool:
    """Are the files that a data set was read from as they were then?"""
    for path, size, modified in loaded.value["sources"]:
        try:
            now = os.stat(path)
        except OSError:
            return False
        if (now.st_size, now.st_mtime_ns) != (size, modified):
            return False
    return True


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
    matrix = components.matrix
    made: dict[str, Stage] = {}
    looking: dict[str, Stage] = {}

    @cache
    def identity(component: Any) -> str:
        return digest(components.registry.identity(component))

    def stage(
        kind: str,
        title: str,
        spec: Mapping[str, Any],
        above: Mapping[str, Stage],
        parts: Mapping[str, Any],
        dataset: Dataset,
        architecture: str,
        seed: int,
    ) -> Stage:
        number = seed_of(kind, dataset.name, architecture, seed)
        # a state says what a network has learned, not what it computes with that
        networks = {
            role: identity(s.parts["architecture"])
            for role, s in above.items()
            if "architecture" in s.parts
        }
        spec = {**spec, **dataset.identity, "networks": networks, "seed": number}
        stage_id = digest([kind, spec, {role: s.id for role, s in above.items()}])
        if stage_id not in made:
            where = f", {dataset.name}" + (f", seed {seed}" if seed != APART else "")
            title = title.replace(where, "") + where
            made[stage_id] = Stage(stage_id, kind, title, spec, above, parts, dataset, number)
        return made[stage_id]

    @cache
    def squeezed(
        dataset: str, method: str, ipc: int, teacher: str, network: str, seed: int
    ) -> Stage:
        component = components.get("teacher", teacher, dataset=dataset, method=method, ipc=ipc)
        backbone = components.get("architecture", network, dataset=dataset)
        return stage(
            "squeeze",
            f"teacher {teacher} ({network})",
            {"teacher": identity(component), "backbone": identity(backbone)},
            {},
            {"teacher": component, "backbone": backbone, "architecture": backbone},
            datasets[dataset],
            network,
            seed,
        )

    @cache
    def looks(dataset: str, teacher: str) -> Stage:
        """The network that metrics look with, one for the whole board: as kept, or to be trained.

        Adopted either way, it has one content, so that nothing is measured again once it is kept.
        The key holds the hash of a file that is kept, so that it names what the stage will give.
        """
        name = evaluator.file_of(components, dataset, teacher)
        path = board / evaluator.FOLDER / name if board else None
        network = components.get("architecture", matrix.backbone, dataset=dataset)
        spec, parts = {"backbone": identity(network)}, {"architecture": network}
        above: dict[str, Stage] = {}
        if path and path.is_file():
            spec["sha256"] = parts["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
            parts["file"] = str(path.resolve())
        else:
            looking[name] = squeezed(dataset, "", FULL, teacher, matrix.backbone, APART)
            above["network"] = looking[name]
        return stage(
            "adopt",
            f"network {name}",
            spec,
            above,
            parts,
            datasets[dataset],
            matrix.backbone,
            APART,
        )

    @cache
    def condensed(dataset: str, method: str, ipc: int, seed: int) -> Stage:
        component = components.get("method", method, dataset=dataset, ipc=ipc)
        roles = {"teacher": matrix.backbone, "scorer": matrix.denoiser}
        above = {
            role: squeezed(dataset, method, ipc, getattr(component, role), network, seed)
            for role, network in roles.items()
            if getattr(component, role, "")
        }
        spec, parts = {"method": identity(component), "ipc": ipc}, {"method": component, "ipc": ipc}
        fresh = (("networks", "backbone"), ("denoisers", "denoiser"))
        for what, role in fresh:
            if getattr(component, f"fresh_{what}", False):
                network = getattr(matrix, role)
                parts[role] = components.get("architecture", network, dataset=dataset)
                spec[role] = identity(parts[role])
        return stage(
            "condense",
            f"{method}, ipc {ipc or 'all'}",
            spec,
            above,
            parts,
            datasets[dataset],
            "",  # no network: a set is drawn alike on boards with other backbones
            seed,
        )

    def teacher_of(dataset: str, method: str, ipc: int, labels: str, seed: int) -> Stage | None:
        """Who labels the views, or whom the method asks. None is trained for a metric's sake."""
        component = components.get("method", method, dataset=dataset, ipc=ipc)
        if labels != "teacher" and not getattr(component, "teacher", ""):
            return None
        name = labeller(matrix, component)
        return squeezed(dataset, method, ipc, name, matrix.backbone, seed)

    @cache
    def trained(
        dataset: str, method: str, ipc: int, labels: str, architecture: str, seed: int
    ) -> Stage:
        component = components.get("architecture", architecture, dataset=dataset)
        where = {"dataset": dataset, "ipc": ipc, "labels": labels, "architecture": architecture}
        recipe = components.recipe(**where)
        above = {"set": condensed(dataset, method, ipc, seed)}
        teacher = teacher_of(dataset, method, ipc, labels, seed)
        if teacher and labels == "teacher":
            above["teacher"] = teacher
        said = f", {labels} labels" if matrix.track == "classification" else ""
        return stage(
            "train",
            f"student {architecture} of {method}, ipc {ipc or 'all'}{said}",
            {"architecture": identity(component), "recipe": parameters(recipe), "labels": labels},
            above,
            {"architecture": component, "recipe": recipe, "labels": labels},
            datasets[dataset],
            architecture,
            seed,
        )

    @cache
    def probed(cell: Cell) -> Stage:
        """The attack of a cell; a slow one as a stage for every block of its test images."""
        where = {"dataset": cell.dataset, "architecture": cell.architecture}
        component = components.get("attack", cell.attack, **where)
        student = student_of(cell)
        above = {"student": student}
        if source := components.source(cell.attack):
            above["source"] = student_of(_source(cell, source, matrix))
        images, size = matrix.probe.images, int(getattr(component, "block", 0))
        title, parts = f"{cell.attack} on {student.title}", {}
        count = images or datasets[cell.dataset].facts["test"]
        if 0 < size < count:
            for number in range(-(-count // size)):
                part = {"images": images, "part": [number, size]}
                parts[f"part {number}"] = stage(
                    "attack",
                    f"{title}, images {number * size} to {min(count, (number + 1) * size)}",
                    {"attack": identity(component), **part},
                    above,
                    {"attack": component, **part},
                    datasets[cell.dataset],
                    cell.architecture,
                    cell.seed,
                )
        return stage(
            "probe",
            title,
            {"attack": identity(component), "images": images},
            above | parts,
            {"attack": component, "images": images},
            datasets[cell.dataset],
            cell.architecture,
            cell.seed,
        )

    @cache
    def sampled(cell: Cell) -> Stage:
        """What a student gives for the labels of the test images; or images of a set as they are.

        Those are the same whatever the network and the sampler.
        """
        images = matrix.probe.images
        if judged(cell):
            drawn = condensed(cell.dataset, cell.method, cell.ipc, cell.seed)
            return stage(
                "sample",
                f"images of {drawn.title}",
                {"images": images},
                {"set": drawn},
                {"images": images},
                datasets[cell.dataset],
                "",
                cell.seed,
            )
        where = {"dataset": cell.dataset, "architecture": cell.architecture}
        component = components.get("sampler", cell.sampler, **where)
        student = student_of(cell)
        return stage(
            "sample",
            f"{at_step(cell.sampler, cell.step)} of {student.title}",
            {"sampler": identity(component), "images": images, "step": cell.step},
            {"student": student, "set": condensed(cell.dataset, cell.method, cell.ipc, cell.seed)},
            {"sampler": component, "images": images, "step": cell.step},
            datasets[cell.dataset],
            cell.architecture,
            cell.seed,
        )

    def judged(cell: Cell) -> bool:
        method = components.get("method", cell.method, dataset=cell.dataset, ipc=cell.ipc)
        return bool(getattr(method, "samples", False))

    def student_of(cell: Cell) -> Stage:
        where = (cell.dataset, cell.method, cell.ipc, cell.labels, cell.architecture)
        return trained(*where, cell.seed)

    def looked_at(cell: Cell, of: str) -> dict[str, Stage]:
        """The stages above a metric of the cell, by role, as far as the metric looks."""
        above = {"set": condensed(cell.dataset, cell.method, cell.ipc, cell.seed)}
        teacher = teacher_of(cell.dataset, cell.method, cell.ipc, cell.labels, cell.seed)
        if teacher:
            above["teacher"] = teacher
        if of in ("student", "probe") and not judged(cell):
            above["student"] = student_of(cell)
        if of == "probe":
            above["probe"] = probed(cell) if cell.attack else sampled(cell)
        return above

    def measured(cell: Cell, metric: str) -> Stage | None:
        component = components.get("metric", metric, dataset=cell.dataset)
        of = getattr(component, "of", "probe")
        above = looked_at(cell, of)
        if of == "student" and judged(cell):
            return None
        step = cell.step if "student" in above else 0
        if teacher := getattr(component, "features", ""):
            above["features"] = looks(cell.dataset, teacher)
        needs = getattr(component, "needs", ())
        for number, need in enumerate(needs):
            sibling = _sibling(cell, need, matrix.ceiling)
            if sibling is None:
                return None
            above |= {f"{number}.{role}": s for role, s in looked_at(sibling, of).items()}
        looked = above.get("probe", above.get("student", above["set"]))
        return stage(
            "measure",
            at_step(f"{metric} of {looked.title}", step if looked.kind == "train" else 0),
            {"metric": identity(component)} | ({"step": step} if step else {}),
            above,
            {"metric": component, "siblings": len(needs), "step": step},
            datasets[cell.dataset],
            "" if judged(cell) else cell.architecture if of != "set" else matrix.backbone,
            cell.seed,
        )

    planned = []
    for cell in cells:
        above = looked_at(cell, "probe")
        method = components.get("method", cell.method, dataset=cell.dataset, ipc=cell.ipc)
        kinds = {"dataset": datasets[cell.dataset].component, "method": method}
        if "student" in above:
            kinds["architecture"] = above["student"].parts["architecture"]
            probe = "attack" if cell.attack else "sampler"
            kinds[probe] = above["probe"].parts[probe]
        teacher, scorer = above.get("teacher"), above["set"].above.get("scorer")
        if teacher:
            kinds["teacher"] = teacher.parts["teacher"]
        for made_with in filter(None, (above["set"], teacher)):
            if "backbone" in made_with.parts:
                kinds["backbone"] = made_with.parts["backbone"]
        if "denoiser" in above["set"].parts:
            kinds["denoiser"] = above["set"].parts["denoiser"]
        if scorer:
            kinds["scorer"] = scorer.parts["teacher"]
            kinds["denoiser"] = scorer.parts["backbone"]
        planned.append(
            Planned(
                cell,
                above["set"],
                above.get("student"),
                above["probe"],
                {name: found for name in matrix.metrics if (found := measured(cell, name))},
                teacher,
                scorer,
                kinds,
            )
        )
    return Plan(tuple(planned), tuple(made.values()), looking)


def _source(cell: Cell, source: Mapping[str, str], matrix: Matrix) -> Cell:
    """The cell whose student a transferred attack is made on: of the same budget, where it has one.

    The full set is attacked through the largest budget of a method that has one.
    """
    found = replace(cell, **dict[str, Any](source))
    if found.method in matrix.ceiling:
        return replace(found, ipc=FULL)
    return replace(found, ipc=max(matrix.ipc)) if found.ipc == FULL else found


def _sibling(cell: Cell, need: Mapping[str, Any], ceiling: tuple[str, ...]) -> Cell | None:
    """The cell that a metric compares with; None for a method with a budget beside a ceiling."""
    sibling = replace(cell, **need)
    if sibling.method in ceiling:
        return replace(sibling, ipc=FULL)
    return None if sibling.ipc == FULL else sibling
