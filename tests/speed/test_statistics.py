"""How long do the statistics of a large board take, beside a paired t test for each comparison?

20 methods x 3 IPC x 5 attacks x 5 seeds x 10,000 test images: ranks, tie groups, intervals and
differences of all rows, from the bits of each image. The target of ours is 10 s on one core.
Theirs (`scipy.stats.ttest_rel`, each row with each other one of its column, over the means of
seeds) knows nothing of test images and corrects nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.stats import ttest_rel

from bench.records.record import Scale
from bench.records.result import Result, pack
from bench.report.numbers import Board
from bench.report.standing import Standings, standings

IMAGES = 10_000
BOARD = Board(
    title="Statistics",
    track="classification",
    datasets=("one",),
    methods=tuple(f"method-{k}" for k in range(19)),
    controls=("by-chance",),
    ceiling=(),
    ipc=(1, 10, 50),
    labels=("hard",),
    architectures=("narrow",),
    attacks=("none", "weak", "strong", "stronger", "strongest"),
    metrics=("right",),
    seeds=(0, 1, 2, 3, 4),
    baseline="by-chance",
)
SCALES = {"right": Scale(better="higher", unit="fraction")}


@pytest.fixture(scope="module")
def records() -> list[Result]:
    return list(made(np.random.default_rng(0)))


@pytest.mark.short
@pytest.mark.benchmark(group="statistics of 20 methods x 3 IPC x 5 attacks x 5 seeds x 10,000")
@pytest.mark.parametrize("side", ["ours", "a t test for each pair of rows"])
def test_statistics(side: str, benchmark: BenchmarkFixture, records: list[Result]) -> None:
    rounds = {"rounds": 2, "warmup_rounds": 1}
    if side != "ours":
        benchmark.pedantic(t_tests, (records,), **rounds)
        return
    found: Standings = benchmark.pedantic(standings, (BOARD, records, SCALES), **rounds)
    assert found.adjacent == 19 * 3 * 5
    assert any(one.ranks != (1, 20) for one in found.of.values())
    assert benchmark.stats["max"] < 10  # seconds


def t_tests(records: list[Result]) -> int:
    """How many pairs of rows differ at 5 %."""
    means: dict[tuple[int, str], dict[str, list[float]]] = {}
    for one in records:
        column = means.setdefault((one.ipc, one.attack), {})
        column.setdefault(one.method, []).append(one.metrics["right"])
    pairs = (pair for rows in means.values() for pair in combinations(rows.values(), 2))
    return sum(bool(ttest_rel(*pair).pvalue < 0.05) for pair in pairs)


def made(rng: np.random.Generator) -> Iterator[Result]:
    """Records whose rows differ, with effects of seeds and of test images."""
    easy = rng.normal(0, 1, IMAGES)
    for ipc in BOARD.ipc:
        for k, method in enumerate((*BOARD.methods, *BOARD.controls)):
            for strength, attack in enumerate(BOARD.attacks):
                for seed in BOARD.seeds:
                    level = 1 + 0.01 * k - 0.3 * strength + rng.normal(0, 0.02)
                    yield record(easy + rng.normal(0, 1, IMAGES) < level, ipc, method, attack, seed)


def record(bits: NDArray[np.bool_], ipc: int, method: str, attack: str, seed: int) -> Result:
    digest = "0123456789abcdef"
    return Result(
        dataset="one",
        method=method,
        ipc=ipc,
        labels="hard",
        architecture="narrow",
        attack=attack,
        seed=seed,
        metrics={"right": float(bits.mean())},
        scales=SCALES,
        correct=pack(bits),
        images=IMAGES,
        images_hash=digest,
        data={"digest": digest, "classes": digest},
    )
