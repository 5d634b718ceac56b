"""What is said of all rows of a column."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import drawn, row

from bench.report.statistics import LEVEL, Row, difference
from bench.report.verdicts import holm, verdicts


def test_a_mean_over_other_seeds_turns_no_verdict_round():
    """Over all seeds a is above b, over those that both have it is far below."""
    a = Row("a", {0: 0.5, 1: 0.51, 2: 0.49, 3: 0.9, 4: 0.91, 5: 0.89})
    b = Row("b", {0: 0.59, 1: 0.61, 2: 0.58})
    assert difference(a, b).estimate.p < LEVEL
    assert verdicts([a, b], higher=True).ranks == {"a": (1, 2), "b": (1, 2)}


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_that_of_the_definition(values):
    expected = []
    for value in values:
        smaller = sorted(values)
        steps = [(len(values) - i) * p for i, p in enumerate(smaller) if p <= value]
        expected.append(min(1.0, max(steps)))
    assert holm(values) == pytest.approx(expected)
    assert all(p >= raw for p, raw in zip(holm(values), values, strict=True))


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_ranks_hold_the_place_of_each_row_and_the_first_may_be_the_best(seed, rows, seeds, higher):
    rng = np.random.default_rng(seed)
    made = [row(f"m{i}", drawn(rng, seeds, 30, rate=rng.normal())) for i in range(rows)]
    found = verdicts(made, higher=higher, baseline="m0")
    ordered = sorted(made, key=lambda r: (-r.mean if higher else r.mean, r.name))
    for place, one in enumerate(ordered, 1):
        low, high = found.ranks[one.name]
        assert low <= place <= high
    assert found.ranks[ordered[0].name][0] == 1
    assert set(found.over) == {r.name for r in made} - {"m0"}
    assert len(found.neighbours) == rows - 1
    again = verdicts(made[::-1], higher=higher, baseline="m0")
    assert again.ranks == found.ranks


def test_rows_far_apart_have_ranks_of_their_own():
    rng = np.random.default_rng(3)
    made = [
        row(n, drawn(rng, 5, 2000, rate, of_seed=0.05))
        for n, rate in zip("abc", (2, 0, -2), strict=True)
    ]
    found = verdicts(made, higher=True, baseline="c")
    assert found.ranks == {"a": (1, 1), "b": (2, 2), "c": (3, 3)}
    assert found.separable == 2
    assert verdicts(made, higher=False).ranks["c"] == (1, 1)
    again = verdicts(made, higher=True, starts={"a": "b", "c": "nowhere"})
    assert [*again.beyond] == ["a"]  # a start that has no row is compared with nothing
    assert again.beyond["a"][0].estimate.mean == pytest.approx(made[0].mean - made[1].mean)
    apart, p = found.over["a"]
    assert p < LEVEL
    assert apart.estimate.mean > 0.5
