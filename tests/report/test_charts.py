"""What all charts share: texts that can be read."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report.charts import APART, LETTER, WIDTH, labels

AMOUNT = st.floats(min_value=1.0, max_value=1e6)


def row(place: str, cost: float, mean: float, label: str, front: bool = True) -> dict[str, Any]:
    return {"place": place, "cost": cost, "mean": mean, "label": label, "front": front}


@st.composite
def fronts(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Two panels, each with a front and one row below it."""
    found = []
    for place in "pq":
        costs = sorted(draw(st.lists(AMOUNT, min_size=1, max_size=8, unique=True)))
        steps = draw(st.lists(st.floats(0.001, 0.2), min_size=len(costs), max_size=len(costs)))
        names = [f"{'method' * draw(st.integers(1, 3))} {n}" for n in range(len(costs))]
        for n, (cost, name) in enumerate(zip(costs, names, strict=True)):
            found.append(row(place, cost, 0.1 + sum(steps[: n + 1]), name))
        found.append(row(place, costs[-1], 0.1, "below", front=False))
    return found


@settings(deadline=None, derandomize=True)
@given(fronts())
def test_every_row_of_a_front_is_named_once_and_no_text_lies_on_another(
    rows: list[dict[str, Any]],
) -> None:
    found = labels(rows, "cost")
    assert [{k: one[k] for k in rows[0]} for one in found] == rows
    for place in "pq":
        panel = [one for one in found if one["place"] == place]
        said = [one for one in panel if one["text"]]
        named = [name for one in said for name in one["text"].split(", ")]
        assert sorted(named) == sorted(one["label"] for one in panel if one["front"])
        height = max(one["mean"] for one in panel) - min(one["mean"] for one in panel)
        boxes = [(*_across(one, rows), one["mean"] / height) for one in said]
        for n, (left, right, y) in enumerate(boxes):
            for other_left, other_right, other_y in boxes[:n]:
                beside = left >= other_right - 1e-6 or other_left >= right - 1e-6
                assert beside or abs(y - other_y) >= APART - 1e-6


def _across(one: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[float, float]:
    """From where to where a text goes, in pixels."""
    logs = [math.log(row["cost"]) for row in rows]
    span = max(logs) - min(logs) or 1.0
    x, width = (math.log(one["cost"]) - min(logs)) / span * WIDTH, LETTER * len(one["text"])
    return (x, x + width) if one["side"] == "right" else (x - width, x)


def test_rows_that_are_hardly_apart_share_a_text_unless_they_are_far_from_each_other() -> None:
    rows = [row("p", c, m, n) for c, m, n in ((1, 0.1, "a"), (900, 0.5, "b"), (1000, 0.51, "c"))]
    assert [one["text"] for one in labels(rows, "cost")] == ["a", "", "b, c"]
    rows[1]["cost"] = 2
    assert [one["text"] for one in labels(rows, "cost")] == ["a", "b", "c"]


def test_a_text_stays_inside_the_axis() -> None:
    rows = [row("p", 1, 0.1, "first"), row("p", 1000, 0.9, "last")]
    assert [one["side"] for one in labels(rows, "cost")] == ["right", "left"]


@pytest.mark.parametrize("cost", [1.0, 5e5])
def test_one_cost_alone_has_texts_too(cost: float) -> None:
    [one] = labels([row("p", cost, 0.5, "only")], "cost")
    assert one["text"] == "only"
