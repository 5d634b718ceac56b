"""Records -> figures: means and spreads, in the order of the board."""

import math
from dataclasses import replace

import pandas as pd
from blobs import BOARD, record
from hypothesis import given
from hypothesis import strategies as st

from bench.report.figures import COLUMNS, tidy


def test_a_cell_is_the_mean_and_sample_deviation_over_seeds():
    table = tidy(BOARD, [record(b, seed=s) for s, b in enumerate(("1110", "1100", "1000"))])
    row = table.iloc[0]
    assert tuple(table.columns) == COLUMNS
    assert (row["dataset"], row["method"], row["role"]) == ("blobs", "alpha", "method")
    assert row["mean"] == 0.5
    assert row["sd"] == 0.25  # squares .0625 + 0 + .0625, over n - 1 = 2
    assert (row["n"], row["images"], row["size"], row["bytes"]) == (3, 4, 2, 64)


def test_one_seed_has_no_deviation():
    row = tidy(BOARD, [record()]).iloc[0]
    assert row["n"] == 1
    assert math.isnan(row["sd"])


def test_metrics_off_the_board_are_not_shown():
    table = tidy(replace(BOARD, metrics=("distance",)), [record()])
    assert table["metric"].tolist() == ["distance"]


def test_rows_are_in_the_order_of_the_board():
    records = [
        record(method=method, ipc=ipc, dataset=dataset)
        for dataset in ("rings", "blobs")
        for method, ipc in [("all", 0), ("dice", 1), ("alpha", 10), ("beta", 1), ("alpha", 1)]
    ]
    table = tidy(BOARD, records)
    found = table[table["metric"] == "right"]
    rows = [("alpha", 1), ("beta", 1), ("dice", 1), ("alpha", 10), ("all", 0)]
    assert list(zip(found["method"], found["ipc"], strict=True)) == rows * 2
    assert found["dataset"].tolist() == ["blobs"] * 5 + ["rings"] * 5
    assert found["role"].tolist()[:5] == ["method", "method", "control", "method", "ceiling"]


def test_no_records_make_an_empty_table():
    table = tidy(BOARD, [])
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 0


def test_unsupported_cells_have_no_figure():
    declined = record(attack="weak", reason="no", metrics={}, norm="", eps=None, correct="")
    assert tidy(BOARD, [record(), declined])["column"].unique().tolist() == ["none"]


@given(
    st.lists(
        st.builds(
            lambda bits, attack, method, seed: record(bits, attack, method=method, seed=seed),
            st.text("01", min_size=4, max_size=4),
            st.sampled_from(BOARD.attacks),
            st.sampled_from(("alpha", "beta")),
            st.integers(0, 2),
        ),
        unique_by=lambda r: (r.attack, r.method, r.seed),
    ),
    st.randoms(),
)
def test_the_order_of_records_changes_no_number(records, rng):
    table = tidy(BOARD, records)
    rng.shuffle(records)
    pd.testing.assert_frame_equal(tidy(BOARD, records), table, check_exact=True)
