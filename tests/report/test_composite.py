"""Composite scores are those of their papers: fractions in, and what the sources print out."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from paired import GUARDED, a_board, measured

from bench.contract.errors import BenchError
from bench.records.result import Result
from bench.report import composite, model
from bench.report.composite import ae, ars, crei, hlr, ior, lrs, rr
from bench.report.figures import tidy
from bench.report.model import Section, Table
from bench.report.numbers import Board
from bench.training.recipe import Recipe

# HLR and IOR of CIFAR-10 at IPC 10, in points, from the board of DD-Ranking, and their LRS
DD_RANKING = {
    "DC": (36.70, 18.54, 0.232),
    "DSA": (35.14, 19.62, 0.237),
    "DM": (39.37, 16.12, 0.222),
    "MTT": (23.73, 30.90, 0.284),
    "DATM": (26.84, 35.05, 0.287),
    "SRe2L": (67.82, -5.77, 0.138),
    "RDED": (50.65, 1.11, 0.176),
    "D4M": (39.88, 9.12, 0.208),
}
# What BEARD's repository logs of BACON on CIFAR-10, by IPC: accuracy on clean images, seconds of
# its two clean runs; then FGSM, PGD, PGD-L2, DeepFool, C&W, AutoAttack: accuracies and seconds
BACON: dict[int, tuple[float, tuple[float, ...], tuple[float, ...], tuple[float, ...]]] = {
    1: (
        *(44.95, (2.50, 2.25), (24.51, 20.78, 33.72, 11.49, 13.68, 17.64)),
        (3.12, 8.79, 8.77, 1647.63, 74.66, 762.71),
    ),
    10: (
        *(61.73, (3.06, 2.29), (33.27, 26.45, 44.05, 16.11, 11.84, 23.85)),
        (2.84, 8.29, 8.46, 2102.68, 73.91, 1086.94),
    ),
    50: (
        *(69.95, (3.04, 2.31), (38.16, 28.86, 50.80, 18.28, 8.31, 27.00)),
        (3.68, 12.21, 9.18, 2374.80, 76.49, 968.53),
    ),
}
# RR, AE and CREI of BACON on BEARD's board, in percent; they cut CREI at two decimals
BEARD = {1: (26.34, 25.24, 25.79), 10: (28.24, 25.94, 27.09), 50: (32.87, 24.10, 28.48)}
POOLED = (32.87, 21.53, 27.20)


def fractions(percents: Any) -> list[float]:
    return [percent / 100 for percent in percents]


@pytest.mark.parametrize("method", DD_RANKING)
def test_lrs_of_the_rows_of_dd_ranking(method: str):
    lost, gained, score = DD_RANKING[method]
    assert lrs(lost / 100, gained / 100) == pytest.approx(score, abs=5e-4)


@pytest.mark.parametrize("ipc", BACON)
def test_rr_ae_and_crei_of_bacon_are_those_of_beards_board(ipc: int):
    clean, clean_seconds, attacked, seconds = BACON[ipc]
    ratio, efficiency = rr([clean / 100], fractions(attacked)), ae(min(clean_seconds), seconds)
    found = [100 * one for one in (ratio, efficiency, crei(ratio, efficiency))]
    assert found == pytest.approx(BEARD[ipc], abs=0.011)


def test_budgets_are_pooled_as_beard_pools_them():
    cells = BACON.values()
    attacked = fractions(chain.from_iterable(cell[2] for cell in cells))
    ratio = rr(fractions(cell[0] for cell in cells), attacked)
    seconds = [*chain.from_iterable(cell[3] for cell in cells)]
    efficiency = ae(min(min(cell[1]) for cell in cells), seconds)
    found = [100 * one for one in (ratio, efficiency, crei(ratio, efficiency))]
    assert found == pytest.approx(POOLED, abs=0.011)


@pytest.mark.parametrize(
    "call",
    [
        lambda: hlr(84.8, 0.6),
        lambda: ior(0.6, 40.0),
        lambda: lrs(23.73, 0.309),
        lambda: lrs(0.2373, 30.9),
        lambda: lrs(0.2, 0.3, weight=50),
        lambda: ars((55.0, 0.4), (0.5, 0.4)),
        lambda: rr([44.95], [0.2, 0.1]),
        lambda: rr([0.45], [24.51, 0.1]),
        lambda: crei(0.3, 0.2, weight=-1),
        lambda: hlr(math.nan, 0.5),
    ],
)
def test_percents_are_refused(call: Any):
    with pytest.raises(BenchError, match=r"expected a (fraction|difference of fractions)"):
        call()


RATE, DIFFERENCE = st.floats(0, 1), st.floats(-1, 1)


@given(DIFFERENCE, DIFFERENCE, RATE)
def test_lrs_stays_in_its_range_and_rewards_what_it_should(lost: float, gained: float, w: float):
    assert -1e-12 <= lrs(lost, gained, w) <= 1 + 1e-12
    assert lrs(lost, 1.0, w) >= lrs(lost, gained, w) - 1e-12
    assert lrs(1.0, gained, w) <= lrs(lost, gained, w) + 1e-12


@given(RATE, RATE, RATE, RATE)
def test_ars_weighs_the_gains_with_and_without_augmentation(a: float, b: float, c: float, d: float):
    assert ars((a, b), (c, d), weight=1.0) == pytest.approx(lrs(0.0, a - b, weight=1.0))
    assert ars((a, b), (c, d), weight=0.0) == pytest.approx(lrs(0.0, c - d, weight=1.0))


def test_the_best_and_the_worst_scores_are_1_and_0():
    assert lrs(-1.0, 1.0) == pytest.approx(1.0)
    assert lrs(1.0, -1.0) == pytest.approx(0.0)


def test_one_attack_has_rr_0_and_a_weak_one_more_raises_it():
    assert rr([0.9], [0.3]) == pytest.approx(0.0)
    assert rr([0.9], [0.3, 0.89]) > rr([0.9], [0.3, 0.5]) > 0


def test_scores_without_a_span_are_not_defined():
    assert math.isnan(rr([0.5], [0.5, 0.5]))
    assert math.isnan(ae(3.0, [3.0, 3.0]))


# ---- the page


def shown(board: Board, records: list[Result], baseline: str = "dice") -> dict[str, list[Table]]:
    """The tables of the section, by the heading above them."""
    board = replace(board, baseline=baseline)
    found = composite.sections(board, records, tidy(board, records))
    inner = [block for section in found for block in section.blocks if isinstance(block, Section)]
    return {one.title: [b for b in one.blocks if isinstance(b, Table)] for one in inner}


def texts(table: Table) -> list[list[str]]:
    return [[model.text_of(cell) for cell in row] for row in table.rows]


HARD_ROWS = [
    *measured("made", 0.5, 0.7),
    *measured("dice", 0.4, 0.4),
    *measured("all", 0.9, 0.9, ipc=0),
]


def test_hlr_wants_the_full_set_and_hard_labels_and_ior_the_labels_of_the_place():
    soft = [
        *measured("made", 0.8, 0.8, labels="teacher"),
        *measured("dice", 0.7, 0.75, labels="teacher"),
    ]
    found = shown(a_board(), [*HARD_ROWS, *soft])
    (hard,), (teacher,) = found["digits · small · hard labels"], found[TEACHER]
    assert [c.name for c in hard.columns[2:]] == [
        *("all, hard labels", "Method, hard labels", "dice, hard labels", "HLR", "IOR", "LRS"),
    ]
    score = f"{lrs(0.3, 0.2):.3f}"
    assert texts(hard) == [["1", "made", "90.0", "60.0", "40.0", "+30.0", "+20.0", score]]
    score = f"{lrs(0.3, 0.075):.3f}"
    assert texts(teacher) == [["1", "made", "90.0", "60.0", "80.0", "72.5", "+30.0", "+7.5", score]]


TEACHER = "digits · small · teacher labels"


def test_the_baseline_of_ior_has_the_same_teacher():
    soft = [
        *measured("made", 0.8, 0.8, **GUARDED),
        *measured("dice", 0.7, 0.75, labels="teacher"),
        *measured("dice-otherwise", 0.6, 0.6, made_of="dice", **GUARDED),
    ]
    (table,) = shown(a_board(), [*HARD_ROWS, *soft])[TEACHER]
    assert texts(table)[0][5:8] == ["60.0", "+30.0", "+20.0"]
    assert [*table.footnotes] == ["of dice-otherwise, labelled by the same teacher"]


@pytest.mark.parametrize("lacking", ["made", "dice", "all"])
def test_without_an_input_there_is_no_table(lacking: str):
    assert shown(a_board(), [r for r in HARD_ROWS if r.method != lacking]) == {}
    assert shown(a_board(), HARD_ROWS, "") == {}


def test_ars_wants_the_network_trained_with_and_without_augmentation():
    board = a_board(architectures=["small", "small-plain", "other"])
    recipe = {"steps": 9, "crop": 1, "dsa": ""}
    records = [
        *measured("made", 0.6, recipe=recipe),
        *measured("dice", 0.5, recipe=recipe),
        *measured("made", 0.45, recipe={**recipe, "crop": 0}, architecture="small-plain"),
        *measured("dice", 0.4, recipe={**recipe, "crop": 0}, architecture="small-plain"),
    ]
    for number in (3, 4):  # another network, or another recipe, is no sibling
        wide = {"parameters": {"architecture": {"width": 9}}, "architecture": "other"}
        records += measured(records[number - 1].method, 0.3, recipe=recipe, **wide)
    found = shown(board, records)
    assert [*found] == ["digits · small · hard labels"]
    ((table,),) = found.values()
    score = f"{ars((0.6, 0.5), (0.45, 0.4)):.3f}"
    assert texts(table) == [["1", "made", "60.0", "50.0", "45.0", "40.0", score]]
    assert "with small, and with small-plain, the same network trained without" in str(
        table.caption
    )
    longer = [
        structs.replace(r, recipe={**r.recipe, "steps": 10}) if "plain" in r.architecture else r
        for r in records
    ]
    assert shown(board, longer) == {}


def test_what_augments_are_fields_of_a_recipe():
    assert {*composite.AUGMENTATION} <= {f.name for f in fields(Recipe)}
    assert not any(getattr(Recipe(), name) for name in composite.AUGMENTATION)


def attacked(method: str, right: float, attack: str, forward: int, **changes: Any) -> list[Result]:
    moved = {"norm": "linf", "eps": 0.1, "perturbation": {"linf": {"mean": 0.1, "max": 0.1}}}
    spent = {"passes": {"probe": {"forward": forward, "backward": 0}}}
    return measured(method, right, attack=attack, **(moved | spent | changes))


ATTACKS = a_board(attacks=["plain", "weak", "strong", "noisy", "rare"])
ROBUST = [
    *measured("made", 0.8),
    *attacked("made", 0.4, "weak", 100),
    *attacked("made", 0.2, "strong", 500),
    *attacked("made", 0.7, "noisy", 900, attack_search="noise"),
    *measured("dice", 0.6),  # was not attacked
]


def test_scores_of_beard_are_of_attacks_in_a_ball_with_their_inputs():
    ((table,),) = shown(ATTACKS, ROBUST).values()
    ratio, efficiency = rr([0.8], [0.4, 0.2]), ae(0.0, [1.0, 5.0])
    scores = [f"{one:.3f}" for one in (ratio, efficiency, crei(ratio, efficiency))]
    assert texts(table) == [["1", "made", "80.0", "30.0", "20.0", "3", "5", *scores]]
    assert "attacks: weak, strong. RR" in str(table.caption)


def test_all_rows_have_the_same_pool_of_attacks():
    rest = [
        *attacked("made", 0.1, "rare", 700),
        *attacked("dice", 0.3, "weak", 100),
        *attacked("dice", 0.1, "strong", 400),
    ]
    ((table,),) = shown(ATTACKS, [*ROBUST, *rest]).values()
    assert [row[1] for row in texts(table)] == ["made", "dice"]
    assert "attacks: weak, strong. Not rare, which some rows lack. RR" in str(table.caption)


def test_one_attack_makes_no_table():
    assert shown(ATTACKS, ROBUST[:2]) == {}


def test_a_row_without_passes_has_rr_alone():
    records = [
        *measured("made", 0.8),
        *attacked("made", 0.4, "weak", 1, passes={}),
        *attacked("made", 0.2, "strong", 1),
    ]
    ((table,),) = shown(ATTACKS, records).values()
    assert texts(table)[0][5:] == ["–", "–", f"{rr([0.8], [0.4, 0.2]):.3f}", "–", "–"]


def test_a_main_metric_that_is_no_rate_has_no_scores():
    board = a_board(metrics=["distance", "right"], baseline="dice")
    assert composite.sections(board, HARD_ROWS, tidy(board, HARD_ROWS)) == ()
