"""Many comparisons at once, against one at a time."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import drawn, figures, row

from bench.report.pairs import pairs
from bench.report.statistics import LEVEL, Row, alike, all_alike, difference

TEACHERS = st.sampled_from(["", "one", "two"])


@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.booleans(), st.integers(1, 4), TEACHERS, st.booleans()), max_size=6),
)
def test_all_comparisons_of_a_table_are_those_of_its_rows_two_by_two(seed, kinds):
    """Also where rows have bits or figures, other seeds, other images or other teachers."""
    rng = np.random.default_rng(seed)
    made = []
    for number, (bits, seeds, teacher, elsewhere) in enumerate(kinds):
        by = {k: {"teacher": teacher} if teacher else {} for k in range(seeds)}
        name, images = f"m{number}", 20 + elsewhere
        if bits:
            rate = rng.normal()
            given_ = drawn(rng, seeds, images, rate)
            made.append(row(name, given_, made_by=by, images=str(images)))
        else:
            made.append(figures(name, rng.random(seeds).round(1).tolist(), made_by=by))
    found = pairs(made)
    for (i, one), (j, other) in itertools.permutations(enumerate(made), 2):
        alone = difference(one, other).estimate
        assert found.means[i, j] == pytest.approx(alone.mean, abs=1e-12)
        assert found.p[i, j] == pytest.approx(alone.p if alone.p <= LEVEL else 1, abs=1e-9)
    assert all_alike(made) == all(alike(*two) for two in itertools.combinations(made, 2))


def test_a_row_is_not_told_from_itself():
    rng = np.random.default_rng(1)
    twins = [row("a", drawn(rng, 3, 40)), figures("b", [0.1, 0.4])]
    found = pairs([twins[0], twins[0], twins[1], twins[1]])
    assert found.p[0, 1] == found.p[2, 3] == 1
    assert found.means[0, 1] == found.means[2, 3] == 0


def test_differences_that_are_equal_but_for_rounding_tell_nothing():
    """0.3 - 0.2 and 0.4 - 0.3 differ in their last digit, which no student has caused."""
    one, other = Row("a", {0: 0.3, 1: 0.4}), Row("b", {0: 0.2, 1: 0.3})
    assert 0.3 - 0.2 != 0.4 - 0.3
    assert difference(one, other).estimate.p == 1
    assert (pairs([one, other]).p == 1).all()
