"""What a method's images add is its gain over the baseline, with the same labels and seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paired import GUARDED, a_board, measured
from scipy import stats

from bench.report import model
from bench.report.folder import page_of
from bench.report.gains import Gain, gains, natural, sections
from bench.report.page import build


def the(found: tuple[Gain, ...]) -> Gain:
    (gain,) = found
    return gain


def test_a_gain_is_the_mean_of_differences_of_common_seeds():
    records = [*measured("made", 0.5, 0.7, 0.9), *measured("dice", 0.4, 0.4)]
    gain = the(gains(a_board(), records, "dice"))
    assert (gain.method, gain.over, gain.labels, gain.ipc) == ("made", "dice", "hard", 1)
    assert gain.mean == pytest.approx(0.2)
    half = stats.t(1).ppf(0.975) * 0.1  # of two differences, 0.1 and 0.3
    assert gain.interval == pytest.approx((0.2 - half, 0.2 + half))
    assert (gain.n, gain.paired) == (2, True)
    assert (gain.of_method, gain.of_baseline) == (pytest.approx(0.6), pytest.approx(0.4))


def test_one_seed_has_no_spread_and_no_common_seed_no_gain():
    records = [*measured("made", 0.5), *measured("dice", 0.4, 0.4)]
    assert the(gains(a_board(), records, "dice")).interval is None
    assert gains(a_board(), [*records[:1], *measured("dice", 0.4, seed=7)], "dice") == ()


@pytest.mark.parametrize(
    "other", [{"ipc": 10}, {"attack": "strong"}, {"labels": "teacher"}, {"images_hash": "few"}]
)
def test_cells_that_differ_are_not_compared(other: Any):
    records = [*measured("made", 0.5, 0.7), *measured("dice", 0.4, 0.4, **other)]
    assert gains(a_board(), records, "dice") == ()


def test_without_a_baseline_there_is_nothing():
    records = [*measured("made", 0.5), *measured("dice", 0.4)]
    assert gains(a_board(), records, "") == ()
    assert gains(a_board(), records, "made-otherwise") == ()


def test_a_method_with_its_own_teacher_is_held_against_the_baseline_with_that_teacher():
    records = [
        *measured("made", 0.5, 0.7, **GUARDED),
        *measured("dice", 0.6, 0.6, labels="teacher"),
        *measured("dice-otherwise", 0.4, 0.4, made_of="dice", **GUARDED),
    ]
    gain = the(gains(a_board(), records, "dice"))
    assert (gain.over, gain.mean, gain.paired) == ("dice-otherwise", pytest.approx(0.2), True)
    # and against nothing, where no row has the baseline's images with that teacher
    assert gains(a_board(), records[:4], "dice") == ()
    other = measured("dice-otherwise", 0.4, 0.4, **GUARDED)
    assert [g.method for g in gains(a_board(), [*records[:4], *other], "dice")] == []


def test_with_hard_labels_the_teacher_of_a_method_does_not_matter():
    records = [
        *measured("made", 0.5, 0.7, about={"teacher": "Another."}),
        *measured("dice", 0.4, 0.4),
    ]
    assert the(gains(a_board(), records, "dice")).mean == pytest.approx(0.2)


def test_a_teacher_that_was_trained_twice_leaves_a_gain_unpaired():
    records = [
        *measured("made", 0.5, 0.7, labels="teacher", teacher="one"),
        *measured("dice", 0.4, 0.4, labels="teacher", teacher="one again"),
    ]
    assert not the(gains(a_board(), records, "dice")).paired


def test_the_natural_column_is_the_first_that_moves_no_pixel():
    moved = {"perturbation": {"linf": {"mean": 0.1, "max": 0.1}}}
    both = [*measured("dice", 0.4), *measured("dice", 0.1, attack="strong", **moved)]
    assert natural(a_board(), both) == "plain"
    assert natural(a_board(attacks=["strong", "plain"]), both) == "plain"
    assert natural(a_board(), both[1:]) == ""


def test_of_a_training_the_natural_column_is_its_end_and_no_checkpoint():
    board = replace(a_board(), attacks=(), samplers=("walk",), checkpoints=(5,))
    at = [measured("dice", 0.4, attack="", sampler="walk", step=step) for step in (5, 0)]
    assert natural(board, [*at[0], *at[1]]) == "walk"
    assert natural(board, at[0]) == ""


def test_the_section_has_a_column_for_each_regime_hard_first():
    records = [
        *measured("made", 0.5, 0.7),
        *measured("dice", 0.4, 0.4),
        *measured("made", 0.45, 0.45, labels="teacher", teacher="one"),
        *measured("dice", 0.4, 0.5, labels="teacher", teacher="one again"),
        *measured("made-otherwise", 0.9, **GUARDED),
        *measured("made-otherwise", 0.3),
    ]
    (section,) = sections(a_board(baseline="dice"), records)
    assert section.title == "Images or labels?"
    inner = section.blocks[1]
    assert isinstance(inner, model.Section)
    assert inner.title == "digits · small · plain"
    (table,) = inner.blocks
    assert isinstance(table, model.Table)
    assert [c.name for c in table.columns[2:]] == [
        "hard labels: gain over dice",
        "teacher labels: gain over dice",
    ]
    assert [[model.text_of(cell) for cell in row] for row in table.rows] == [
        ["1", "made", "+20.0 [-107.1, +147.1]", "+0.0"],
        ["1", "made-otherwise", "-10.0", "–"],
    ]
    assert [*table.footnotes] == [
        "not paired: its teacher was trained on another machine, or by other code",
        "1 of 2 seeds",
        "no row has the images of dice and labels of its teacher",
    ]


def test_boards_without_a_teacher_or_a_baseline_have_no_section():
    hard = [*measured("made", 0.5), *measured("dice", 0.4)]
    board = a_board(baseline="dice")
    assert sections(board, hard) == ()
    soft = [*measured("made", 0.5, labels="teacher"), *measured("dice", 0.4, labels="teacher")]
    assert sections(a_board(), soft) == ()
    assert len(sections(board, soft)) == 1
    assert sections(board, []) == ()


RATES = st.lists(st.floats(0, 1), min_size=1, max_size=4)


@given(RATES, RATES)
def test_a_gain_is_antisymmetric_and_within_its_bounds(ours: list[float], theirs: list[float]):
    board = a_board(methods=["made"], controls=["dice"])
    records = [*measured("made", *ours), *measured("dice", *theirs)]
    gain, back = the(gains(board, records, "dice")), the(gains(board, records[::-1], "made"))
    assert gain.mean == -back.mean
    if gain.interval:
        low, high = back.interval or (0.0, 0.0)
        assert gain.interval == pytest.approx((-high, -low))
    assert -1 <= gain.mean <= 1
    assert gain.n == min(len(ours), len(theirs))
    assert gain.mean == pytest.approx(gain.of_method - gain.of_baseline)


def test_a_page_has_them_after_the_results_and_before_the_costs():
    spent = {"passes": {role: {"forward": 9, "backward": 9} for role in ("student", "probe")}}
    records = [
        *measured("made", 0.5, labels="teacher", **spent),
        *measured("dice", 0.4, labels="teacher", **spent),
    ]
    titles = [section.title for section in build(a_board(baseline="dice"), records).rest]
    assert titles == ["Images or labels?", "Cost, in passes"]
    assert [section.title for section in build(a_board(), records).rest] == ["Cost, in passes"]


def test_the_page_of_a_folder_compares_with_the_baseline_of_its_matrix():
    demo = page_of(Path(__file__).parents[2] / "leaderboards" / "demo")
    assert "Images or labels?" in [section.title for section in demo.rest]
