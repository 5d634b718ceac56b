"""Statistics of boards, against scipy, brute force and simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import drawn, figures, row
from scipy import stats

from bench.report.statistics import (
    LEVEL,
    Row,
    crossed,
    difference,
    estimates,
    of_seeds,
    seeds_needed,
)

# ---- one row


def test_without_bits_an_interval_is_students_t_over_seeds():
    values = [0.51, 0.47, 0.55, 0.49]
    low, high = of_seeds(values).interval
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (low, high) == pytest.approx(expected)


def test_one_seed_without_bits_has_no_interval_and_decides_nothing():
    assert of_seeds([0.5]).interval is None
    assert difference(figures("a", [0.5]), figures("b", [0.9])).estimate.p == 1


def test_one_seed_with_bits_says_nothing_of_other_seeds():
    bits = np.array([[1] * 60 + [0] * 40], dtype=np.int8)
    assert crossed([bits])[0].interval is None
    assert difference(row("a", bits), row("b", 1 - bits)).estimate.p == 1


def test_figures_that_do_not_differ_say_nothing_of_how_they_would():
    assert of_seeds([1.0, 1.0]).interval is None
    assert difference(figures("a", [1.0, 1.0]), figures("b", [0.9, 0.9])).estimate.p == 1


def test_mean_squares_are_those_of_a_two_way_analysis_of_variance():
    rng = np.random.default_rng(0)
    bits = drawn(rng, 4, 50)
    mean, by_seed, by_image = bits.mean(), bits.mean(1), bits.mean(0)
    ms_seeds = 50 * ((by_seed - mean) ** 2).sum() / 3
    ms_images = 4 * ((by_image - mean) ** 2).sum() / 49
    rest = bits - by_seed[:, None] - by_image[None] + mean
    ms_rest = (rest**2).sum() / (3 * 49)
    variance = max(ms_seeds + ms_images - ms_rest, ms_seeds, ms_images) / 200
    assert crossed([bits])[0].variance == pytest.approx(variance)
    assert crossed([bits])[0].mean == pytest.approx(mean)


@pytest.mark.parametrize("right", [0, 1])
def test_a_rate_without_a_failure_is_no_point(right):
    """Of 100 images without a failure, a rate of 3 % is not excluded: the rule of three."""
    bits = np.full((3, 100), right, dtype=np.int8)
    low, high = crossed([bits])[0].interval
    assert high - low == pytest.approx(2 * 1.96 * 0.015, rel=1e-3)


# ---- two rows


def test_paired_figures_are_compared_by_the_paired_t_test():
    a, b = [0.5, 0.6, 0.55, 0.7], [0.45, 0.58, 0.49, 0.69]
    found = difference(figures("a", a), figures("b", b))
    assert found.paired
    assert found.estimate.p == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_rows_of_other_teachers_are_compared_by_welchs_test():
    a, b = [0.5, 0.6, 0.55, 0.7], [0.45, 0.58, 0.49]
    found = difference(
        figures("a", a, made_by={seed: {"teacher": "one"} for seed in range(4)}),
        figures("b", b, made_by={seed: {"teacher": "two"} for seed in range(3)}),
    )
    assert not found.paired
    assert found.estimate.p == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)


def test_a_row_without_a_teacher_is_paired_with_all():
    one = figures("a", [0.5, 0.6], made_by={0: {"t": "0"}, 1: {"t": "1"}})
    assert difference(one, figures("b", [0.4, 0.6])).paired
    assert difference(one, figures("b", [0.4, 0.6], made_by={0: {"t": "0"}, 1: {"t": "1"}})).paired
    assert not difference(
        one, figures("b", [0.4, 0.6], made_by={0: {"t": "0"}, 1: {"t": "9"}})
    ).paired


def test_only_the_seeds_that_both_have_are_compared():
    one = Row("a", {0: 0.5, 1: 0.6, 2: 0.7})
    found = difference(one, Row("b", {1: 0.5, 2: 0.5, 3: 0.1}))
    assert found.seeds == 2
    assert found.estimate.mean == pytest.approx(0.15)


def test_rows_without_a_common_seed_are_not_paired():
    found = difference(Row("a", {0: 0.5, 1: 0.6}), Row("b", {2: 0.5, 3: 0.5}))
    assert not found.paired
    assert found.estimate.mean == pytest.approx(0.05)


def test_identical_rows_do_not_differ():
    bits = drawn(np.random.default_rng(1), 3, 40)
    found = difference(row("a", bits), row("b", bits))
    assert found.estimate.p == 1
    assert found.estimate.mean == 0


def test_images_pair_even_where_teachers_do_not():
    """Images that are hard for both rows blur the rates of both, and hardly their difference."""
    rng = np.random.default_rng(2)
    shared = 4 * rng.standard_normal(400)
    a, b = (drawn(rng, 5, 400, of_seed=0.01, shared=shared + up) for up in (0.4, 0.0))
    of_other = {"made_by": {seed: {"t": "two"} for seed in range(5)}}
    one = row("a", a, images="x", made_by={seed: {"t": "one"} for seed in range(5)})
    same = difference(one, row("b", b, images="x", **of_other))
    foreign = difference(one, row("b", b, images="y", **of_other))
    assert not same.paired
    assert same.estimate.variance < foreign.estimate.variance / 2


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 30))
def test_differences_are_antisymmetric_and_know_no_order(seed, seeds, images):
    rng = np.random.default_rng(seed)
    a, b = drawn(rng, seeds, images), drawn(rng, seeds, images)
    one = difference(row("a", a), row("b", b)).estimate
    other = difference(row("b", b), row("a", a)).estimate
    shuffled = rng.permutation(images)
    third = difference(row("a", a[:, shuffled]), row("b", b[:, shuffled])).estimate
    assert one.mean == -other.mean
    assert one.variance == other.variance == third.variance
    assert one.p == other.p == third.p


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 30))
def test_an_interval_leaves_out_0_where_p_is_below_5_in_100(seed, seeds, images):
    rng = np.random.default_rng(seed)
    found = crossed([drawn(rng, seeds, images) - drawn(rng, seeds, images, 1.0)])[0]
    low, high = found.interval
    if abs(found.p - LEVEL) > 1e-6:
        assert (low > 0 or high < 0) == (found.p < LEVEL)


# ---- by simulation


@pytest.mark.parametrize(("seeds", "most"), [(2, 0.08), (3, 0.055), (5, 0.055)])
@pytest.mark.parametrize("of_seed", [0.1, 0.3])
def test_of_equal_rows_at_most_five_in_a_hundred_are_told_apart(seeds, most, of_seed):
    """Over several effects of seeds; with two seeds it is up to eight."""
    images, tries, found = 300, 600, []
    for again in range(3):
        rng = np.random.default_rng([seeds, again])
        for _ in range(tries):
            shared = 1.5 * rng.standard_normal(images)
            a, b = (drawn(rng, seeds, images, of_seed=of_seed, shared=shared) for _ in range(2))
            found.append(difference(row("a", a), row("b", b)).estimate.p <= LEVEL)
    assert np.mean(found) <= most + 2 * math.sqrt(most * (1 - most) / len(found))


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_cover_the_rate_of_the_population_in_95_of_100_boards(seeds):
    rng = np.random.default_rng(7 + seeds)
    population = 1 / (1 + np.exp(-(0.5 + np.hypot(0.3, 1.5) * rng.standard_normal(10**6))))
    truth, images, tries = population.mean(), 300, 800
    held = []
    for _ in range(tries):
        low, high = estimates([row("a", drawn(rng, seeds, images, 0.5))])[0].interval
        held.append(low <= truth <= high)
    assert np.mean(held) >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / tries)


def test_at_the_seeds_needed_half_of_the_comparisons_are_significant():
    """Estimated once, with many seeds, from the population that is then drawn anew."""
    rng, images, gap = np.random.default_rng(11), 300, 0.35
    shared = 1.5 * rng.standard_normal(images)

    def two(seeds):
        return (
            row(n, drawn(rng, seeds, images, rate, of_seed=0.6, shared=shared))
            for n, rate in (("a", gap), ("b", 0.0))
        )

    pilot = difference(*two(400))
    needed = seeds_needed(pilot)
    assert needed is not None
    assert 3 < needed < 40
    found = [difference(*two(needed)).estimate.p <= LEVEL for _ in range(300)]
    assert 0.35 < np.mean(found) < 0.65


def test_what_more_seeds_cannot_tell_has_no_number():
    """The images alone leave it open, the rows are the same, or they are not paired."""
    rng = np.random.default_rng(2)
    few = [row(n, drawn(rng, 4, 20, r, of_seed=0.0)) for n, r in (("a", 0.1), ("b", 0.0))]
    assert seeds_needed(difference(*few)) is None
    assert seeds_needed(difference(few[0], few[0])) is None
    one, other = ({k: {"teacher": f"{t}{k}"} for k in range(4)} for t in "xy")
    apart = [replace(r, made_by=m) for r, m in zip(few, (one, other), strict=True)]
    assert seeds_needed(difference(*apart)) is None


def test_figures_without_spread_by_images_need_fewer_seeds_the_further_they_are_apart():
    base = [0.5, 0.52, 0.48]
    needed = [
        seeds_needed(
            difference(figures("a", [v + d for v in (0.51, 0.5, 0.52)]), figures("b", base))
        )
        for d in (0.0, 0.01, 0.05)
    ]
    assert needed[0] > needed[1] > needed[2] >= 2
