"""One ranking across boards: win rates and ranks of small examples, worked by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.report.across import Unit, interval, ranking


def test_a_tie_is_half_a_win_and_shares_the_rank() -> None:
    found = ranking([Unit("x", {"a": 3.0, "b": 2.0, "c": 2.0})])
    assert [(s.method, s.wins, s.rank, s.of) for s in found] == [
        ("a", 1.0, 1.0, 3.0),
        ("b", 0.25, 2.5, 3.0),
        ("c", 0.25, 2.5, 3.0),
    ]


def test_boards_weigh_the_same_whatever_their_places() -> None:
    units = [Unit("x", {"a": 1.0, "b": 0.0})] * 3 + [Unit("y", {"a": 1.0, "b": 0.0}, higher=False)]
    assert [(s.wins, s.boards, s.units) for s in ranking(units)] == [(0.5, 2, 4)] * 2


def test_who_has_no_opponent_is_not_ranked() -> None:
    assert ranking([Unit("x", {"a": 1.0})]) == ()


def test_fewer_than_three_boards_give_no_interval() -> None:
    assert interval([0.0, 1.0]) is None
    assert interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(), min_size=2))
def test_win_rates_average_to_a_half(scores: dict[str, float]) -> None:
    found = ranking([Unit("x", scores)])
    assert abs(sum(s.wins for s in found) / len(found) - 0.5) < 1e-9
