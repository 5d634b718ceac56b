"""A price is that of a like stage; any other is a guess, and says so."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toyplug
from support import BOARD, SMALL, a_result

from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract.registry import registry_of
from bench.engine.estimate import estimate
from bench.engine.executor import Slot
from bench.engine.prices import Price, Prices, Profile, learned, profile
from bench.engine.scheduler import Engine
from bench.stages.plan import Plan
from bench.store.store import Finished, Store

REGISTRY = registry_of(toyplug.COMPONENTS)


def planned(store: Path, **changes: Any) -> tuple[Engine, Plan]:
    document = {k: v for k, v in {**BOARD, **changes}.items() if v is not None}
    one = Engine(resolve(parse(document), REGISTRY), Store(store), (Slot(),) * 2)
    return one, one.plan(one.components.matrix.cells())


def test_stages_of_one_price_differ_by_seed_alone(tmp_path: Path) -> None:
    _, plan = planned(tmp_path)
    prices = Counter(profile(stage) for stage in plan.stages)
    assert {number for key, number in prices.items() if key.kind == "condense"} == {2}
    assert {number for key, number in prices.items() if key.kind != "condense"} >= {2}
    condensed = {key.what for key in prices if key.kind == "condense"}
    assert condensed == {"noted 1", "noted 2", "toy-first 1", "toy-first 2", "toy-full 0"}
    assert {(k.what, k.dataset, k.network) for k in prices if k.kind == "probe"} == {
        ("toy-clean", "toy-data", "toy-linear"),
        ("noted-step", "toy-data", "toy-linear"),
    }


@pytest.mark.parametrize(
    ("changes", "kind", "factor"),
    [
        ({"recipe": {**BOARD["recipe"], "steps": 50}}, "train", 10),
        ({"probe": {"images": 16}}, "probe", 1 / 4),
        ({"probe": {"images": 16}}, "measure", 1 / 4),
        ({"ipc": [4]}, "condense", 4),
    ],
)
def test_the_effort_is_in_proportion_to_images_and_steps(
    tmp_path: Path, changes: dict[str, Any], kind: str, factor: float
) -> None:
    efforts = []
    for board in (SMALL, {**SMALL, **changes}):
        _, plan = planned(tmp_path, **board)
        efforts.append({profile(s).effort for s in plan.stages if s.kind == kind})
    (small,), (large,) = efforts
    assert large == small * factor


A = Profile("probe", "pgd", "digits", "small", 100)


def known(*stages: tuple[Profile, float]) -> Prices:
    prices = Prices()
    for one, seconds in stages:
        prices.learn(one, seconds)
    return prices


def test_a_like_stage_has_the_price_and_no_other_changes_it() -> None:
    other = Profile("probe", "pgd", "photographs", "small", 5_000)
    prices = known((A, 2.0), (A, 3.0), (A, 7.0), (other, 900.0))
    assert prices.of(A) == Price(3.0)


@pytest.mark.parametrize(
    ("other", "guess"),
    [
        (Profile("probe", "pgd", "photographs", "small", 5_000), 100.0),  # 50 times the pixels
        (Profile("probe", "pgd", "digits", "small", 1_000), 20.0),  # more of its steps
        (Profile("probe", "clean", "digits", "large", 10), 0.2),
    ],
)
def test_another_stage_is_a_guess_in_proportion_to_its_effort(other: Profile, guess: float) -> None:
    assert known((A, 2.0)).of(other) == Price(pytest.approx(guess), guess=True)


def test_the_nearest_is_asked_first() -> None:
    prices = known(
        (A, 1.0),
        (Profile("probe", "pgd", "digits", "large", 100), 40.0),
        (Profile("probe", "clean", "photographs", "large", 1_000), 9.0),
    )
    wanted = Profile("probe", "pgd", "photographs", "large", 1_000)
    assert prices.of(wanted) == Price(pytest.approx(400.0), guess=True)


def test_nothing_of_its_kind_is_no_price() -> None:
    assert known((A, 2.0)).of(Profile("train", "", "digits", "small", 100)) is None


def test_a_set_has_no_price_by_another_method() -> None:
    """Herding takes seconds and matching hours, at the same images and steps."""
    matching = Profile("condense", "dc 1", "digits", "small", 10)
    assert known((matching, 9000.0)).of(replace(matching, what="herding 1")) is None
    assert known((matching, 9000.0)).of(replace(matching, dataset="photographs")).guess


def test_it_learns_while_it_is_asked() -> None:
    prices = known((Profile("probe", "pgd", "photographs", "small", 5_000), 500.0))
    assert prices.of(A) == Price(pytest.approx(10.0), guess=True)
    prices.learn(A, 3.0)
    assert prices.of(A) == Price(3.0)


def test_records_are_a_guess_for_their_data_and_network() -> None:
    result = a_result(seconds={"train": 400.0})
    prices = learned((), [result])
    assert prices.of(Profile("train", "hard", result.dataset, result.architecture, 10)) == Price(
        400.0, guess=True
    )


def test_a_network_of_one_name_and_other_fields_is_a_guess() -> None:
    """Two boards that share a store may define `convnet-32` otherwise."""
    narrow = replace(A, fields="of-width-8")
    prices = known((narrow, 2.0))
    assert prices.of(narrow) == Price(2.0)
    assert prices.of(replace(A, fields="of-width-64")) == Price(2.0, guess=True)


def test_a_price_depends_on_the_fields_of_the_network(tmp_path: Path) -> None:
    found = []
    for width in (8, 64):
        defined = {"define": {"net": {"architecture": "toy-convnet", "width": width}}}
        _, plan = planned(tmp_path, **{**SMALL, "architectures": ["net"], **defined})
        found.append({profile(s) for s in plan.stages if s.kind in ("train", "probe", "measure")})
    assert not found[0] & found[1]


@pytest.mark.parametrize("inputs", [{}, {"profile": 3}, {"profile": {"kind": "x", "y": 1}}, []])
def test_what_an_older_version_has_left_is_a_guess_and_no_fault(inputs: Any) -> None:
    old = Finished("probe", "0", "0", {}, inputs=inputs, cost={"seconds": 4.0})
    assert learned([old]).of(A) == Price(4.0, guess=True)


def test_an_estimate_counts_guesses_and_what_has_no_price(tmp_path: Path) -> None:
    _, plan = planned(tmp_path, **SMALL)
    train = next(stage for stage in plan.stages if stage.kind == "train")
    own = [profile(s) for s in plan.stages if s.kind == "condense"]
    near = [replace(one, dataset="another") for one in own]
    prices = known((profile(train), 2.0), *((one, 1.0) for one in near))
    by_kind = {e.kind: e for e in estimate(plan.stages, plan.stages, prices)}
    assert (by_kind["train"].seconds, by_kind["train"].guesses) == (4.0, 0)
    assert (by_kind["condense"].guesses, by_kind["condense"].unpriced) == (2, 0)
    assert (by_kind["probe"].guesses, by_kind["probe"].unpriced) == (0, 2)


LABELLED = {"labels": ["teacher"], "teacher": "toy-teacher", "backbone": "toy-convnet"}


def test_a_teacher_that_the_board_carries_is_not_priced_as_one_that_is_trained(
    tmp_path: Path,
) -> None:
    _, plan = planned(tmp_path, **SMALL, **LABELLED)
    trained = next(stage for stage in plan.stages if stage.kind == "squeeze")
    prices = known((profile(trained), 3600.0))
    assert prices.of(profile(trained)) == Price(3600.0)
    assert prices.of(profile(replace(trained, sha256="0" * 64))) is None
