"""Where figures stand: which rows compete, and with what they are compared."""

import numpy as np
import pytest
from small_board import BOARD, record
from support import as_result

from bench.report.figures import tidy
from bench.report.numbers import Board, scales
from bench.report.standing import standings, with_standings

RATES = {"alpha": 392, "beta": 390, "dice": 200}


def board(**changes):
    return Board(**{**vars(BOARD), **changes})


def made(seeds=(0, 1), images=400, rates=RATES, **changes):
    return [
        record(m, 1, "none", s, "1" * right + "0" * (images - right), **changes)
        for m, right in rates.items()
        for s in seeds
    ]


def stand(records, **changes):
    found = [as_result(one) for one in records]
    of = board(**changes)
    return standings(of, found, scales(of, found)), found, of


def key(method, ipc=1, column="none", metric="right"):
    return ("blobs", "small", "hard", ipc, method, column, metric)


def test_rows_that_may_be_the_best_are_tied():
    found, _, _ = stand(made())
    assert [found.get(key(m)).tied for m in RATES] == [True, True, False]
    assert [found.get(key(m)).ranks for m in RATES] == [(1, 2), (1, 2), (3, 3)]
    assert (found.separable, found.adjacent) == (1, 2)


def test_differences_to_the_baseline_are_paired_and_corrected():
    found, _, _ = stand(made(), baseline="dice")
    over, p = found.get(key("alpha")).over
    assert p < 0.05
    assert over.paired
    assert over.estimate.mean == pytest.approx(192 / 400)
    assert found.get(key("dice")).over is None


def test_a_recovered_row_is_held_against_its_start():
    found, _, _ = stand(made(), starts={"alpha": "beta"})
    beyond, _ = found.get(key("alpha")).beyond
    assert beyond.estimate.mean == pytest.approx(2 / 400)
    assert found.get(key("beta")).beyond is None


def test_without_a_baseline_nothing_is_compared_with_one():
    assert stand(made())[0].get(key("alpha")).over is None


def test_the_ceiling_has_an_interval_and_does_not_compete():
    full = [record("all", 0, "none", s, "1" * 400) for s in (0, 1)]
    found, _, _ = stand([*made(), *full])
    ceiling = found.get(key("all", ipc=0))
    assert ceiling.ranks == ()
    assert not ceiling.tied
    assert ceiling.interval[1] == 1.0  # no share is above one
    assert ceiling.interval[0] < 1.0


def test_rows_of_other_teachers_are_compared_unpaired_and_none_is_tied():
    records = made(about={"teacher": "T", "backbone": "B", "dataset": "D"})
    for one in records:
        one["content"] = {"teacher": f"{one['seed']}-{'here' if one['method'] == 'alpha' else 'x'}"}
    found, _, _ = stand(records, baseline="dice")
    assert not found.get(key("alpha")).over[0].paired
    assert found.get(key("beta")).over[0].paired
    assert not any(found.get(key(m)).tied for m in RATES)


def test_a_metric_that_is_no_share_of_right_images_has_its_seeds_alone():
    records = made()
    for one in records:
        one["metrics"] = {"distance": one["seed"] + RATES[one["method"]] / 100}
    found, _, _ = stand(records)
    low, high = found.get(key("alpha", metric="distance")).interval
    assert high - low == pytest.approx(2 * 12.7062 * 0.5, rel=1e-4)
    assert found.get(key("dice", metric="distance")).ranks[0] == 1  # the smallest


def test_of_one_seed_without_bits_nothing_can_be_said():
    records = made(seeds=(0,))
    for one in records:
        one["metrics"] = {"distance": float(RATES[one["method"]])}
    found, _, _ = stand(records, seeds=(0,))
    one = found.get(key("dice", metric="distance"))
    assert (one.interval, one.ranks, one.tied) == (None, (), False)


def test_a_robust_column_is_compared_by_its_own_bits():
    """Right under all attacks, image by image: not the bits of the first attack."""
    records = [
        record(m, 1, attack, s, bits * 50)
        for m, (clean, hard) in {"alpha": ("1111", "1100"), "beta": ("1111", "1000")}.items()
        for attack, bits in (("none", clean), ("weak", hard), ("strong", hard))
        for s in (0, 1)
    ]
    found, _, _ = stand(records)
    joint = found.get(key("alpha", column="robust linf 8/255"))
    assert joint.interval[0] < 0.5 < joint.interval[1]
    assert not found.get(key("beta", column="robust linf 8/255")).tied


def test_the_table_gets_intervals_and_ties():
    found, records, of = stand(made())
    table = with_standings(tidy(of, records), found)
    assert table["tied"].tolist() == [True, True, False]
    assert ((table["low"] < table["mean"]) & (table["mean"] < table["high"])).all()
    assert with_standings(tidy(of, []), found).empty


def test_budgets_do_not_compete_with_each_other():
    other = [record("beta", 10, "none", s, "1" * 400) for s in (0, 1)]
    found, _, _ = stand([*made(rates={"alpha": 200}), *other])
    assert found.get(key("alpha")).ranks == (1, 1)
    assert np.isfinite(found.get(key("beta", ipc=10)).interval).all()
