"""A recomputation says which committed records hold, and which cells it is asked for by chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import BOARD, a_result, as_result, changed

from bench.board.matrix import Cell, parse
from bench.records.result import COORDINATES, pack
from bench.report.verify import compared, disagreements, missing, misstated, sample


def cells() -> tuple[Cell, ...]:
    return parse(BOARD).cells()


@given(st.integers(0, 30), st.text(max_size=5))
def test_a_sample_is_drawn_by_its_salt_alone(count: int, salt: str) -> None:
    every = cells()
    drawn = sample(every, count, salt)
    assert drawn == sample(every, count, salt)
    assert len(drawn) == min(count, len(every))
    assert list(drawn) == [cell for cell in every if cell in drawn]
    assert set(sample(every, max(0, count - 1), salt)) <= set(drawn)
    assert set(drawn) == set(sample(every[::-1], count, salt))


def test_other_salts_draw_other_cells() -> None:
    assert len({sample(cells(), 2, str(salt)) for salt in range(20)}) > 5


OTHER = {"environment": {"cpu": "another"}}


@pytest.mark.parametrize(
    "new",
    [
        {},
        {"metrics": {"right": 0.5 + 5e-7, "distance": 10.0}},  # records are rounded
        {**OTHER, "metrics": {"right": 0.6, "distance": 10.9}},
        {**OTHER, "metrics": {"right": 0.5, "distance": 9.1}},
        {"evaluate": "test"},
        {**OTHER, "code": {"method": "other"}},
        {"seconds": {"train": 1.0}, "versions": {"torch": "9"}},
    ],
    ids=["same", "rounded", "above", "below", "the default", "code elsewhere", "of the run"],
)
def test_a_result_that_holds_is_not_mentioned(new: dict[str, Any]) -> None:
    assert disagreements([a_result()], [a_result(**new)]) == []


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ({"metrics": {"right": 0.5025, "distance": 10.0}}, "right is 0.5; recomputed, it is 0.502"),
        ({"metrics": {"right": 0.5}}, "distance is 10; recomputed, it is missing"),
        ({"metrics": {"right": 0.5, "distance": 10.0, "new": 1.0}}, "new is missing; recomputed"),
        ({"reason": "no"}, "is ok; recomputed, it is unsupported"),
        ({"seed": 7}, "d m 1 hard a x 7: has no committed record"),
        ({**OTHER, "evaluate": "validation"}, "its evaluate is not what is recomputed"),
        ({**OTHER, "metrics": {"right": 0.65, "distance": 10.0}}, "right is 0.5; recomputed"),
        ({**OTHER, "metrics": {"right": 0.5, "distance": 11.5}}, "distance is 10; recomputed"),
    ],
)
def test_a_result_that_does_not_hold_is_named(new: dict[str, Any], said: str) -> None:
    (told,) = disagreements([a_result()], [a_result(**new)])
    assert said in told


@pytest.mark.parametrize("where", [{}, OTHER], ids=["here", "elsewhere"])
def test_a_metric_must_be_the_share_of_the_bits_that_are_committed(where: Any) -> None:
    bits = {"images": 4, "metrics": {"right": 0.5}}
    old, new = a_result(correct="kA==", **bits), a_result(correct="wA==", **bits, **where)
    assert disagreements([changed(old, correct="wA==")], [new]) == []
    (told,) = disagreements([changed(old, correct="gA==")], [new])
    assert "right is 0.5, which is not the share of its packed bits" in told


STATED = {
    "recipe": [{"lr": 0.1}, {"lr": 0.2}],
    "parameters": [{"attack": {"k": 1}}, {"attack": {"k": 2}}],
    "data": [{"digest": "one"}, {"digest": "two"}],
    "images_hash": ["one", "two"],
    "size": [1, 2],
    "bytes": [{"images": 1}, {"images": 2}],
}


@pytest.mark.parametrize("name", STATED)
@pytest.mark.parametrize("where", [{}, OTHER], ids=["here", "elsewhere"])
def test_what_the_board_states_must_hold_everywhere(name: str, where: Any) -> None:
    one, two = ({name: value} for value in STATED[name])
    (told,) = disagreements([a_result(**one)], [a_result(**two, **where)])
    assert f"its {name} is not what is recomputed" in told


@pytest.mark.parametrize("new", [3e-7, 4e-7])
def test_a_setting_that_was_rounded_to_nothing_is_another_one(new: float) -> None:
    old, same = (a_result(recipe={"lr": lr}, **OTHER) for lr in (0.0, 0.031373))
    (told,) = disagreements([old], [a_result(recipe={"lr": new})])
    assert "its recipe is not what is recomputed" in told
    assert disagreements([same], [a_result(recipe={"lr": 8 / 255})]) == []


def test_code_and_contents_must_hold_on_a_machine_like_its_own() -> None:
    for name in ("code", "content"):
        (told,) = disagreements([a_result()], [a_result(**{name: {"probe": "two"}})])
        assert f"its {name} is not what is recomputed" in told


def test_other_code_that_gives_the_same_bytes_is_no_disagreement() -> None:
    same = {"content": {"student": "s", "probe": "p"}}
    old = a_result(**same, code={"method": "one"}, attack_family="one")
    new = a_result(**same, code={"method": "two"}, attack_family="two")
    assert disagreements([old], [new]) == []
    (told,) = disagreements([old], [changed(new, content={"student": "s", "probe": "q"})])
    assert "its attack_family is not what is recomputed" in told


def test_a_rate_of_one_class_must_hold_on_a_machine_like_its_own_alone():
    scales = {name: {"better": "higher", "unit": "fraction"} for name in ("right", "worst")}
    bits = {"correct": pack(np.arange(400) < 200), "scales": scales}
    old, new = (a_result(**bits, metrics={"right": 0.5, "worst": w}) for w in (0.3, 0.0))
    assert disagreements([old], [changed(new, **OTHER)]) == []
    [told] = disagreements([old], [new])
    assert "worst is 0.3" in told


def shares(right: int, images: int = 400, **changes: Any) -> Any:
    """A result whose metric is the share of its right images."""
    scales = {"right": {"better": "higher", "unit": "fraction"}}
    bits = pack(np.arange(images) < right)
    told = {"correct": bits, "images": images, "scales": scales}
    return a_result(**{**told, "metrics": {"right": round(right / images, 6)}, **changes})


FORGED = {
    "fewer images": (shares(4, 4), "its images is not what is recomputed"),
    "another unit": (
        shares(200, scales={"right": {"better": "lower", "unit": "fraction"}}),
        "its scales is not what is recomputed",
    ),
    "moved nothing": (
        shares(200, perturbation={"linf": {"mean": 0.0, "max": 0.0}}),
        "its perturbation is not what is recomputed",
    ),
    "cost nothing": (
        shares(200, passes={"set": {"forward": 1}}),
        "its passes is not what is recomputed",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_record_of_another_machine_cannot_say_what_widens_its_interval(name: str) -> None:
    old, said = FORGED[name]
    moved = {"linf": {"mean": 0.01, "max": 0.03}} if old.perturbation else {}
    costs = {"set": {"forward": 100}} if old.passes else {}
    new = shares(200, perturbation=moved, passes=costs, **OTHER)
    (told,) = disagreements([old], [new])
    assert said in told


def test_a_probe_of_the_same_bytes_has_the_same_figures_whatever_machine_is_said() -> None:
    same = {"content": {"probe": "p"}}
    (told,) = disagreements([shares(210, **same)], [shares(200, **same, **OTHER)])
    assert "right is 0.525; recomputed, it is 0.5" in told


def test_a_rate_of_one_class_cannot_be_above_all_where_it_should_be_below() -> None:
    scales = {name: {"better": "higher", "unit": "fraction"} for name in ("right", "worst")}
    old, new = (shares(200, scales=scales, metrics={"right": 0.5, "worst": w}) for w in (1.0, 0.2))
    (told,) = disagreements([old], [changed(new, **OTHER)])
    assert "worst is 1, above the share of its right images; recomputed, it is not" in told


@pytest.mark.parametrize(("lifted", "found"), [(0, False), (11, False), (40, True)])
def test_students_that_lie_to_one_side_together_are_told_from_another_machine(
    lifted: int, found: bool
) -> None:
    new = [shares(200 + (-1) ** seed * 9, seed=seed, **OTHER) for seed in range(6)]
    old = [shares(200 + lifted, seed=seed) for seed in range(6)]
    assert all(disagreements([a], [b]) == [] for a, b in zip(old, new, strict=True))
    said = disagreements(old, new)
    assert bool(said) == found
    assert not found or "right of 6 students lies 2.8 standard errors above what is" in said[0]


def test_cells_without_a_result_are_counted_in_one_sentence() -> None:
    every = cells()
    axes = COORDINATES["classification"]
    known = [as_result(dict(zip(axes, cell.coordinate, strict=True))) for cell in every]
    assert missing(every, known) == []
    (said,) = missing(every, known[1:])
    assert said.startswith("1 cell has no committed record, as toy-data noted 1 hard")
    (said,) = missing(every, known[3:])
    assert said.startswith("3 cells have no committed record")


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_rate_at_its_bound_may_still_differ_elsewhere_by_chance(rate: float) -> None:
    near, far = abs(rate - 0.002), abs(rate - 0.1)
    old = a_result(metrics={"right": rate})
    assert disagreements([old], [a_result(**OTHER, metrics={"right": near})]) == []
    assert disagreements([old], [a_result(**OTHER, metrics={"right": far})])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "all 1 records have the figures of those of b"),
        ({**OTHER, "metrics": {"right": 0.51, "distance": 10.5}}, "agree with those of b within"),
        ({**OTHER, "metrics": {"right": 0.9, "distance": 10.0}}, "1 of 1 records do not agree"),
        ({"metrics": {"right": 0.51, "distance": 10.0}}, "right is 0.5; recomputed, it is 0.51"),
        ({**OTHER, "reason": "no", "metrics": {}}, "do not agree"),
        ({"seed": 7}, "b has no records of these cells"),
    ],
    ids=["equal", "near", "far", "near, on a machine that should give the same", "declined", "new"],
)
def test_figures_are_compared_in_one_sentence(changes: dict[str, Any], said: str) -> None:
    sentence = compared([a_result()], [a_result(**changes)], "b")
    assert said in sentence
    assert "\n" not in sentence


def test_a_comparison_names_the_metrics_that_it_holds_to_nothing() -> None:
    scales = {name: {"better": "higher", "unit": "fraction"} for name in ("right", "worst")}
    bits = {"correct": pack(np.arange(400) < 200), "scales": scales}
    old, new = (a_result(**bits, metrics={"right": 0.5, "worst": w}) for w in (0.3, 0.0))
    said = compared([old], [changed(new, **OTHER)], "b")
    assert said.endswith("another machine rounds differently; worst may differ freely)")


def test_a_share_that_is_not_that_of_its_images_is_named() -> None:
    """Which metric is that share, the others of its kind say."""
    sound = [
        a_result(seed=seed, metrics={"right": 0.75, "share": 0.5}, scales=SHARES, **BITS)
        for seed in range(5)
    ]
    assert misstated(Path("b"), sound) == []
    lie = a_result(seed=5, metrics={"right": 0.99, "share": 0.1}, scales=SHARES, **BITS)
    [said] = misstated(Path("b"), [*sound, lie])
    assert said.startswith("b: record of ")
    assert "seed=5: right is 0.99, and 0.75 of its images are right; measure" in said


SHARES = {name: {"better": "higher", "unit": "fraction"} for name in ("right", "share")}
BITS = {"images": 4, "correct": pack(np.array([True, True, True, False]))}


PARTS = [
    {"name": "slopes", "search": "iterative", "standing": 200},
    {"name": "blind", "search": "black-box", "standing": 100},
]


@pytest.mark.parametrize(
    ("field", "value"),
    [("slope", 0.1), ("slope", -1.0), ("not_finite", 0.5), ("fell_further", 0.4), ("parts", PARTS)],
)
def test_a_record_cannot_leave_out_what_tells_of_masking(field: str, value: Any) -> None:
    masking = a_result(**OTHER, **{field: value})
    [said] = disagreements([a_result()], [masking])
    assert f"its {field} is not what is recomputed" in said
    assert disagreements([masking], [masking]) == []


@pytest.mark.parametrize(
    ("field", "value"), [("slope", 0.9), ("not_finite", 0.01), ("fell_further", 0.1)]
)
def test_what_honest_students_show_may_be_missing_or_differ_elsewhere(
    field: str, value: Any
) -> None:
    assert disagreements([a_result()], [a_result(**OTHER, **{field: value})]) == []
