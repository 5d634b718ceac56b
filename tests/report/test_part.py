"""What a generator trained on a part is worth beside one on all: by hand, of known figures."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
from scipy.stats import t

from bench.board.matrix import parse
from bench.records.record import Passes, Scale
from bench.records.result import Result
from bench.report.model import Section, Table, Value
from bench.report.numbers import board_of
from bench.report.part import blocks

BOARD = board_of(
    parse(
        {
            "title": "Drawn",
            "track": "generation",
            "datasets": ["dots"],
            "methods": ["learnt"],
            "controls": ["random", "other"],
            "baseline": "random",
            "ceiling": ["floor", "full"],
            "ipc": [1, 10],
            "architectures": ["net"],
            "samplers": ["walk"],
            "metrics": ["distance"],
            "seeds": [0, 1, 2],
            "denoiser": "net",
            "recipe": {"steps": 10},
        }
    )
)
SCALE = {"distance": Scale(better="lower")}


def made(method: str, ipc: int, values: tuple[float, ...], size: int, **more: Any) -> list[Result]:
    spent = {"scorer": 5, "survey": 30, "set": 200} if method == "learnt" else {"set": 0}
    spent |= {} if method == "floor" else {"student": 1000}
    return [
        Result(
            dataset="dots",
            method=method,
            ipc=ipc,
            labels="hard",
            architecture="net",
            sampler="walk",
            seed=seed,
            metrics={"distance": value},
            scales=SCALE,
            size=size,
            images=4,
            images_hash="h",
            passes={role: Passes(forward=n, backward=n // 2) for role, n in spent.items()},
            content={role: f"{role}{seed}" for role in spent},
            **more,
        )
        for seed, value in enumerate(values)
    ]


FULL = (1.0, 1.1, 1.2)
RECORDS = [
    *made("full", 0, FULL, 400),
    *made("floor", 0, (0.1, 0.1, 0.1), 400),
    *made("random", 1, (3.0, 3.2, 3.1), 4),
    *made("learnt", 1, (0.5, 0.61, 0.69), 4),
    *made("random", 10, (1.0, 1.3, 1.1), 40),
    *made("other", 10, (0.9, 1.2, 1.0), 40),
    *made("learnt", 10, (1.5, 1.6, 1.9), 40),
]


def lines(records: list[Result], board: Any = BOARD) -> list[dict[str, Any]]:
    (section,) = blocks(board, records, SCALE)
    assert isinstance(section, Section)
    (place,) = section.blocks
    assert isinstance(place, Section)
    (table,) = [one for one in place.blocks if isinstance(one, Table)]
    heads = [column.name for column in table.columns]
    return [dict(zip(heads, row, strict=True)) for row in table.rows]


def test_each_budget_has_its_best_row_the_best_method_and_the_baseline() -> None:
    found = [(line["Method"].text, line["Share, %"].mean) for line in lines(RECORDS)]
    small, large = [("learnt", 1), ("random", 1)], [("other", 10), ("learnt", 10), ("random", 10)]
    assert found == [*small, *large, ("full", 100)]  # the floor was no training


def test_differences_to_the_full_set_are_paired_by_seed() -> None:
    line = lines(RECORDS)[0]
    differences = [a - b for a, b in zip((0.5, 0.61, 0.69), FULL, strict=True)]
    mean = sum(differences) / 3
    deviation = sqrt(sum((d - mean) ** 2 for d in differences) / 2)
    half = t.ppf(0.975, 2) * deviation / sqrt(3)
    value: Value = line["Minus full"]
    assert value.mean == pytest.approx(mean)
    assert value.interval == pytest.approx((mean - half, mean + half))


def test_the_verdict_is_that_of_the_interval() -> None:
    said = [line["At 5 %"].text for line in lines(RECORDS)]
    assert said == ["better", "worse", "not told apart", "worse", "not told apart", ""]
    one = [r for r in RECORDS if r.seed == 0]
    assert {line["At 5 %"].text for line in lines(one)} == {"one seed says nothing", ""}
    alike = [*made("full", 0, (1.0, 1.0, 1.0), 400), *made("random", 1, (2.0, 2.0, 2.0), 4)]
    assert [line["At 5 %"].text for line in lines(alike)] == ["seeds do not differ", ""]


def test_costs_are_those_of_the_set_with_all_that_it_is_made_by_and_of_the_training() -> None:
    learnt, random, *_ = lines(RECORDS)
    assert learnt["Passes for the set"].mean == (5 + 2) + (30 + 15) + (200 + 100)
    assert random["Passes for the set"].mean == 0
    assert {line["Passes of training"].mean for line in lines(RECORDS)} == {1500}


def test_without_both_a_part_and_all_of_the_data_there_is_no_table() -> None:
    assert blocks(BOARD, [r for r in RECORDS if r.method != "full"], SCALE) == ()
    assert blocks(BOARD, [r for r in RECORDS if r.method == "full"], SCALE) == ()
    neither = {"distance": Scale(better="neither")}
    assert blocks(BOARD, RECORDS, neither) == ()


def test_checkpoints_are_not_the_end() -> None:
    early = made("random", 1, (9.0, 9.0, 9.0), 4, step=5)
    assert [line["Minus full"] for line in lines([*early, *RECORDS])] == [
        line["Minus full"] for line in lines(RECORDS)
    ]
