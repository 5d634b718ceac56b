"""Why is this made again? What has changed since, in the words of a board."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toyplug
from hypothesis import given
from hypothesis import strategies as st
from support import BOARD, SMALL

from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract import keys
from bench.contract.keys import canonical
from bench.contract.registry import Registry, registry_of
from bench.engine import why as module
from bench.engine.estimate import look
from bench.engine.results import run
from bench.engine.scheduler import Engine
from bench.engine.why import Reasons, why
from bench.store.store import Store

NOTED = "noted, ipc 1, toy-data, seed 0"
FIRST = "toy-first, ipc 1, toy-data, seed 0"
LR = {"recipe": {**BOARD["recipe"], "lr": 0.2}}
STUDENT = "student toy-linear of {}, ipc 1, hard labels, toy-data, seed 0"


def engine(store: Path, **changes: Any) -> Engine:
    document = {k: v for k, v in {**BOARD, **SMALL, **changes}.items() if v is not None}
    return Engine(resolve(parse(document), registry_of(toyplug.COMPONENTS)), Store(store))


def asked(one: Engine) -> Reasons:
    plan = one.plan(one.components.matrix.cells())
    return why(one, look(one, plan.stages))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a finished board of two cells."""
    folder = tmp_path_factory.mktemp("why")
    one = engine(folder)
    assert run(one, one.plan(one.components.matrix.cells())).cells_failed == 0
    return folder


def told(reasons: Reasons) -> dict[str, str]:
    return {reason.stage.title: reason.sentence for reason in reasons.again}


def test_of_what_is_finished_there_is_nothing_to_say(store: Path) -> None:
    assert asked(engine(store)) == Reasons((), {})


def test_a_changed_field_of_the_recipe_is_named_and_what_follows_is_counted(store: Path) -> None:
    reasons = asked(engine(store, recipe={**BOARD["recipe"], "lr": 0.2}))
    same = "recipe.lr was 0.1, is 0.2"
    assert told(reasons) == {STUDENT.format("noted"): same, STUDENT.format("toy-first"): same}
    assert [dict(reason.below) for reason in reasons.again] == [{"probe": 1, "measure": 1}] * 2
    assert str(reasons.again[0]).endswith(f"{same} (so are those below it: 1 probe, 1 measure)")
    assert reasons.new == {}


def test_a_changed_field_of_a_component_is_named(store: Path) -> None:
    before = engine(store, attacks=["noted-step"])
    assert run(before, before.plan(before.components.matrix.cells())).cells_failed == 0
    override = {"where": {"attack": "noted-step"}, "eps": 0.25}
    reasons = asked(engine(store, attacks=["noted-step"], set=[override]))
    (said,) = set(told(reasons).values())
    assert said.startswith("attack.eps was 0.03")
    assert said.endswith(", is 0.25")
    assert [dict(reason.below) for reason in reasons.again] == [{"measure": 1}] * 2


def test_what_is_told_of_a_stage_is_not_told_again_of_those_below(store: Path) -> None:
    one = engine(store, **LR)
    plan = one.plan(one.components.matrix.cells())
    for stage in plan.stages:
        stage.dataset.__dict__["identity"] = {**stage.dataset.identity, "data": "other"}
    reasons = told(why(one, look(one, plan.stages)))
    assert reasons == {
        **dict.fromkeys((NOTED, FIRST), "the data changed"),
        **dict.fromkeys(map(STUDENT.format, ("noted", "toy-first")), "recipe.lr was 0.1, is 0.2"),
    }


def test_several_changes_are_all_named(store: Path) -> None:
    recipe = {**BOARD["recipe"], "lr": 0.2, "steps": 6}
    reasons = asked(engine(store, recipe=recipe))
    assert set(told(reasons).values()) == {"recipe.lr was 0.1, is 0.2; recipe.steps was 5, is 6"}


def recoded(one: Engine, name: str) -> Engine:
    """An engine for which the code of a component has changed."""

    class Recoded(Registry):
        def identity(self, component: Any) -> dict[str, Any]:
            found = Registry.identity(self, component)
            return {**found, "code": "new"} if component.name == name else found

    registry = one.components.registry
    changed = Recoded(registry.entries, registry.broken, registry.packages)
    return replace(one, components=replace(one.components, registry=changed, _known={}))


def test_changed_code_is_named_by_its_component(store: Path) -> None:
    reasons = asked(recoded(engine(store), "noted"))
    assert told(reasons) == {NOTED: "the code of 'noted' changed"}
    assert dict(reasons.again[0].below) == {"train": 1, "probe": 1, "measure": 1}


def test_changed_code_of_a_network_is_told_once_of_those_that_train_it(store: Path) -> None:
    reasons = asked(recoded(engine(store), "toy-linear"))
    assert set(told(reasons)) == {STUDENT.format("noted"), STUDENT.format("toy-first")}
    assert set(told(reasons).values()) == {"the code of 'toy-linear' changed"}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("torch", "99", "torch was {torch}, is 99"),
        ("protocol", 99, "protocol was {protocol}, is 99"),
        ("device", "cuda", "device was cpu, is cuda"),
    ],
)
def test_another_platform_is_named(
    store: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: Any, said: str
) -> None:
    one, now = engine(store), keys.platform("cpu")
    plan = one.plan(one.components.matrix.cells())
    monkeypatch.setattr("bench.stages.stage.platform", lambda device: {**now, name: value})
    sentences = told(why(one, look(one, plan.stages)))
    assert sentences == dict.fromkeys((NOTED, FIRST), said.format(**now))


def test_other_data_are_named_and_not_their_digests(store: Path) -> None:
    one = engine(store)
    plan = one.plan(one.components.matrix.cells())
    for stage in plan.stages:
        stage.dataset.__dict__["identity"] = {**stage.dataset.identity, "data": "other"}
    assert set(told(why(one, look(one, plan.stages))).values()) == {"the data changed"}


def test_a_stage_whose_input_has_another_result_says_whose(store: Path) -> None:
    one = engine(store)
    plan = one.plan(one.components.matrix.cells())
    found = look(one, plan.stages)
    sets = {s.id: "other" for s in plan.stages if s.title == NOTED}
    student = tuple(s for s in plan.stages if s.title == STUDENT.format("noted"))
    reasons = why(one, replace(found, contents={**found.contents, **sets}, missing=student))
    assert told(reasons) == {STUDENT.format("noted"): f"the result of '{NOTED}' changed"}


def test_what_was_never_made_is_counted(store: Path) -> None:
    reasons = asked(engine(store, seeds=[0, 1]))
    assert reasons == Reasons((), {"condense": 2, "train": 2, "probe": 2, "measure": 2})


@pytest.fixture
def edited(store: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """A copy of the store whose notes of finished stages are changed."""

    def edit(change: Callable[[dict[str, Any]], None]) -> Path:
        copy = tmp_path / "edited"
        shutil.copytree(store, copy)
        for path in copy.glob("*/*/done.json"):
            done = json.loads(path.read_text())
            if done["stage"] != "load":
                change(done)
            path.write_text(json.dumps(done))
        return copy

    return edit


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"title": STUDENT.format("noted"), "price": "train"}, {STUDENT.format("noted")}),
        ({"title": STUDENT.format("noted"), "key": 3}, {STUDENT.format("noted")}),
        ({}, set()),
        ([], set()),
    ],
)
def test_a_store_of_an_older_version_is_no_fault(edited: Any, inputs: Any, said: set[str]) -> None:
    def change(done: dict[str, Any]) -> None:
        done["inputs"] = inputs

    reasons = asked(engine(edited(change), **LR))
    assert told(reasons) == dict.fromkeys(said, module.UNKNOWN)
    assert reasons.new["train"] == 2 - len(said)


def test_a_field_that_an_older_version_did_not_know_is_named(edited: Any) -> None:
    def change(done: dict[str, Any]) -> None:
        if done["stage"] == "train":
            del done["inputs"]["key"]["spec"]["recipe"]["clip"]

    said = set(told(asked(engine(edited(change), **LR))).values())
    assert said == {"recipe.clip was nothing, is 0.0; recipe.lr was 0.1, is 0.2"}


def test_of_several_that_differ_alike_the_latest_is_compared_with(
    store: Path, tmp_path: Path
) -> None:
    one = engine(tmp_path, controls=None)
    for lr in (0.1, 0.3):
        one = engine(tmp_path, controls=None, recipe={**BOARD["recipe"], "lr": lr})
        run(one, one.plan(one.components.matrix.cells()))
    reasons = asked(engine(tmp_path, controls=None, **LR))
    assert told(reasons) == {STUDENT.format("noted"): "recipe.lr was 0.3, is 0.2"}
    for path in tmp_path.glob("train/*/done.json"):
        if json.loads(path.read_text())["inputs"]["key"]["spec"]["recipe"]["lr"] == 0.3:
            os.utime(path, (1, 1))
    reasons = asked(engine(tmp_path, controls=None, **LR))
    assert told(reasons) == {STUDENT.format("noted"): "recipe.lr was 0.1, is 0.2"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@given(JSON, JSON)
def test_two_values_differ_somewhere_unless_they_are_the_same(was: Any, now: Any) -> None:
    places = [path for path, _, _ in module._changed(was, now)]
    assert bool(places) == (canonical(was) != canonical(now)) or module.ABSENT in canonical(
        [was, now]
    )
    assert len(set(places)) == len(places)
