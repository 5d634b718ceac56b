"""How long do the tables of 10,000 records take, beside what a user would write with pandas?

A board of 10,000 records, 500 test images each, in a temporary folder. Ours is what
`bench leaderboard --check` does: it checks every record, counts the images that stand under all
attacks, and makes page and CSV. The user's reads each line with `json.loads`, puts the figures
into a frame, and groups them. The target of ours, with all imports, is 3 s.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.records.files import read, write
from bench.records.record import COORDINATES, Record, pack
from bench.report import numbers
from bench.report.page import render

IMAGES = 500
AXES = ["dataset", "architecture", "labels", "ipc", "method"]
BOARD = numbers.Board(
    title="Ten thousand records",
    track="classification",
    datasets=("one", "two"),
    methods=tuple(f"method-{k}" for k in range(22)),
    controls=("control-1", "control-2", "control-3", "control-4"),
    ceiling=("all",),
    ipc=(1, 10, 50),
    labels=("hard", "soft"),
    architectures=("narrow", "wide"),
    attacks=("none", "weak", "strong", "strongest"),
    metrics=("right", "loss"),
    seeds=(0, 1, 2, 3),
)


COUNTS = [pytest.param(2_000, marks=pytest.mark.short), 10_000]


@pytest.fixture(scope="module", params=COUNTS)
def board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    write(folder, make(request.param))
    return folder


@pytest.mark.parametrize("side", ["ours", "json and pandas"])
def test_tables(side: str, benchmark: BenchmarkFixture, board: Path) -> None:
    benchmark.group = f"{len(read(board)):,} records to tables"
    table = benchmark.pedantic(ours if side == "ours" else plain, (board,), rounds=2)
    size = sum(path.stat().st_size for path in (board / "records").iterdir())
    benchmark.extra_info["MiB of records"] = size / 2**20
    expected = plain(board) if side == "ours" else table
    pd.testing.assert_series_equal(table, expected, atol=1e-6)  # of a CSV, six digits


@pytest.mark.benchmark(group="import of what makes the tables, wall clock", timer=time.perf_counter)
@pytest.mark.parametrize("module", ["bench.report.page", "pandas"])
def test_import(module: str, benchmark: BenchmarkFixture) -> None:
    command = [sys.executable, "-c", f"import {module}"]
    benchmark.pedantic(subprocess.run, (command,), {"check": True}, rounds=3, warmup_rounds=1)


def ours(folder: Path) -> pd.Series:
    """The mean of `right` in every cell, from the table that is made."""
    files = render(BOARD, read(folder))
    tidy = pd.read_csv(io.StringIO(files["table.csv"]))
    tidy = tidy[(tidy["metric"] == "right") & tidy["column"].isin(BOARD.attacks)]
    return tidy.set_index([*AXES, "column"])["mean"].sort_index()


def plain(folder: Path) -> pd.Series:
    rows = []
    for path in (folder / "records").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            row = {name: record[name] for name in (*AXES, "seed")}
            rows.append({**row, "column": record["attack"], "mean": record["metrics"]["right"]})
    cells = pd.DataFrame(rows).groupby([*AXES, "column"])["mean"]
    cells.std()
    return cells.mean().sort_index()


def make(count: int) -> list[Record]:
    rng = np.random.default_rng(0)
    rows = [(m, ipc) for m in (*BOARD.methods, *BOARD.controls) for ipc in BOARD.ipc]
    return [
        record((dataset, method, ipc, labels, architecture, attack, seed), rng, k)
        for method, ipc in [*rows, ("all", 0)]
        for dataset in BOARD.datasets
        for architecture in BOARD.architectures
        for labels in BOARD.labels
        for seed in BOARD.seeds
        for k, attack in enumerate(BOARD.attacks)
    ][:count]


def record(cell: tuple[str | int, ...], rng: np.random.Generator, strength: int) -> Record:
    bits = rng.random(IMAGES) < 0.9 - 0.2 * strength
    in_ball = strength > 0
    digest = "0123456789abcdef"
    seconds = dict.fromkeys(("squeeze", "condense", "train", "probe"), 1.234567)
    return {
        **dict(zip(COORDINATES["classification"], cell, strict=True)),
        "status": "ok",
        "reason": "",
        "metrics": {"right": float(bits.mean()), "loss": 1.0 - float(bits.mean())},
        "scales": {
            "right": {"better": "higher", "rate": True},
            "loss": {"better": "lower", "rate": False},
        },
        "correct": pack(bits),
        "images": IMAGES,
        "images_hash": digest,
        "norm": "linf" if in_ball else "",
        "eps": 8 / 255 if in_ball else 0.0,
        "perturbation": {
            "linf": {"mean": 0.03 * in_ball, "max": 0.0314 * in_ball},
            "l2": {"mean": 1.0 * in_ball, "max": 2.0 * in_ball},
        },
        "bytes": {"images": 30_000, "labels": 400, "weights": 0, "extras": 0},
        "size": 100,
        "cost": {"seconds": seconds, "peak_mb": 512.5},
        "parameters": {"method": {"lam": 3.0}, "teacher": {}, "attack": {}},
        "about": {"method": "A method (Someone et al., 2024).", "attack": "An attack."},
        "recipe": {f"knob_{k}": 0.1 * k for k in range(20)},
        "versions": {f"distribution-{k}": "1.2.3" for k in range(8)},
        "code": dict.fromkeys(("method", "teacher", "attack"), digest),
        "data": {"digest": digest, "classes": digest},
        "content": dict.fromkeys(("teacher", "set", "student", "probe"), digest),
        "flags": [],
        "environment": {"device": "cpu", "threads": 1, "machine": "x86_64", "system": "Linux"},
    }
