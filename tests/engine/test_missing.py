"""A record holds where a run would describe its cell in the same words, and find as much."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toyplug
from msgspec import structs
from support import BOARD, SMALL

from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract.registry import registry_of
from bench.engine.missing import wanting
from bench.engine.results import run
from bench.engine.scheduler import Engine
from bench.records.files import read, write
from bench.records.result import Result
from bench.store.store import Store


def engine(store: Path, **changes: Any) -> Engine:
    document = {k: v for k, v in {**BOARD, **SMALL, **changes}.items() if v is not None}
    return Engine(resolve(parse(document), registry_of(toyplug.COMPONENTS)), Store(store))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    """The store and the committed records of a board of two cells."""
    folder = tmp_path_factory.mktemp("missing")
    one = engine(folder / "store")
    made = run(one, one.plan(one.components.matrix.cells())).records
    write(folder, made)
    return folder / "store", list(read(folder))


def sound(ran: tuple[Path, list[Result]], change: Any = None, **changes: Any) -> set[str]:
    """The methods whose records hold on the board with changes, after a change of each record."""
    store, records = ran
    one = engine(store, **changes)
    plan = one.plan(one.components.matrix.cells())
    found = wanting(one.components, plan, map(change, records) if change else records)
    return {cell.method for cell, fault in found.items() if not fault}


BOTH = {"noted", "toy-first"}
TWICE = {"twice": {"metric": "toy-accuracy"}}


def test_records_of_the_same_board_hold_after_they_were_written_and_read(ran: Any) -> None:
    assert sound(ran) == BOTH


def test_what_a_record_lacks_is_said(ran: Any) -> None:
    store, records = ran
    one = engine(store, recipe={**BOARD["recipe"], "lr": 0.2})
    plan = one.plan(one.components.matrix.cells())
    assert set(wanting(one.components, plan, records).values()) == {"another recipe"}
    assert set(wanting(one.components, plan, []).values()) == {"no record"}


def test_machine_versions_and_cost_are_no_reason_to_run_a_cell_again(ran: Any) -> None:
    other = {"environment": {"cpu": "another"}, "versions": {"torch": "9"}, "peak_mb": 1.0}
    assert sound(ran, lambda r: structs.replace(r, **other, seconds={"train": 9.0})) == BOTH


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"recipe": {**BOARD["recipe"], "lr": 0.2}}, set()),
        ({"recipe": {**BOARD["recipe"], "nesterov": False}}, set()),
        ({"probe": {"images": 32}}, set()),
        ({"evaluate": "validation"}, set()),
        ({"title": "Another", "limits": {"seconds": 9, "memory_gb": 4}}, BOTH),
        ({"metrics": ["toy-accuracy", "twice"], "define": TWICE}, set()),
    ],
    ids=lambda given: "+".join(given) if isinstance(given, dict) else None,
)
def test_a_board_that_has_changed_keeps_what_it_still_asks_for(
    ran: Any, changes: dict[str, Any], left: set[str]
) -> None:
    assert sound(ran, **changes) == left


@pytest.mark.parametrize(
    "change",
    [
        lambda r: {"protocol": r.protocol - 1},
        lambda r: {"code": {**r.code, "method": "other"}},
        lambda r: {"code": {**r.code, "attack": "other"}},
        lambda r: {"data": {**r.data, "digest": "other"}},
        lambda r: {"parameters": {"method": {"size": 3}}},
        lambda r: {"recipe": {**r.recipe, "lr": 0.3}},
        lambda r: {"recipe": {**r.recipe, "gone": 1}},
        lambda r: {"images": r.images - 1},
        lambda r: {"metrics": {}},
    ],
    ids=["protocol", "method", "attack", "data", "field", "lr", "gone", "images", "metric"],
)
def test_a_record_that_says_something_else_does_not_hold(
    ran: Any, change: Callable[[Result], dict[str, Any]]
) -> None:
    def changed(record: Result) -> Result:
        return structs.replace(record, **change(record)) if record.method == "noted" else record

    assert sound(ran, changed) == {"toy-first"}


def test_a_metric_that_was_declined_is_not_missing(ran: Any) -> None:
    def declined(record: Result) -> Result:
        return structs.replace(record, metrics={}, refused={"toy-accuracy": "no"})

    assert sound(ran, declined) == BOTH


def test_a_field_that_recipes_have_got_since_counts_where_it_is_set(ran: Any) -> None:
    def before(record: Result) -> Result:
        recipe = {k: v for k, v in record.recipe.items() if k != "nesterov"}
        return structs.replace(record, recipe=recipe)

    assert sound(ran, before) == BOTH
    assert sound(ran, before, recipe={**BOARD["recipe"], "nesterov": False}) == set()


def test_a_cell_that_was_declined_holds_as_long_as_its_reason_does(ran: Any) -> None:
    def declined(reason: str) -> Callable[[Result], Result]:
        return lambda r: structs.replace(r, reason=reason, metrics={}, scales={}, images=0)

    many = {"probe": {"images": 10**6}}
    store, _ = ran
    one = engine(store, **many)
    plan = one.plan(one.components.matrix.cells())
    (reason,) = set(plan.declined.values())
    assert sound(ran, declined("needs BatchNorm")) == BOTH
    assert sound(ran, declined(reason), **many) == BOTH
    assert sound(ran, declined(reason)) == set()  # fewer images are asked for since
    assert sound(ran, **many) == set()  # measured, and too many are asked for since


def test_the_code_that_reads_a_data_set_does_not_matter_what_it_holds_does(ran: Any) -> None:
    def read_otherwise(record: Result) -> Result:
        return structs.replace(record, code={**record.code, "dataset": "0" * 16})

    def of_others(record: Result) -> Result:
        return structs.replace(record, data={**record.data, "digest": "0" * 16})

    assert sound(ran, read_otherwise) == BOTH
    assert sound(ran, of_others) == set()
