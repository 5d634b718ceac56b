"""What the harness costs: the planning of many cells, and all of a run that is not a verb.

A run is many processes, so the wall clock counts. Beside the first run of the demo stand another
one of the finished board, and a dry run. Overhead is the share of wall time x jobs that is not
inside stages' verbs, idle workers included: read it on an idle machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract.registry import registry_of
from bench.stages.plan import Plan, plan
from bench.stages.stage import Dataset
from bench.store.store import Store
from bench.training import toy

DEMO = Path(__file__).parents[2] / "leaderboards" / "demo"
JOBS = os.cpu_count() or 1
FACTS = {
    "digest": "0" * 16,
    "classes": ["a", "b"],
    "counts": [9, 9],
    "test": 9,
    "shape": [1, 8, 8],
    "mean": [0.5],
    "std": [0.2],
    "flip": False,
}


CELLS = [*(pytest.param(n, marks=pytest.mark.short) for n in (1_000, 10_000)), 100_000]


@pytest.mark.benchmark(group="planning: ten times the cells, ten times the time")
@pytest.mark.parametrize("cells", CELLS)
def test_planning(cells: int, benchmark: BenchmarkFixture) -> None:
    planned(many(1_000))  # what is slow the first time
    made = benchmark.pedantic(planned, (many(cells),), rounds=1 if cells > 1_000 else 3)
    assert len(made.cells) == cells
    benchmark.extra_info["stages"] = len(made.stages)


def planned(document: dict[str, Any]) -> Plan:
    registry = registry_of(toy.COMPONENTS)
    components = resolve(parse(document), registry)
    data = Dataset("toy-data", registry.of("dataset")["toy-data"].component, "0", FACTS)
    return plan(components, {"toy-data": data}, components.matrix.cells())


def many(cells: int) -> dict[str, Any]:
    """A board of that many cells, each method with a teacher of its own."""
    teachers = {f"t{n}": {"teacher": "toy-teacher", "steps": n + 1} for n in range(20)}
    methods = {f"m{n}": {"method": "toy-soft", "teacher": f"t{n}"} for n in range(20)}
    attacks = {f"a{n}": {"attack": "toy-step", "eps": n / 100} for n in range(5)}
    return {
        "title": "many cells",
        "datasets": ["toy-data"],
        "methods": list(methods),
        "ipc": [1, 2, 3, 4, 5],
        "labels": ["hard", "teacher"],
        "architectures": ["toy-convnet"],
        "attacks": list(attacks),
        "metrics": ["toy-accuracy"],
        "seeds": list(range(cells // 1_000)),
        "backbone": "toy-convnet",
        "teacher": "toy-teacher",
        "define": {**teachers, **methods, **attacks},
    }


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Store]:
    """`bench("--dry-run")`: `bench run`, on a copy of the demo with a store of its own."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copy(DEMO / "matrix.toml", folder)
    command = [sys.executable, "-c", "from bench.cli import main; main()", "run", str(folder)]
    command += ["--store", str(folder / "store"), "--jobs", str(JOBS)]

    def run(*options: str) -> Store:
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
        return Store(folder / "store")

    return run


@pytest.mark.benchmark(group="bench run leaderboards/demo, wall clock", timer=time.perf_counter)
@pytest.mark.parametrize("run", ["first", "again", "dry"])
def test_run(run: str, benchmark: BenchmarkFixture, bench: Callable[..., Store]) -> None:
    if run != "first":
        bench()  # costs next to nothing where the first run is done
    options = ["--dry-run"] if run == "dry" else []
    store = benchmark.pedantic(bench, options, rounds=1 if run == "first" else 3)
    if run == "first":
        spent = benchmark.stats["total"] * JOBS
        inside = sum(finished.cost["seconds"] for finished in store.finished())
        benchmark.extra_info["wall seconds x jobs"] = spent
        benchmark.extra_info["seconds inside stages"] = inside
        benchmark.extra_info["overhead"] = f"{1 - inside / spent:.1%}"
