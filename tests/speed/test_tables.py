"""How long do the tables of 100,000 probes take, beside what a user would write with pandas?

A board of up to 100,000 probes, 500 test images each, in a temporary folder. Ours is what
`bench leaderboard` does: it checks every record, counts the images that stand under all attacks,
and makes page and CSV; with `--check`, it also looks for records that were edited. The user's
reads each line with `json.loads`, puts the figures into a frame, joins it with those of students
and sets, and groups it. The target of ours is 15 s and 1 GB for 100,000 probes on one core.
"""

from __future__ import annotations

import gc
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.records.files import edited, read, read_whole, write
from bench.records.record import Moved, Scale
from bench.records.result import COORDINATES, Result, pack
from bench.report import numbers
from bench.report.page import build, files
from bench.report.verify import misstated

IMAGES = 500
AXES = ["dataset", "architecture", "labels", "ipc", "method"]
BOARD = numbers.Board(
    title="A hundred thousand probes",
    track="classification",
    datasets=("one", "two"),
    methods=tuple(f"method-{k}" for k in range(256)),
    controls=("control-1", "control-2", "control-3", "control-4"),
    ceiling=("all",),
    ipc=(1, 10, 50),
    labels=("hard", "soft"),
    architectures=("narrow", "wide"),
    attacks=("none", "weak", "strong", "strongest"),
    metrics=("right", "loss"),
    seeds=(0, 1, 2, 3),
)


COUNTS = [pytest.param(2_000, marks=pytest.mark.short), 10_000, 100_000]


@pytest.fixture(scope="module", params=COUNTS)
def board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    write(folder, make(request.param))
    return folder


@pytest.mark.parametrize("side", ["ours", "ours, --check", "json and pandas"])
def test_tables(
    side: str,
    benchmark: BenchmarkFixture,
    board: Path,
    memory: Callable[[], AbstractContextManager[None]],
) -> None:
    benchmark.group = f"{len(read(board)):,} records to tables"
    sides = {"ours": ours, "ours, --check": checked, "json and pandas": plain}
    with memory():
        table = benchmark.pedantic(sides[side], (board,), rounds=2)
    size = sum(path.stat().st_size for path in (board / "records").iterdir())
    benchmark.extra_info["MiB of records"] = size / 2**20
    expected = table if side == "json and pandas" else plain(board)
    pd.testing.assert_series_equal(table, expected, atol=1e-6)  # of a CSV, six digits


@pytest.mark.benchmark(group="import of what makes the tables, wall clock", timer=time.perf_counter)
@pytest.mark.parametrize("module", ["bench.report.page", "pandas"])
def test_import(module: str, benchmark: BenchmarkFixture) -> None:
    command = [sys.executable, "-c", f"import {module}"]
    benchmark.pedantic(subprocess.run, (command,), {"check": True}, rounds=3, warmup_rounds=1)


def ours(folder: Path) -> pd.Series:
    """The mean of `right` in every cell, from the table that is made."""
    gc.disable()  # as `bench leaderboard` does
    try:
        found = read_whole(folder)
        made = files(build(BOARD, found.results, version=found.version(found.results)))
    finally:
        gc.enable()
    tidy = pd.read_csv(io.StringIO(made["table.csv"]))
    tidy = tidy[(tidy["metric"] == "right") & tidy["column"].isin(BOARD.attacks)]
    return tidy.set_index([*AXES, "column"])["mean"].sort_index()


def checked(folder: Path) -> pd.Series:
    assert not edited(folder)
    assert not misstated(folder, read(folder))
    return ours(folder)


def plain(folder: Path) -> pd.Series:
    rows: dict[str, list[dict[str, Any]]] = {"set": [], "student": [], "probe": []}
    for path in (folder / "records").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if "level" in record:
                rows[record["level"]].append(record)
    names = ["id", *(axis for axis in AXES if axis != "architecture")]
    sets = pd.DataFrame([{name: one[name] for name in names} for one in rows["set"]])
    names = ["id", "set", "architecture"]
    students = pd.DataFrame([{name: one[name] for name in names} for one in rows["student"]])
    found = [
        {"student": one["student"], "column": one["attack"], "mean": one["metrics"]["right"]}
        for one in rows["probe"]
    ]
    students = students.merge(sets, left_on="set", right_on="id", suffixes=("", "_of_set"))
    whole = pd.DataFrame(found).merge(students, left_on="student", right_on="id")
    cells = whole.groupby([*AXES, "column"])["mean"]
    cells.std()
    return cells.mean().sort_index()


def make(count: int) -> list[Result]:
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


def record(cell: tuple[str | int, ...], rng: np.random.Generator, strength: int) -> Result:
    bits = rng.random(IMAGES) < 0.9 - 0.2 * strength
    in_ball = strength > 0
    digest = "0123456789abcdef"
    seconds = dict.fromkeys(("squeeze", "condense", "train", "probe"), 1.234567)
    where: dict[str, Any] = dict(zip(COORDINATES["classification"], cell, strict=True))
    fields: dict[str, Any] = {
        "metrics": {"right": float(bits.mean()), "loss": 1.0 - float(bits.mean())},
        "scales": {
            "right": Scale(better="higher", unit="fraction"),
            "loss": Scale(better="lower"),
        },
        "correct": pack(bits),
        "images": IMAGES,
        "images_hash": digest,
        "norm": "linf" if in_ball else "",
        "eps": 8 / 255 if in_ball else 0.0,
        "perturbation": {
            "linf": Moved(mean=0.03 * in_ball, max=0.0314 * in_ball),
            "l2": Moved(mean=1.0 * in_ball, max=2.0 * in_ball),
        },
        "bytes": {"images": 30_000, "labels": 400, "weights": 0, "extras": 0},
        "size": 100,
        "seconds": seconds,
        "peak_mb": 512.5,
        "parameters": {"method": {"lam": 3.0}, "teacher": {}, "attack": {}},
        "about": {"method": "A method (Someone et al., 2024).", "attack": "An attack."},
        "recipe": {f"knob_{k}": 0.1 * k for k in range(20)},
        "versions": {f"distribution-{k}": "1.2.3" for k in range(8)},
        "code": dict.fromkeys(("method", "teacher", "attack"), digest),
        "data": {"digest": digest, "classes": digest},
        "content": dict.fromkeys(("teacher", "set", "student", "probe"), digest),
        "environment": {"device": "cpu", "threads": 1, "machine": "x86_64", "system": "Linux"},
    }
    return Result(**where, **fields)
