"""A board as frames: every record, and the table of its page."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pandas as pd
import pytest
from msgspec import structs
from support import a_result, write_board

import bench
from bench.contract.errors import BenchError
from bench.records.files import read, write
from bench.report.folder import write_tables
from bench.report.frames import COLUMNS

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "leaderboards" / "demo"


def test_every_record_and_metric_has_a_row_and_no_other_is_there() -> None:
    frame, results = bench.read_board(DEMO), read(DEMO)
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == sum(len(r.metrics) + len(r.refused) for r in results)
    where = ["dataset", "method", "ipc", "labels", "architecture", "attack", "seed"]
    found = frame.set_index([*where, "metric"])["value"]
    assert found.index.is_unique
    for result in results:
        for metric, value in result.metrics.items():
            assert found[*result.coordinate, metric] == value


def test_costs_are_those_of_the_record() -> None:
    frame = bench.read_board(DEMO)
    for result in read(DEMO)[:20]:
        keys = {"method": result.method, "ipc": result.ipc, "attack": result.attack}
        chosen = frame[(frame[list(keys)] == pd.Series(keys)).all(axis=1)]
        row = chosen[chosen["seed"] == result.seed].iloc[0]
        assert row["bytes"] == sum(result.bytes.values())
        assert row["seconds"] == pytest.approx(sum(result.seconds.values()))
        assert row["forward"] == sum(p.forward for p in result.passes.values())
        assert row["set_backward"] == result.passes["set"].backward
        assert row["size"] == result.size


def test_means_of_the_records_are_those_of_the_table() -> None:
    frame = bench.read_board(DEMO)
    means = frame.groupby(["ipc", "method", "attack", "metric"])["value"].mean()
    plain = bench.table(DEMO)
    plain = plain[~plain["column"].str.startswith("robust")]
    assert len(plain) == len(means)
    for row in plain.itertuples():
        assert row.mean == pytest.approx(means[row.ipc, row.method, row.column, row.metric])


def test_the_table_is_that_of_the_file(tmp_path: Path) -> None:
    board = write_board(tmp_path)
    write_tables(board)
    assert bench.table(board).empty
    with (DEMO / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = bench.table(DEMO)
    assert list(found.columns) == list(rows[0])
    assert [f"{mean:.6f}" for mean in found["mean"]] == [
        f"{float(row['mean']):.6f}" for row in rows
    ]


def test_a_cell_that_was_declined_has_its_reason_and_no_value(tmp_path: Path) -> None:
    board = write_board(tmp_path)
    good = a_result(content={"set": "a", "probe": "b"}, refused={"other": "too few"})
    declined = structs.replace(
        a_result(metrics={}, scales={}, images=0, environment={}), seed=1, reason="needs colour"
    )
    write(board, [good, declined])
    rows = bench.read_board(board).set_index(["seed", "metric"])
    assert rows.loc[(0, "right"), "value"] == 0.5
    assert rows.loc[(0, "other"), "reason"] == "too few"
    assert math.isnan(rows.loc[(0, "other"), "value"])
    assert rows.loc[(1, ""), "reason"] == "needs colour"
    assert set(rows["role"]) == {""}  # which the board does not ask for


def test_a_folder_without_a_board_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cannot read .*matrix\.toml"):
        bench.read_board(tmp_path)


def test_plots_are_charts_by_caption():
    alt = pytest.importorskip("altair")
    found = bench.plots(DEMO)
    assert any(caption.startswith("Rank intervals") for caption in found)
    assert all(isinstance(chart, alt.TopLevelMixin) for chart in found.values())
    assert all("data" in chart.to_dict() for chart in found.values())
    assert bench.plots(str(DEMO)).keys() == found.keys()
