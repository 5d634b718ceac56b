"""What the harness itself costs. A script: run it on an idle machine.

python tests/speed/harness.py [--board leaderboards/demo] [--jobs 2] [--plan-only]

Prints the overhead of a run (wall time x jobs, less the time inside stages), the time of running
the finished board again, and the time of planning 10,000 cells.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract.registry import discover, registry_of
from bench.stages.plan import plan
from bench.stages.stage import Dataset
from bench.store.store import Store

ROOT = Path(__file__).parents[2]


def bench(*arguments: str | Path) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-c", "from bench.cli import main; main()", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def overhead(board: Path, jobs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        copy, store = Path(name) / board.name, Path(name) / "store"
        copy.mkdir()
        shutil.copy(board / "matrix.toml", copy)
        wall = bench("run", copy, "--jobs", str(jobs), "--store", store)
        inside = sum(f.cost["seconds"] for f in Store(store).finished())
        share = 1 - inside / (wall * jobs)
        print(f"first run: {wall:.1f} s with {jobs} jobs; {inside:.1f} s inside stages")
        print(f"overhead (everything else, idle workers included): {100 * share:.1f} %")
        print(f"finished board, run again: {bench('run', copy, '--store', store):.2f} s")
        print(f"dry run of it: {bench('run', copy, '--store', store, '--dry-run'):.2f} s")


def planning() -> None:
    from bench.training import toy

    registry = registry_of(toy.COMPONENTS)
    kinds = {kind: next(iter(registry.of(kind))) for kind in ("dataset", "teacher")}
    network, attack, metric = (
        next(iter(registry.of(k))) for k in ("architecture", "attack", "metric")
    )
    teachers = {f"t{n}": {"teacher": kinds["teacher"], "steps": n + 1} for n in range(20)}
    methods = {f"m{n}": {"method": "toy-soft", "teacher": f"t{n}"} for n in range(20)}
    attacks = {f"a{n}": {"attack": attack, "eps": n / 100} for n in range(10)}
    matrix = parse(
        {
            "title": "ten thousand cells",
            "datasets": [kinds["dataset"]],
            "methods": list(methods),
            "ipc": [1, 2, 3, 4, 5],
            "labels": ["hard", "teacher"],
            "architectures": [network],
            "attacks": list(attacks),
            "metrics": [metric],
            "seeds": list(range(5)),
            "backbone": network,
            "teacher": kinds["teacher"],
            "define": {**teachers, **methods, **attacks},
        }
    )
    start = time.perf_counter()
    components = resolve(matrix, registry)
    cells = matrix.cells()
    facts = {"digest": "0" * 16, "classes": ["a", "b"], "counts": [9, 9], "test": 9}
    facts |= {"shape": [1, 8, 8], "mean": [0.5], "std": [0.2], "flip": False}
    component = registry.of("dataset")[kinds["dataset"]].component
    made = plan(
        components, {kinds["dataset"]: Dataset(kinds["dataset"], component, "0", facts)}, cells
    )
    took = time.perf_counter() - start
    print(f"planning {len(cells):,} cells ({len(made.stages):,} stages): {took:.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--board", type=Path, default=ROOT / "leaderboards" / "demo")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--plan-only", action="store_true")
    options = parser.parse_args()
    discover()
    planning()
    if not options.plan_only:
        overhead(options.board, options.jobs)
