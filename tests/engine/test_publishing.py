"""Cells are handed on once each, as soon as they are complete and it is time to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.engine import publishing
from bench.engine.outcome import Outcome
from bench.stages.plan import Plan


def cell(name: str, probe: str, *measures: str) -> Any:
    stages = {m: SimpleNamespace(id=m) for m in measures}
    return SimpleNamespace(cell=name, probe=SimpleNamespace(id=probe), measures=stages)


PLAN = Plan((cell("a", "p", "m"), cell("b", "q", "n"), cell("c", "q")), (), lost=3)


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(publishing.time, "monotonic", made.monotonic)
    return made


def started(plan: Plan, clock: Clock, took: float = 0.0) -> tuple[Any, list[list[str]]]:
    """A publication that takes so long, and the cells that it hands on."""
    given: list[list[str]] = []

    def publish(part: Plan, outcome: Outcome) -> None:
        assert part.lost == 0  # cells without data are counted at the end
        clock.now += took
        given.append([str(planned.cell) for planned in part.cells])

    return publishing.Publication(plan, publish), given


def test_a_cell_is_handed_on_when_all_of_its_stages_have_ended(clock: Clock) -> None:
    watch, given = started(PLAN, clock)
    finished: dict[str, Any] = {}
    failed: dict[str, Any] = {}
    expected = {"p": [], "q": [["c"]], "n": [["c"], ["b"]]}
    for id, so_far in expected.items():
        (failed if id == "n" else finished)[id] = None  # one that failed has ended, too
        clock.now += publishing.EVERY
        watch(Outcome(finished, failed))
        assert given == so_far
    clock.now += publishing.EVERY
    watch(Outcome(finished, failed))
    assert given == [["c"], ["b"]]


def test_nothing_is_handed_on_more_often_than_every_ten_seconds(clock: Clock) -> None:
    watch, given = started(PLAN, clock)
    assert publishing.EVERY == 10
    clock.now = 9.9
    watch(Outcome({"q": None}, {}))
    assert given == []
    clock.now = 10.0
    watch(Outcome({"q": None}, {}))
    clock.now = 19.9
    watch(Outcome({"q": None, "n": None}, {}))
    assert given == [["c"]]
    clock.now = 20.1
    watch(Outcome({"q": None, "n": None}, {}))
    assert given == [["c"], ["b"]]


def test_slow_publications_are_rarer(clock: Clock) -> None:
    """They hold the run up: on a board of 100,000 cells they would take most of its time."""
    watch, given = started(PLAN, clock, took=6.0)
    clock.now = 10.0
    watch(Outcome({"q": None}, {}))
    clock.now = 16.0 + 6.0 * publishing.SHARE - 0.1
    watch(Outcome({"q": None, "n": None}, {}))
    assert given == [["c"]]
    clock.now += 0.2
    watch(Outcome({"q": None, "n": None}, {}))
    assert given == [["c"], ["b"]]


@given(
    cells=st.lists(st.sets(st.integers(0, 8), min_size=1), max_size=6),
    order=st.permutations(range(9)),
    fails=st.sets(st.integers(0, 8)),
    looks=st.sets(st.integers(0, 8)),
)
def test_every_cell_is_handed_on_once_whatever_ends_when(
    cells: list[set[int]], order: list[int], fails: set[int], looks: set[int]
) -> None:
    planned = [cell(str(n), *map(str, sorted(stages))) for n, stages in enumerate(cells)]
    given: list[int] = []
    watch = publishing.Publication(
        Plan(tuple(planned), ()), lambda part, _: given.extend(int(p.cell) for p in part.cells)
    )
    finished: dict[str, Any] = {}
    failed: dict[str, Any] = {}
    for n in order:
        (failed if n in fails else finished)[str(n)] = None
        if n in looks or n == order[-1]:
            watch.next = 0.0
            watch(Outcome(finished, failed))
            ended = {int(id) for id in (*finished, *failed)}
            assert sorted(given) == [i for i, stages in enumerate(cells) if stages <= ended]
