"""What stands on a board, how it is read, and robustness image by image."""

import math
from dataclasses import replace

import pytest
from blobs import BOARD, record
from hypothesis import given
from hypothesis import strategies as st
from support import changed

from bench.records.record import Scale
from bench.report.figures import tidy
from bench.report.model import PERCENT, PLAIN
from bench.report.numbers import (
    balls,
    columns,
    on_board,
    on_one_scale,
    radius,
    robust,
    scales,
)

FALLING = {"right": {"better": "lower", "unit": "fraction"}, "distance": {"better": "lower"}}


def figures(table, metric="right"):
    of_metric = table[table["metric"] == metric]
    return dict(zip(of_metric["column"], of_metric["mean"], strict=True))


def test_only_cells_on_the_axes_are_shown():
    off = [
        record(dataset="other"),
        record(method="other"),
        record(ipc=50),
        record(ipc=0),
        record(method="all", ipc=1),
        record(labels="teacher"),
        record(architecture="other"),
        record(attack="other"),
        record(seed=3),
    ]
    on = [record(), record(method="all", ipc=0), record(method="dice", ipc=10)]
    assert on_board(BOARD, [*off, *on]) == on


def test_robust_is_the_and_of_all_attacks_of_a_ball_image_by_image():
    records = [record("1111", "none"), record("1100", "weak"), record("1010", "strong")]
    found = figures(tidy(BOARD, records))
    assert found == {"none": 1, "weak": 0.5, "strong": 0.5, "robust linf 8/255": 0.25}


def test_the_clean_images_count_in_every_ball():
    records = [record("0111", "none"), record("1110", "weak"), record("1110", "strong")]
    assert figures(tidy(BOARD, records))["robust linf 8/255"] == 0.5


def test_a_corruption_takes_no_part_in_a_ball():
    moved = {"linf": {"mean": 0.2, "max": 0.4}}
    records = [record("1110", "weak"), record("1110", "strong")]
    corrupted = [*records, record("0111", "none", perturbation=moved)]
    assert figures(tidy(BOARD, corrupted))["robust linf 8/255"] == 0.75
    assert balls(BOARD, corrupted) == balls(BOARD, records)


def test_robust_is_taken_seed_by_seed():
    records = [
        *(record("1111", "none", seed=s) for s in (0, 1)),
        *(record(b, "weak", seed=s) for s, b in enumerate(("1110", "0111"))),
        *(record(b, "strong", seed=s) for s, b in enumerate(("1110", "1110"))),
    ]
    table = tidy(BOARD, records)
    row = table[table["column"] == "robust linf 8/255"].iloc[0]
    assert (row["mean"], row["n"]) == (0.625, 2)
    assert row["sd"] == pytest.approx(math.sqrt(2) / 8)


def test_a_ball_of_one_attack_has_no_robust_column():
    records = [record("1111", "none"), record("1100", "round"), record("1010", "weak")]
    assert set(figures(tidy(BOARD, records))) == {"none", "round", "weak"}


def test_a_seed_that_lacks_an_attack_has_no_robust_figure():
    records = [
        *(record("1111", a, seed=0) for a in ("none", "weak", "strong")),
        *(record("1111", a, seed=1) for a in ("none", "weak")),
        *(record("1111", a, seed=2) for a in ("weak", "strong")),
    ]
    assert [r.seed for r in robust(BOARD, records)] == [0]


def test_an_attack_that_declines_the_cell_is_not_missing():
    declined = record("1111", "strong", reason="no", correct="")
    [found] = robust(
        BOARD,
        [
            record("1110", "none"),
            record("0111", "weak"),
            declined,
            record("1111", "strong", seed=1),
        ],
    )
    assert found.seed == 0
    assert found.metrics == {"right": 0.5}
    everything = [record("1111", a, reason="no", correct="") for a in ("weak", "strong")]
    others = [record("1111", a, seed=1) for a in ("none", "weak", "strong")]
    found = robust(BOARD, [record("1110", "none"), *everything, *others])
    assert [one.seed for one in found] == [1]


def test_a_record_without_bits_has_no_robust_figure():
    records = [record("1111", a) for a in ("none", "weak", "strong")]
    records[2] = changed(records[2], correct="")
    assert robust(BOARD, records) == []


def test_other_images_are_never_joined():
    records = [record("1111", a) for a in ("none", "weak", "strong")]
    records[2] = changed(records[2], images_hash="other")
    assert robust(BOARD, records) == []


def test_other_students_are_never_joined():
    records = [record("1111", a, content={"student": "one"}) for a in ("none", "weak", "strong")]
    assert len(robust(BOARD, records)) == 1
    records[2] = changed(records[2], content={"student": "other"})
    assert robust(BOARD, records) == []


def test_a_metric_that_one_cell_declines_keeps_the_robust_figures_of_the_others():
    attacks = ("none", "weak", "strong")
    records = [record("1110", a, method=m) for m in ("alpha", "beta") for a in attacks]
    records[2] = changed(records[2], metrics={"distance": 2.0})
    assert [(r.method, set(r.metrics)) for r in robust(BOARD, records)] == [("beta", {"right"})]


def test_records_of_another_split_are_not_on_the_board():
    tuned = record(evaluate="validation")
    assert on_board(BOARD, [tuned, record(evaluate="test"), record(seed=1)]) == [
        record(evaluate="test"),
        record(seed=1),
    ]
    assert on_board(replace(BOARD, evaluate="validation"), [tuned, record()]) == [tuned]


def test_data_sets_are_never_joined():
    attacks = ("none", "weak", "strong")
    records = [record("1111", a, dataset=d) for d in ("blobs", "rings") for a in attacks]
    assert [r.dataset for r in robust(BOARD, records)] == ["blobs", "rings"]


def test_an_attack_in_another_ball_cannot_stand_in():
    small = [record("1111", a) for a in ("none", "weak", "strong")]
    large = [record("1111", a, architecture="large") for a in ("none", "weak", "strong")]
    large[2] = changed(large[2], eps=4 / 255)
    assert [r.architecture for r in robust(BOARD, [*small, *large])] == ["small"]


def test_other_radii_are_other_balls():
    records = [
        record("1111", "none"),
        record("1100", "weak"),
        record("1010", "strong", eps=4 / 255),
        record("1000", "round", norm="linf", eps=0.031373),  # 8/255 as records round it
    ]
    members = {("blobs", "robust linf 8/255"): ("none", "weak", "round")}
    assert balls(BOARD, records) == members
    assert figures(tidy(BOARD, records))["robust linf 8/255"] == 0.25


def test_robust_stands_only_under_metrics_that_are_the_fraction_of_right_images():
    records = [record("1110", a) for a in ("none", "weak", "strong")]
    assert "robust linf 8/255" in figures(tidy(BOARD, records), "right")
    assert "robust linf 8/255" not in figures(tidy(BOARD, records), "distance")


def test_robust_columns_follow_the_attacks():
    records = [record("1111", a) for a in ("none", "weak", "strong", "round")]
    records.append(record("1111", "weak", dataset="rings", norm="l2", eps=1.0))
    records.append(record("1111", "round", dataset="rings", norm="l2", eps=1.0))
    found = columns(BOARD, records)
    assert list(found["blobs"]) == [*BOARD.attacks, "robust linf 8/255"]
    assert list(found["rings"]) == [*BOARD.attacks, "robust l2 1"]


@pytest.mark.parametrize(
    ("eps", "text"),
    [
        (8 / 255, "8/255"),
        (0.031373, "8/255"),
        (0.0314, "8/255"),
        (0.3, "0.3"),
        (0.5, "0.5"),
        (0.123456, "0.123456"),
        (1.0, "1"),
        (0.0, "0"),
        (1e-5, "1e-05"),
    ],
)
def test_a_radius_is_written_as_people_write_it(eps, text):
    assert radius(eps) == text


def test_a_figure_on_another_scale_than_most_is_left_out_and_says_why():
    other = record(seed=1, scales=FALLING)
    made = [record(), other, record(method="beta")]
    assert scales(BOARD, made)["right"] == Scale(better="higher", unit="fraction")
    first, second, third = on_one_scale(BOARD, made)
    assert (first, third) == (made[0], made[2])
    assert set(first.metrics) - set(second.metrics) == {"right"}
    assert "another scale" in second.refused["right"]
    assert scales(BOARD, made[::-1]) == scales(BOARD, made)


def test_of_two_scales_as_common_the_order_of_records_does_not_choose():
    other = record(seed=1, scales=FALLING)
    assert scales(BOARD, [record(), other]) == scales(BOARD, [other, record()])


@pytest.mark.parametrize(
    ("value", "rate", "text"),
    [
        (0.93149, True, "93.1"),
        (1.0, True, "100.0"),
        (12.3456, False, "12.35"),
        (-0.0, False, "0"),
        (2.0, False, "2"),
    ],
)
def test_a_figure_is_displayed_in_percent_or_four_digits(value, rate, text):
    assert (PERCENT if rate else PLAIN).shown(value) == text


@given(st.lists(st.text("01", min_size=9, max_size=9), min_size=3, max_size=3))
def test_robust_never_exceeds_any_of_its_attacks(bits):
    found = figures(tidy(BOARD, list(map(record, bits, ("none", "weak", "strong")))))
    assert found["robust linf 8/255"] <= min(found[a] for a in ("none", "weak", "strong"))


# ---- the generation track

SAMPLED = replace(
    BOARD,
    track="generation",
    labels=("hard",),
    attacks=(),
    metrics=("distance", "right"),
    samplers=("few", "many"),
    checkpoints=(500, 1000),
)


def sampled(sampler="few", step=0, distance=2.0, **changes):
    metrics = {"right": 0.5, "distance": distance}
    found = {"sampler": sampler, "step": step, "metrics": metrics, "correct": "", "eps": None}
    return record("1110", "", norm="", **{**found, **changes})


def test_a_board_of_samples_has_a_column_for_each_sampler_at_each_step():
    wanted = ("few @ 500", "few @ 1,000", "few", "many @ 500", "many @ 1,000", "many")
    assert SAMPLED.columns == wanted
    made = [sampled(s, step) for s in ("many", "few") for step in (0, 1000, 500)]
    table = tidy(SAMPLED, made)
    assert table[table["metric"] == "distance"]["column"].tolist() == list(wanted)
    assert table["metric"].drop_duplicates().tolist() == ["distance", "right"]
    assert columns(SAMPLED, made)["blobs"] == {name: (name,) for name in wanted}
    assert robust(SAMPLED, made) == []


def test_samples_off_the_axes_are_not_shown():
    on = [sampled(), sampled("many", 500)]
    off = [sampled("other"), sampled(step=250), record()]
    assert on_board(SAMPLED, [*on, *off]) == on
    assert on_board(BOARD, [*on, record()]) == [record()]


def test_intervals_of_samples_are_said_to_be_over_seeds_alone():
    assert (BOARD.drawn, SAMPLED.drawn) == ("seeds and test images", "seeds")
