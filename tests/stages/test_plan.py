"""What must run once, for whom, and what each key depends on."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench.board.check import resolve
from bench.board.matrix import NO_BUDGET, Cell, parse
from bench.contract.errors import BenchError
from bench.contract.files import stamp
from bench.contract.keys import digest
from bench.contract.registry import registry_of
from bench.stages.load import is_current
from bench.stages.plan import Plan, load_stage, short_of
from bench.stages.plan import plan as plan_of
from bench.stages.stage import STAGES, Dataset, Stage, identity_of
from bench.store.store import Finished
from bench.training import toy

NOTHING = object()
BOARD: dict[str, Any] = {
    "title": "Toys",
    "datasets": ["toy-data"],
    "methods": ["toy-means", "toy-soft"],
    "ipc": [1, 2],
    "architectures": ["toy-convnet"],
    "attacks": ["toy-clean"],
    "metrics": ["toy-accuracy"],
    "backbone": "toy-convnet",
}


@dataclass(frozen=True)
class Fresh(toy.ToyMeans):
    """A method that trains networks of its own."""

    name: str = "fresh"
    fresh_networks: ClassVar[bool] = True


@dataclass(frozen=True)
class OfSet(toy.ToyAccuracy):
    """A metric that looks at the set alone."""

    name: str = "of-set"
    of: ClassVar[str] = "set"


@dataclass(frozen=True)
class OfStudent(toy.ToyAccuracy):
    """A metric that looks at the student."""

    name: str = "of-student"
    of: ClassVar[str] = "student"


@dataclass(frozen=True)
class Gain(toy.ToyAccuracy):
    """The gain over another method."""

    name: str = "gain"
    needs: ClassVar[tuple[Any, ...]] = ({"method": "toy-first"},)

    def measure(self, trial: Any, *siblings: Any) -> float:
        return super().measure(trial)


@dataclass(frozen=True)
class Gap(toy.ToyAccuracy):
    """What is missing to the full set."""

    name: str = "gap"
    needs: ClassVar[tuple[Any, ...]] = ({"method": "toy-full"},)

    def measure(self, trial: Any, *siblings: Any) -> float:
        return super().measure(trial)


@dataclass(frozen=True)
class Both(toy.ToyAccuracy):
    """A metric with two siblings."""

    name: str = "both"
    needs: ClassVar[tuple[Any, ...]] = ({"method": "toy-first"}, {"attack": "toy-clean"})

    def measure(self, trial: Any, *siblings: Any) -> float:
        return super().measure(trial)


TOYS = registry_of(
    {**toy.COMPONENTS, "method": (*toy.COMPONENTS["method"], Fresh())}
    | {"metric": (toy.ToyAccuracy(), OfSet(), OfStudent(), Gain(), Gap(), Both())}
)
FACTS = {
    "digest": "d1",
    "classes": ["a", "b", "c"],
    "counts": [40, 30, 40],
    "test": 60,
    "shape": [1, 8, 8],
    "mean": [0.5],
    "std": [0.2],
    "flip": False,
}


def components_of(**changes: Any):
    document = {k: v for k, v in (BOARD | changes).items() if v is not NOTHING}
    return resolve(parse(document), TOYS)


def planned(
    *, cells: Iterable[Cell] | None = None, facts: Mapping[str, Any] = FACTS, **changes: Any
) -> Plan:
    components = components_of(**changes)
    datasets = {
        name: Dataset(name, components.get("dataset", name, dataset=name), "load", facts)
        for name in components.matrix.datasets
    }
    chosen = components.matrix.cells() if cells is None else cells
    return plan_of(components, datasets, chosen)


def identity(part: Any) -> Any:
    return identity_of(part, lambda component: digest(TOYS.identity(component)))


def key_of(stage: Stage, contents: Mapping[str, str], device: str) -> str:
    """The key of a stage, were these the contents above it, by role."""
    by_id = {above.id: contents[role] for role, above in stage.above.items()}
    return stage.key(identity, by_id, device)


def count(plan: Plan) -> dict[str, int]:
    kinds = [stage.kind for stage in plan.stages]
    return {kind: kinds.count(kind) for kind in STAGES if kind in kinds}


def override(where: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"where": where, **values}


def of_kind(plan: Plan, kind: str) -> list[Stage]:
    return [stage for stage in plan.stages if stage.kind == kind]


# ---- what is shared


def test_a_cell_is_a_chain_of_stages() -> None:
    plan = planned(methods=["toy-means"], ipc=[1])
    (cell,) = plan.cells
    assert count(plan) == {"condense": 1, "train": 1, "probe": 1, "measure": 1}
    assert cell.probe.above == {"student": cell.student}
    assert cell.student.above == {"set": cell.condensed}
    assert cell.condensed.above == {}
    assert cell.measures["toy-accuracy"].above == {
        "cell.set": cell.condensed,
        "cell.student": cell.student,
        "cell.probe": cell.probe,
    }
    assert cell.teacher is None


def test_those_above_come_first() -> None:
    plan = planned(
        labels=["hard", "teacher"], teacher="toy-teacher", metrics=["toy-accuracy", "of-set"]
    )
    seen: set[str] = set()
    for stage in plan.stages:
        assert {s.id for s in stage.above.values()} <= seen
        seen.add(stage.id)
    assert len(seen) == len(plan.stages)


def test_a_teacher_is_trained_once_for_all_methods_and_ipcs_that_name_it() -> None:
    changes = {"define": {"soft-2": {"method": "toy-first"}}, "ipc": [1, 2, 5]}
    plan = planned(
        methods=["toy-means", "toy-soft", "soft-2"],
        labels=["teacher", "hard"],
        teacher="toy-teacher",
        **changes,
    )
    assert count(plan)["squeeze"] == 1
    assert {cell.teacher for cell in plan.cells if cell.cell.method == "toy-soft"} == set(
        of_kind(plan, "squeeze")
    )


def test_a_teacher_is_trained_for_every_seed_and_dataset() -> None:
    plan = planned(methods=["toy-soft"], seeds=[0, 1, 2], datasets=["toy-data", "toy-color"])
    assert count(plan)["squeeze"] == 6


def test_a_teacher_that_nobody_needs_is_not_trained() -> None:
    plan = planned(methods=["toy-means"], labels=["hard", "soft"], teacher="toy-teacher")
    assert "squeeze" not in count(plan)
    assert all(cell.teacher is None for cell in plan.cells)


def test_with_soft_labels_a_teacher_labels_real_images_and_no_others() -> None:
    plan = planned(
        methods=["toy-means", "toy-first"],
        ipc=[1],
        labels=["hard", "soft"],
        teacher="toy-teacher",
    )
    (labels,) = of_kind(plan, "squeeze")
    asked = {(c.cell.method, c.cell.labels): c.student.teacher for c in plan.cells}
    assert asked.pop(("toy-first", "soft")) is labels
    assert set(asked.values()) == {None}
    assert {c.cell.labels for c in plan.cells if c.teacher} == {"soft"}


def test_a_teacher_whose_fields_depend_on_ipc_is_trained_for_each_value() -> None:
    plan = planned(
        methods=["toy-soft"],
        ipc=[1, 2, 5],
        set=[override({"teacher": "toy-teacher", "ipc": [1]}, steps=3)],
    )
    assert sorted(s.teacher.steps for s in of_kind(plan, "squeeze")) == [3, 60]
    teachers = {cell.cell.ipc: cell.teacher for cell in plan.cells}
    assert teachers[2] is teachers[5] is not teachers[1]


def test_a_set_is_condensed_once_for_all_students() -> None:
    plan = planned(
        methods=["toy-soft"],
        ipc=[2],
        labels=["hard", "soft", "teacher"],
        architectures=["toy-convnet", "toy-linear"],
    )
    assert count(plan) == {"squeeze": 1, "condense": 1, "train": 6, "probe": 6, "measure": 6}


def test_a_student_is_trained_once_for_all_attacks() -> None:
    plan = planned(methods=["toy-means"], ipc=[2], attacks=["toy-clean", "toy-step"])
    assert count(plan) == {"condense": 1, "train": 1, "probe": 2, "measure": 2}


def test_the_probe_and_a_metric_of_the_set_do_not_look_further_than_they_say() -> None:
    plan = planned(
        methods=["toy-means"],
        ipc=[2],
        attacks=["toy-clean", "toy-step"],
        labels=["hard", "soft"],
        metrics=["of-set", "of-student", "toy-accuracy"],
    )
    measures = of_kind(plan, "measure")
    looks = {s.metric.name: set(s.above) for s in measures}
    assert looks == {
        "of-set": {"cell.set"},
        "of-student": {"cell.set", "cell.student"},
        "toy-accuracy": {"cell.set", "cell.student", "cell.probe"},
    }
    names = [s.metric.name for s in measures]
    assert {n: names.count(n) for n in looks} == {"of-set": 1, "of-student": 2, "toy-accuracy": 4}


def test_two_names_for_one_thing_share_their_work() -> None:
    define = {
        "means-2": {"method": "toy-means"},
        "convnet-2": {"architecture": "toy-convnet"},
        "clean-2": {"attack": "toy-clean"},
    }
    plan = planned(
        define=define,
        methods=["toy-means", "means-2"],
        architectures=["toy-convnet", "convnet-2"],
        attacks=["toy-clean", "clean-2"],
        ipc=[1],
    )
    assert len(plan.cells) == 8
    # the name of an architecture is in the seed (law 6), that of a method or an attack is not
    assert count(plan) == {"condense": 1, "train": 2, "probe": 2, "measure": 2}


def test_a_field_makes_a_variant() -> None:
    define = {"step-2": {"attack": "toy-step", "eps": 0.5}}
    plan = planned(define=define, methods=["toy-means"], ipc=[1], attacks=["toy-step", "step-2"])
    assert count(plan)["probe"] == 2


def test_what_the_record_names_is_what_was_used() -> None:
    plan = planned(
        define={"step-2": {"attack": "toy-step", "eps": 0.5}},
        methods=["toy-soft"],
        attacks=["step-2"],
        set=[override({"teacher": "toy-teacher"}, steps=3)],
    )
    named = plan.cells[0].components
    assert named["attack"] == toy.ToyStep("step-2", eps=0.5)
    assert named["teacher"] == toy.ToyTeacher(steps=3)
    assert named["method"].name == "toy-soft"
    assert set(named) == {"dataset", "method", "architecture", "attack", "teacher", "backbone"}
    assert "teacher" not in planned(methods=["toy-means"]).cells[0].components


def test_a_set_depends_on_the_backbone_where_its_method_trains_networks_of_its_own() -> None:
    define = {"other": {"architecture": "toy-convnet", "width": 5}}
    plans = [
        planned(define=define, methods=["fresh", "toy-means"], ipc=[1], backbone=backbone)
        for backbone in ("toy-convnet", "other")
    ]
    sets = [{cell.cell.method: cell.condensed for cell in plan.cells} for plan in plans]
    assert sets[0]["toy-means"].id == sets[1]["toy-means"].id
    assert sets[0]["fresh"].id != sets[1]["fresh"].id
    assert [made["fresh"].backbone.name for made in sets] == ["toy-convnet", "other"]
    named = {cell.cell.method: cell.components for cell in plans[1].cells}
    assert named["fresh"]["backbone"].name == "other"
    assert "backbone" not in named["toy-means"]


def test_a_title_tells_stage_dataset_and_seed_to_people() -> None:
    plan = planned(methods=["toy-soft"], ipc=[2], seeds=[7])
    titles = {stage.kind: stage.title for stage in plan.stages}
    student = "student toy-convnet of toy-soft, ipc 2, hard labels"
    assert titles == {
        "squeeze": "teacher toy-teacher (toy-convnet), toy-data, seed 7",
        "condense": "toy-soft, ipc 2, toy-data, seed 7",
        "train": f"{student}, toy-data, seed 7",
        "probe": f"toy-clean on {student}, toy-data, seed 7",
        "measure": f"toy-accuracy of toy-clean on {student}, toy-data, seed 7",
    }


# ---- siblings


def test_a_metric_gets_the_stages_of_its_sibling_by_number() -> None:
    plan = planned(methods=["toy-means"], controls=["toy-first"], ipc=[1], metrics=["gain"])
    mine, other = plan.cells
    above = mine.measures["gain"].above
    assert above["cell.student"] is mine.student
    assert above["siblings.0.student"] is other.student
    assert above["siblings.0.probe"] is other.probe
    assert len(mine.measures["gain"].siblings) == 1


def test_a_sibling_has_every_other_coordinate_of_the_cell() -> None:
    plan = planned(
        methods=["toy-means"],
        controls=["toy-first"],
        attacks=["toy-step", "toy-clean"],
        metrics=["both"],
        ipc=[1],
    )
    cells = {(c.cell.method, c.cell.attack): c for c in plan.cells}
    above = cells[("toy-means", "toy-step")].measures["both"].above
    assert above["siblings.0.probe"] is cells[("toy-first", "toy-step")].probe
    assert above["siblings.1.probe"] is cells[("toy-means", "toy-clean")].probe


def test_the_sibling_of_a_cell_is_planned_though_nobody_chose_it() -> None:
    changes = {"methods": ["toy-means"], "controls": ["toy-first"], "metrics": ["gain"]}
    cells = [c for c in components_of(**changes).matrix.cells() if c.method == "toy-means"]
    plan = planned(cells=cells[:1], **changes)
    assert [c.cell.method for c in plan.cells] == ["toy-means"]
    assert count(plan) == {"condense": 2, "train": 2, "probe": 2, "measure": 1}


def test_a_ceiling_is_a_sibling_at_every_budget() -> None:
    plan = planned(methods=["toy-means"], ceiling="toy-full", ipc=[1, 2], metrics=["gap"])
    full = next(c for c in plan.cells if c.cell.ipc == NO_BUDGET)
    for cell in plan.cells:
        assert cell.measures["gap"].above["siblings.0.student"] is full.student


def test_a_ceiling_has_no_sibling_with_a_budget() -> None:
    plan = planned(
        methods=["toy-means"],
        controls=["toy-first"],
        ceiling="toy-full",
        metrics=["gain", "toy-accuracy"],
    )
    full = next(c for c in plan.cells if c.cell.ipc == NO_BUDGET)
    assert set(full.measures) == {"toy-accuracy"}


# ---- structure


def structure(plan: Plan) -> set[tuple[Any, ...]]:
    return {
        (s.id, s.kind, tuple(sorted((role, a.id) for role, a in s.above.items())), s.seed)
        for s in plan.stages
    }


def test_the_structure_does_not_depend_on_the_order_of_cells() -> None:
    changes = {
        "methods": ["toy-soft", "toy-means"],
        "controls": ["toy-first"],
        "ceiling": "toy-full",
        "labels": ["hard", "teacher"],
        "teacher": "toy-teacher",
        "metrics": ["toy-accuracy", "gain", "of-set"],
    }
    cells = components_of(**changes).matrix.cells()
    orders = [cells, cells[::-1], sorted(cells, key=lambda c: (c.labels, c.ipc, c.method))]
    structures = [structure(planned(cells=order, **changes)) for order in orders]
    assert structures[0] == structures[1] == structures[2]


def test_part_of_the_cells_is_part_of_the_plan() -> None:
    whole, part = planned(), planned(cells=components_of().matrix.cells()[1:2])
    assert structure(part) < structure(whole)


# ---- seeds (law 6)


def test_students_of_any_two_methods_budgets_and_labels_have_the_same_seed() -> None:
    plan = planned(labels=["hard", "soft", "teacher"], teacher="toy-teacher", ceiling="toy-full")
    assert len(of_kind(plan, "train")) == 15
    assert len({s.seed for s in of_kind(plan, "train")}) == 1
    assert len({s.seed for s in of_kind(plan, "probe")}) == 1


def test_seeds_differ_by_stage_dataset_architecture_and_seed() -> None:
    plan = planned(
        methods=["toy-means"],
        ipc=[1],
        datasets=["toy-data", "toy-color"],
        architectures=["toy-convnet", "toy-linear"],
        seeds=[0, 1],
    )
    students = of_kind(plan, "train")
    assert len({s.seed for s in students}) == len(students) == 8
    assert not {s.seed for s in students} & {s.seed for s in of_kind(plan, "probe")}


# ---- keys


def keys(plan: Plan, device: str = "cpu", contents: Mapping[str, str] | None = None) -> list[str]:
    """Keys of all stages, were the content of each above its own title, or as given by kind."""
    given = contents or {}
    return [
        key_of(s, {role: given.get(a.kind, a.title) for role, a in s.above.items()}, device)
        for s in plan.stages
    ]


ONE = {"methods": ["toy-soft"], "ipc": [1]}


def changed(before: Plan, after: Plan) -> set[str]:
    """Kinds of stages that have another key, though the contents above them are the same."""
    contents = dict.fromkeys(STAGES, "same")
    pairs = zip(
        before.stages,
        keys(before, contents=contents),
        keys(after, contents=contents),
        strict=True,
    )
    return {stage.kind for stage, one, two in pairs if one != two}


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, set()),
        ({"title": "Another"}, set()),
        ({"limits": {"seconds": 5}}, set()),
        ({"set": [override({"teacher": "toy-teacher"}, steps=3)]}, {"squeeze"}),
        ({"recipe": {"lr": 0.5}}, {"train"}),
        ({"probe": {"images": 8}}, {"probe"}),
        ({"ipc": [2]}, {"condense"}),
        ({"labels": ["soft"]}, {"train"}),
        ({"set": [override({"attack": "toy-clean"}, eps=0.5)]}, {"probe"}),
        (
            {"set": [override({"architecture": "toy-convnet"}, width=4)]},
            {"squeeze", "condense", "train", "probe", "measure"},  # all look through the network
        ),
        ({"seeds": [1]}, {"squeeze", "condense", "train", "probe", "measure"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_a_change_gives_a_new_key_where_it_matters_and_nowhere_else(
    changes: dict[str, Any], kinds: set[str]
) -> None:
    assert changed(planned(**ONE), planned(**(ONE | changes))) == kinds


@pytest.mark.parametrize(
    "facts",
    [FACTS | {"digest": "d2"}, FACTS | {"classes": ["b", "a", "c"]}, FACTS | {"flip": True}],
    ids=["data", "names", "flip"],
)
def test_other_data_give_every_stage_another_key(facts: Mapping[str, Any]) -> None:
    here = set(STAGES) - {"load", "grade", "survey", "attack", "sample"}
    assert changed(planned(**ONE), planned(**ONE, facts=facts)) == here


def test_the_key_of_a_stage_follows_the_content_above_and_not_how_it_was_made() -> None:
    one, two = planned(methods=["toy-means"], ipc=[1]), planned(methods=["toy-first"], ipc=[1])
    student, other = one.cells[0].student, two.cells[0].student
    assert student.id != other.id
    same = {"set": "c1"}
    assert key_of(student, same, "cpu") == key_of(other, same, "cpu")
    assert key_of(student, same, "cpu") != key_of(student, {"set": "c2"}, "cpu")


def test_the_key_of_a_stage_knows_which_role_a_content_has() -> None:
    stage = planned(methods=["toy-soft"], labels=["teacher"]).cells[0].student
    assert key_of(stage, {"set": "a", "teacher": "b"}, "cpu") != key_of(
        stage, {"set": "b", "teacher": "a"}, "cpu"
    )


def test_the_type_of_device_is_in_every_key() -> None:
    plan = planned(**ONE)
    cpu, cuda = keys(plan, "cpu"), keys(plan, "cuda:0")
    assert not set(cpu) & set(cuda)
    assert cuda == keys(plan, "cuda:1")


def test_all_stages_of_a_plan_have_keys_of_their_own() -> None:
    plan = planned(labels=["hard", "soft", "teacher"], teacher="toy-teacher", ceiling="toy-full")
    assert len(set(keys(plan))) == len(plan.stages)
    assert len({s.id for s in plan.stages}) == len(plan.stages)


# ---- loading


def test_validation_is_another_load_than_test() -> None:
    test = load_stage(components_of(), "toy-data")
    validation = load_stage(components_of(evaluate="validation"), "toy-data")
    assert key_of(test, {}, "cpu") != key_of(validation, {}, "cpu")
    assert validation.evaluate == "validation"


def test_validation_data_are_other_data_below() -> None:
    from bench.stages.source import carved

    data = toy.GRAY.load()
    assert carved(data).digest != data.digest


def test_the_folder_of_data_sets_is_in_the_key_of_a_load(monkeypatch: pytest.MonkeyPatch) -> None:
    components = components_of()
    monkeypatch.setenv("BENCH_DATA", "one")
    one = load_stage(components, "toy-data")
    monkeypatch.setenv("BENCH_DATA", "two")
    assert key_of(one, {}, "cpu") != key_of(load_stage(components, "toy-data"), {}, "cpu")


def test_a_field_of_a_data_set_is_in_the_key_of_its_load() -> None:
    other = components_of(set=[override({"dataset": "toy-data"}, noise=0.5)])
    stages = [load_stage(c, "toy-data") for c in (components_of(), other)]
    assert stages[0].id != stages[1].id
    assert stages[1].component.noise == 0.5


def loaded(*paths: Path) -> Finished:
    return Finished("load", "k", "c", {"sources": [[str(p), *stamp(str(p))] for p in paths]})


def test_data_are_current_until_a_file_that_they_came_from_changes(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text("one")
    found = loaded(*files)
    assert is_current(found)
    files[1].write_text("longer")
    assert not is_current(found)


def test_data_are_not_current_when_a_file_is_touched_or_gone(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    found = loaded(file)
    os.utime(file, ns=(1, 1))
    assert not is_current(found)
    found = loaded(file)
    assert is_current(found)
    file.unlink()
    assert not is_current(found)


def test_data_from_no_file_are_always_current() -> None:
    assert is_current(loaded())


# ---- budgets


@pytest.mark.parametrize(
    ("ipc", "images", "words"),
    [
        (31, 0, "ipc = 31 on toy-data: class 'b' has only 30 training images"),
        (1, 61, "[probe] images = 61: toy-data has 60 test images"),
        (30, 60, ""),
        (NO_BUDGET, 0, ""),
    ],
)
def test_a_cell_that_there_are_too_few_images_for_says_of_what(
    ipc: int, images: int, words: str
) -> None:
    cell = Cell("toy-data", "toy-means", ipc, "hard", "toy-linear", "toy-clean", 0)
    assert short_of(cell, Dataset("toy-data", toy.GRAY, "load", FACTS), images) == words


def test_only_the_cells_decline_that_there_are_too_few_images_for() -> None:
    both = planned(methods=["toy-means"], ipc=[1, 31])
    alone = planned(methods=["toy-means"], ipc=[1])
    assert [s.id for s in both.stages] == [s.id for s in alone.stages]
    assert len(both.cells) > len(alone.cells)
    short = {p.probe.id for p in both.cells if p.cell.ipc == 31}
    assert short == both.declined.keys()
    assert not alone.declined


def test_no_two_coordinates_of_a_cell_are_mixed_up() -> None:
    """Every axis shows in some stage: changing one coordinate changes the chain of stages."""
    changes = {
        "datasets": ["toy-data", "toy-color"],
        "labels": ["hard", "soft"],
        "architectures": ["toy-convnet", "toy-linear"],
        "attacks": ["toy-clean", "toy-step"],
        "seeds": [0, 1],
    }
    plan = planned(**changes)
    chains = {c.cell: (c.condensed.id, c.student.id, c.probe.id) for c in plan.cells}
    for one, two in itertools.combinations(chains, 2):
        assert chains[one] != chains[two]
    base = plan.cells[0].cell
    only_attack = chains[replace(base, attack="toy-step")]
    assert only_attack[:2] == chains[base][:2]


# ---- attacks in parts, and on other students


@dataclass(frozen=True)
class Slow(toy.ToyStep):
    """An attack that takes its images in parts."""

    name: str = "slow"
    block: ClassVar[int] = 25


def slowly(**changes: Any) -> Plan:
    registry = registry_of({**toy.COMPONENTS, "attack": (toy.ToyClean(), Slow())})
    components = resolve(parse(BOARD | ONE | {"attacks": ["slow"]} | changes), registry)
    datasets = {"toy-data": Dataset("toy-data", toy.ToyData(), "load", FACTS)}
    return plan_of(components, datasets, components.matrix.cells())


def test_a_slow_attack_has_a_stage_for_every_part_of_its_images() -> None:
    [cell] = slowly().cells
    parts = [cell.probe.above[f"parts.{k}"] for k in range(3)]  # 60 test images
    assert set(cell.probe.above) == {"student", "parts.0", "parts.1", "parts.2"}
    assert [part.kind for part in parts] == ["attack"] * 3
    assert [(part.block, part.size) for part in parts] == [(0, 25), (1, 25), (2, 25)]
    assert all(part.above == {"student": cell.student} for part in parts)
    assert len({part.id for part in parts}) == 3


def test_few_images_are_attacked_in_one_stage() -> None:
    [cell] = slowly(probe={"images": 25}).cells
    assert set(cell.probe.above) == {"student"}
    [cell] = slowly(probe={"images": 26}).cells
    assert len(cell.probe.above) == 3


TRANSFER = {
    "attacks": ["toy-step", "moved"],
    "define": {"moved": {"attack": "toy-step", "source": {"architecture": "toy-linear"}}},
    "architectures": ["toy-convnet", "toy-linear"],
}


def test_a_transferred_attack_stands_below_its_source() -> None:
    plan = planned(**{**ONE, **TRANSFER})
    students = {(c.cell.architecture, c.cell.attack): c for c in plan.cells}
    moved = students["toy-convnet", "moved"].probe
    assert moved.above["student"] is students["toy-convnet", "toy-step"].student
    assert moved.above["source"] is students["toy-linear", "toy-step"].student
    assert "source" not in students["toy-convnet", "toy-step"].probe.above


def test_the_source_of_the_full_set_has_the_largest_budget() -> None:
    source = {"moved": {"attack": "toy-step", "source": {"method": "toy-means"}}}
    changes = {**TRANSFER, "define": source, "methods": ["toy-means"], "ipc": [1, 3]}
    plan = planned(**{**ONE, **changes, "ceiling": "toy-full"})
    of_full = next(
        c for c in plan.cells if c.cell.method == "toy-full" and c.cell.attack == "moved"
    )
    assert of_full.probe.above["source"].above["set"].ipc == 3


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"method": "toy-mean"}, "source method 'toy-mean' is not on this board; did you mean"),
        ({"architecture": "wide"}, "source architecture 'wide' is not on this board"),
        ({"seed": "1"}, "[define.moved] source has an unknown key 'seed'"),
        ({}, "source is empty; name a method or a network"),
        ("toy-means", "expected a table, as in source = "),
    ],
)
def test_a_source_that_is_not_on_the_board_is_refused(source: Any, said: str) -> None:
    define = {"moved": {"attack": "toy-step", "source": source}}
    with pytest.raises(BenchError, match=re.escape(said)):
        planned(**{**ONE, **TRANSFER, "methods": ["toy-means"], "define": define})


def test_only_attacks_have_a_source() -> None:
    define = {"mine": {"method": "toy-means", "source": {"method": "toy-means"}}}
    with pytest.raises(BenchError, match="a method has no source"):
        planned(**{**ONE, "methods": ["mine"], "define": define})


# ---- the generation track


@dataclass(frozen=True)
class Scored(toy.ToyMeans):
    """A method with a scorer."""

    name: str = "scored"
    scorer: str = "toy-diffusion"


@dataclass(frozen=True)
class FreshDenoisers(toy.ToyMeans):
    """A method that trains denoisers of its own."""

    name: str = "fresh-denoisers"
    fresh_denoisers: ClassVar[bool] = True


@dataclass(frozen=True)
class Looks(toy.ToyDistance):
    """A metric that looks at samples with a network."""

    name: str = "looks"
    features: str = "toy-teacher"


@dataclass(frozen=True)
class OfDenoiser(toy.ToyDistance):
    """A metric that looks at the student."""

    name: str = "of-denoiser"
    of: ClassVar[str] = "student"


GENERATION: dict[str, Any] = {
    "track": "generation",
    "methods": ["toy-means"],
    "ipc": [1],
    "architectures": ["toy-denoiser"],
    "attacks": NOTHING,
    "samplers": ["toy-sampler"],
    "metrics": ["toy-distance"],
    "denoiser": "toy-denoiser",
}
LONG = {"define": {"long": {"sampler": "toy-sampler", "steps": 9}}}
LONG |= {"samplers": ["toy-sampler", "long"]}
STEPS = {"recipe": {"steps": 9, "checkpoints": [3, 6]}}


def generated(**changes: Any) -> Plan:
    methods = (*toy.COMPONENTS["method"], Scored(), FreshDenoisers())
    metrics = (toy.ToyDistance(), Looks(), OfDenoiser())
    registry = registry_of({**toy.COMPONENTS, "method": methods, "metric": metrics})
    document = {**BOARD, **GENERATION, **changes}
    components = resolve(parse({k: v for k, v in document.items() if v is not NOTHING}), registry)
    datasets = {
        name: Dataset(name, components.get("dataset", name, dataset=name), "load", FACTS)
        for name in components.matrix.datasets
    }
    return plan_of(components, datasets, components.matrix.cells())


def test_a_cell_of_a_generator_is_a_chain_of_stages() -> None:
    plan = generated()
    [cell] = plan.cells
    assert count(plan) == {"condense": 1, "train": 1, "sample": 1, "measure": 1}
    assert cell.probe.kind == "sample"
    assert cell.probe.above == {"student": cell.student, "set": cell.condensed}
    assert cell.measures["toy-distance"].above == {
        "cell.set": cell.condensed,
        "cell.student": cell.student,
        "cell.probe": cell.probe,
    }
    assert set(cell.components) == {"dataset", "method", "architecture", "sampler"}
    titles = {stage.kind: stage.title for stage in plan.stages}
    student = "student toy-denoiser of toy-means, ipc 1"
    assert titles["train"] == f"{student}, toy-data, seed 0"
    assert titles["sample"] == f"toy-sampler of {student}, toy-data, seed 0"


def test_one_student_is_trained_for_all_samplers_and_checkpoints() -> None:
    plan = generated(**LONG, **STEPS, metrics=["toy-distance", "of-denoiser"])
    assert count(plan) == {
        "condense": 1,
        "train": 1,
        "sample": 2 * 3,
        "measure": 2 * 3 + 3,  # students are looked at once for all samplers
    }
    assert [cell.probe.step for cell in plan.cells] == [3, 6, 0] * 2
    titles = [cell.probe.title for cell in plan.cells]
    assert titles[0].startswith("toy-sampler @ 3 of student")
    assert titles[5].startswith("long of student")


def test_a_set_whose_images_are_judged_has_no_student() -> None:
    changes: dict[str, Any] = {"methods": NOTHING, "ipc": NOTHING, "ceiling": "toy-real"}
    architectures = {"wide": {"architecture": "toy-denoiser"}, **LONG["define"]}
    plan = generated(
        **{**changes, **LONG, **STEPS, "define": architectures},
        architectures=["toy-denoiser", "wide"],
        metrics=["toy-distance", "of-denoiser"],
    )
    assert len(plan.cells) == 2 * 2 * 3
    found = count(plan)
    assert "train" not in found
    assert found["sample"] == 1  # the same whatever network, sampler and checkpoint
    for cell in plan.cells:
        assert cell.student is None
        assert set(cell.measures) == {"toy-distance"}
        assert set(cell.probe.above) == {"set"}
        assert set(cell.components) == {"dataset", "method"}


def test_the_full_set_and_its_images_as_samples_share_nothing_but_their_set() -> None:
    changes: dict[str, Any] = {"methods": NOTHING, "ipc": NOTHING}
    full, real = generated(**changes, ceiling=["toy-full", "toy-real"]).cells
    assert full.student is not None
    assert full.probe.id != real.probe.id


def test_metrics_look_with_one_network_for_all_seeds_that_no_method_can_ask() -> None:
    plan = generated(methods=["toy-soft", "toy-means"], metrics=["looks"], seeds=[0, 1, 2], **STEPS)
    looks = [cell.measures["looks"].features for cell in plan.cells]
    assert len({stage.id for stage in looks}) == 1
    asked = {cell.teacher.id for cell in plan.cells if cell.teacher}
    assert len(asked) == 3
    trained = looks[0]
    assert trained.id not in asked
    assert trained.seed not in {cell.teacher.seed for cell in plan.cells if cell.teacher}
    assert trained.title == "teacher toy-teacher (toy-convnet), toy-data"
    assert len({cell.measures["looks"].id for cell in plan.cells}) == len(plan.cells)


def test_a_scorer_stands_above_the_set_of_who_asks_it() -> None:
    plan = generated(methods=["scored", "toy-means"], seeds=[0, 1])
    scored = [cell for cell in plan.cells if cell.cell.method == "scored"]
    assert count(plan)["squeeze"] == 2
    for cell in scored:
        assert cell.condensed.above["scorer"] is cell.condensed.scorer
        assert cell.condensed.scorer.architecture.name == "toy-denoiser"
        assert cell.components["scorer"].name == "toy-diffusion"
        assert cell.components["denoiser"].name == "toy-denoiser"
        assert cell.teacher is None
    [plain, _] = [cell for cell in plan.cells if cell.cell.method == "toy-means"]
    assert plain.condensed.scorer is None
    assert {"scorer", "denoiser"}.isdisjoint(plain.components)


def ids(plan: Plan) -> dict[str, str]:
    """The stages of the first cell, by role."""
    cell = plan.cells[0]
    assert cell.student
    [measure] = cell.measures.values()
    return {
        "set": cell.condensed.id,
        "student": cell.student.id,
        "probe": cell.probe.id,
        "measure": measure.id,
    }


def differing(one: Mapping[str, str], two: Mapping[str, str]) -> set[str]:
    return {role for role in one if one[role] != two[role]}


BELOW = {
    "set": {"set", "student", "probe", "measure"},
    "student": {"student", "probe", "measure"},
    "probe": {"probe", "measure"},
}


@pytest.mark.parametrize(
    ("first", "changes"),
    [
        ("student", {"recipe": {"lr": 0.5}}),
        ("student", {"recipe": {"noise": "straight"}}),
        ("student", {"recipe": {"prediction": "noise"}}),
        ("student", {"recipe": {"timesteps": 10}}),
        ("student", {"recipe": {"projection": 0.0}}),
        ("student", {"recipe": {"ema": 0.5}}),
        ("student", {"recipe": {"dropout": 0.5}}),
        ("probe", {"probe": {"images": 30}}),
        ("probe", {"set": [{"where": {"sampler": "toy-sampler"}, "steps": 9}]}),
        (
            "probe",
            {"define": {"s": {"sampler": "toy-sampler", "steps": 9}}, "samplers": ["s"]},
        ),
        ("set", {"methods": ["fresh-denoisers"]}),
        ("set", {"methods": ["scored"]}),
    ],
    ids=str,
)
def test_what_a_stage_of_a_generator_depends_on_is_in_its_key(
    first: str, changes: dict[str, Any]
) -> None:
    assert differing(ids(generated()), ids(generated(**changes))) == BELOW[first]


def test_another_name_of_a_sampler_or_another_backbone_changes_nothing() -> None:
    same = {"define": {"s": {"sampler": "toy-sampler"}}, "samplers": ["s"]}
    assert differing(ids(generated()), ids(generated(**same))) == set()
    assert differing(ids(generated()), ids(generated(backbone="toy-linear"))) == set()


def test_the_denoiser_of_a_board_matters_to_those_who_ask_for_it() -> None:
    other = {"define": {"other": {"architecture": "toy-denoiser"}}, "denoiser": "other"}
    for method, wanted in (
        ("toy-means", set()),
        ("scored", BELOW["set"]),  # its name is in the seed of the scorer
        ("fresh-denoisers", set()),  # the same network by another name
    ):
        one, two = (ids(generated(methods=[method], **c)) for c in ({}, other))
        assert differing(one, two) == wanted, method
    plan = generated(methods=["fresh-denoisers"])
    assert plan.cells[0].components["denoiser"] == toy.ToyDenoiser()


def test_the_backbone_matters_to_metrics_that_look_with_it() -> None:
    one, two = (
        ids(generated(metrics=["looks"], backbone=b)) for b in ("toy-convnet", "toy-linear")
    )
    assert differing(one, two) == {"measure"}


def test_samples_of_two_checkpoints_have_keys_of_their_own() -> None:
    plan = generated(**STEPS, metrics=["toy-distance", "of-denoiser"], seeds=[0, 1])
    assert len({*keys(plan)}) == len(plan.stages)
    seeds = {(cell.cell.seed, cell.probe.seed) for cell in plan.cells}
    assert len(seeds) == 2  # the same noise for all checkpoints of a seed


def test_seeds_are_the_same_for_all_sets_and_samplers() -> None:
    """Law 6: so that two methods differ by their sets alone."""
    plan = generated(methods=["toy-means", "toy-first"], **LONG)
    students = {cell.student.seed for cell in plan.cells if cell.student}
    assert len(students) == len({cell.probe.seed for cell in plan.cells}) == 1
