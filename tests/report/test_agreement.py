"""Rankings of the same methods by other students and labels are compared by Kendall's tau."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from paired import a_board, measured
from rows import figures
from scipy.stats import kendalltau

from bench.records.result import Result
from bench.report.agreement import FEWEST, Ranking, agreement, ranking, sections
from bench.report.model import Section, Table, text_of

FOUR = ("a", "b", "c", "d")
METHODS = ("made", "made-otherwise", "dice", "dice-otherwise")


def ranked(*means: float, spread: float = 0.001) -> Ranking:
    """Rows a, b, ... of three seeds that hardly differ."""
    noise = np.random.default_rng(0).normal(0, spread, (len(means), 3))
    shaken = np.array(means)[:, None] + noise
    return ranking([figures("abcdefgh"[n], one.tolist()) for n, one in enumerate(shaken)])


def test_the_same_order_has_a_tau_of_one_and_the_opposite_one_of_minus_one():
    up = ranked(0.1, 0.2, 0.3, 0.4)
    same, turned = agreement(up, up), agreement(up, ranked(0.4, 0.3, 0.2, 0.1))
    assert same
    assert turned
    assert (same.methods, same.told, same.against) == (FOUR, 6, ())
    assert same.tau == pytest.approx(1)
    assert (pytest.approx(turned.tau), turned.told) == (-1.0, 6)
    # the first of a pair is the better one in the first ranking
    assert {*turned.against} == {(b, a) for a, b in combinations(FOUR, 2)}


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_tau_is_the_share_of_pairs_in_the_same_order_minus_that_of_the_others(one, other):
    agreed = agreement(ranked(*map(float, one)), ranked(*map(float, other)))
    assert agreed
    pairs = [*combinations(range(6), 2)]
    alike = sum((one[i] < one[j]) == (other[i] < other[j]) for i, j in pairs)
    assert agreed.tau == pytest.approx(2 * alike / len(pairs) - 1)
    assert len(agreed.against) == agreed.told - alike
    assert agreed.told == len(pairs)


@given(st.data(), st.integers(FEWEST, 8))
def test_tau_is_that_of_scipy_also_where_figures_are_tied(data, n):
    tied = st.lists(st.integers(0, 3).map(float), min_size=n, max_size=n)
    sides = [data.draw(tied) for _ in range(2)]
    one, other = (
        Ranking(tuple("abcdefgh"[:n]), np.array(means), np.zeros((n, n))) for means in sides
    )
    agreed = agreement(one, other)
    assert agreed
    assert agreed.tau == pytest.approx(kendalltau(*sides).statistic, nan_ok=True)


def test_what_chance_may_have_turned_is_not_held_against_a_ranked():
    unsure = ranked(0.1, 0.2, 0.3, 0.4, spread=5.0)
    agreed = agreement(unsure, ranked(0.4, 0.3, 0.2, 0.1))
    assert agreed
    assert (agreed.told, agreed.against) == (0, ())
    assert agreed.tau < 1


def test_only_methods_of_both_rankings_are_compared_and_few_are_too_few():
    agreed = agreement(ranked(1, 2, 3, 4, 5), ranked(1, 2, 3, 4))
    assert agreed
    assert agreed.methods == FOUR
    assert agreement(ranked(*range(FEWEST - 1)), ranked(*range(9)[: FEWEST - 1])) is None


def of_place(*means: float, labels: str = "hard", architecture: str = "small") -> list[Result]:
    return [
        record
        for n, (name, mean) in enumerate(zip(METHODS, means, strict=True))
        for record in measured(
            name, mean, mean + 1e-5 * n * n, labels=labels, architecture=architecture
        )
    ]


def the_table(records: list[Result]) -> Table:
    (section,) = sections(a_board(architectures=["small", "large"]), records)
    (inner,) = [block for block in section.blocks if isinstance(block, Section)]
    (table,) = inner.blocks
    assert isinstance(table, Table)
    assert (section.title, inner.title) == ("Does the order survive?", "digits · IPC 1")
    return table


def test_a_page_compares_each_place_with_those_before_it():
    table = the_table(
        [
            *of_place(0.1, 0.2, 0.3, 0.4),
            *of_place(0.4, 0.3, 0.2, 0.1, labels="teacher"),
            *of_place(0.1, 0.2, 0.4, 0.3, architecture="large"),
        ]
    )
    assert [column.name for column in table.columns] == [
        *("Ranking", "small, teacher labels", "small, hard labels")
    ]
    assert [[text_of(cell) for cell in row] for row in table.rows] == [
        ["small, hard labels", "-1.00", ""],
        ["large, hard labels", "-0.67", "+0.67"],
    ]
    assert [*table.footnotes] == ["4 methods"]


def test_a_page_names_methods_that_certainly_stand_the_other_way_round():
    (line,) = the_table(
        [*of_place(0.1, 0.2, 0.3, 0.4), *of_place(0.2, 0.1, 0.3, 0.4, labels="teacher")]
    ).caption
    assert "".join(map(str, line)) == (
        "6 times two methods are told apart at 5 % in two of these rankings (Holm); 1 of these "
        "stand in the opposite order: made above made-otherwise by small, teacher labels, below it "
        "by small, hard labels."
    )


def test_where_less_is_better_the_better_method_stands_above_the_other():
    scales = {"right": {"better": "lower", "unit": ""}}
    places = {"hard": (0.1, 0.2, 0.3, 0.4), "teacher": (0.2, 0.1, 0.3, 0.4)}
    records = [
        record
        for labels, means in places.items()
        for n, (name, mean) in enumerate(zip(METHODS, means, strict=True))
        for record in measured(name, mean, mean + 1e-5 * n * n, labels=labels, scales=scales)
    ]
    (line,) = the_table(records).caption
    said = "".join(map(str, line))
    assert "made-otherwise above made by small, teacher labels, below it by small, hard" in said


def test_a_ranking_in_which_all_figures_are_the_same_has_no_tau():
    records = [
        *of_place(0.5, 0.5, 0.5, 0.5, labels="teacher"),
        *of_place(0.1, 0.2, 0.3, 0.4),
    ]
    same = [
        structs.replace(r, metrics={"right": 0.5}) if r.labels != "hard" else r for r in records
    ]
    table = the_table(same)
    assert [text_of(cell) for cell in table.rows[0]] == ["small, hard labels", "–"]
    assert [*table.footnotes] == ["all figures of one of the two are the same"]


def test_one_place_or_too_few_methods_make_no_section():
    board = a_board()
    assert sections(board, []) == ()
    assert sections(board, of_place(0.1, 0.2, 0.3, 0.4)) == ()
    few = [*of_place(1, 0, 1, 0), *of_place(1, 0, 1, 0, labels="teacher")]
    kept = [record for record in few if record.method != "dice"]
    assert sections(board, kept) == ()
    ceiling = a_board(methods=["made"], ceiling="made-otherwise")
    assert sections(ceiling, few) == ()  # what has all images is in no ranking
