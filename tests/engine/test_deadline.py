"""A run with little time ends by itself, begins what fits, and leaves the rest to another one."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import toyplug
from support import BOARD, SMALL

from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract.errors import TimeOver
from bench.contract.registry import registry_of
from bench.engine import deadline as deadlines
from bench.engine import results as runs
from bench.engine.deadline import Deadline, deadline, seconds_given
from bench.engine.executor import Slot
from bench.engine.outcome import Step
from bench.engine.prices import Prices, profile
from bench.engine.scheduler import Engine
from bench.stages.plan import Plan
from bench.stages.stage import Stage
from bench.store.store import Store

REGISTRY = registry_of(toyplug.COMPONENTS)
JOB = {"SLURM_JOB_START_TIME": "1000", "SLURM_JOB_END_TIME": "4600"}


@pytest.mark.parametrize(
    ("minutes", "environment", "now", "given"),
    [
        (0, {}, 1000, math.inf),
        (2, {}, 1000, 120),
        (0, JOB, 1000, 3600),
        (0, JOB, 2800, 1800),  # the job did something else first
        (2, JOB, 1000, 120),
        (90, JOB, 1000, 3600),
        (0, JOB, 400, 3600),  # a clock ten minutes behind that of the controller
        (0, JOB, 1600, 3000),  # and one ten minutes ahead
        (0, JOB, 9000, 0),
        (0, {"SLURM_JOB_END_TIME": "4600"}, 1000, 3600),
        (0, {"SLURM_JOB_END_TIME": "soon"}, 1000, math.inf),
    ],
)
def test_a_run_has_the_time_of_its_job_and_never_more(
    minutes: float, environment: dict[str, str], now: float, given: float
) -> None:
    assert seconds_given(minutes, environment, now) == given


@pytest.mark.parametrize(("seconds", "runs", "saves"), [(3600, 3540, 3520), (60, 54, 52)])
def test_some_of_the_time_is_for_checkpoints_and_records(
    seconds: float, runs: float, saves: float
) -> None:
    began = time.monotonic()
    found = deadline(seconds, Prices())
    assert found.until - began == pytest.approx(runs, abs=1)
    assert found.last_call - began == pytest.approx(saves, abs=1)


def test_without_a_deadline_a_run_has_all_the_time_there_is() -> None:
    assert deadline(math.inf, Prices()) == Deadline()
    assert Deadline().left == Deadline().patience == math.inf


# ---- what a run does by then


class Heard(list[Step]):
    """A listener that remembers."""

    def __call__(self, step: Step) -> None:
        self.append(step)

    def ended(self, status: str) -> dict[str, int]:
        """How many stages of each kind have ended so."""
        kinds = Counter(step.stage.kind for step in self if step.status == status)
        return dict(sorted(kinds.items()))


def engine(folder: Path, **changes: Any) -> Engine:
    document = {k: v for k, v in {**BOARD, **changes}.items() if v is not None}
    return Engine(resolve(parse(document), REGISTRY), Store(folder), (Slot(),) * 2)


@dataclass(frozen=True)
class Counting(Deadline):
    """The time is over when a listener has heard that so many stages are done."""

    heard: Heard | None = None
    stages: int = 0
    seconds: float = 1000.0  # until then

    @property
    def left(self) -> float:
        done = sum(step.status == "done" for step in self.heard or ())
        return 0.0 if done >= self.stages else self.seconds


def planned(folder: Path, **changes: Any) -> tuple[Engine, Plan]:
    one = engine(folder, **{"ceiling": None, "ipc": [1], "seeds": [0], **changes})
    return one, one.plan(one.components.matrix.cells())


def limited(one: Engine, stages: int, **changes: Any) -> tuple[Engine, Heard]:
    heard = Heard()
    given = Counting(until=time.monotonic() + 1000, heard=heard, stages=stages, **changes)
    return replace(one, listen=heard, deadline=given), heard


@pytest.mark.slow
def test_runs_with_little_time_end_with_the_result_of_one(tmp_path: Path) -> None:
    one, plan = planned(tmp_path / "pilots")
    said = []
    while not said or said[-1]:
        pilot, _ = limited(one, 5)
        found = pilot.execute(plan.stages)
        assert not found.interrupted
        said.append(found.left)
        assert len(said) < 9
    assert set(said[:-1]) == {"its time is over"}
    other, same = planned(tmp_path / "whole")
    whole = other.execute(same.stages)
    assert {i: f.content for i, f in found.finished.items()} == {
        i: f.content for i, f in whole.finished.items()
    }


def test_a_run_whose_time_is_over_has_the_records_of_its_complete_cells(tmp_path: Path) -> None:
    one, plan = planned(tmp_path)
    pilot, _ = limited(one, len(plan.stages) - 3)
    ran = runs.run(pilot, plan)
    assert ran.left == "its time is over"
    assert 0 < len(ran.records) < len(plan.cells)
    assert ran.cells_failed == 0


def test_a_run_without_time_to_load_its_data_says_so(tmp_path: Path) -> None:
    one = engine(tmp_path, **SMALL)
    pilot, _ = limited(one, 0)
    with pytest.raises(TimeOver, match="work is left: its time is over, and the data are not"):
        pilot.plan(one.components.matrix.cells())


def priced(plan: Plan, seconds: dict[str, float]) -> Prices:
    """Prices of stages, by kind."""
    prices = Prices()
    for stage in plan.stages:
        prices.learn(profile(stage), seconds.get(stage.kind, 1.0))
    return prices


def test_a_stage_that_does_not_fit_is_left_and_named(tmp_path: Path) -> None:
    one, plan = planned(tmp_path, attacks=["toy-step"])
    pilot, heard = limited(one, 99, prices=priced(plan, {"probe": 900.0}))
    found = pilot.execute(plan.stages)
    assert heard.ended("started") == {"condense": 2, "train": 2}
    assert found.left.startswith("'toy-step on student ")
    assert found.left.endswith(
        "' and 1 more stages take longer than the time that is left; give it more"
    )


def test_a_stage_that_is_kept_half_done_is_begun_when_nothing_fits(tmp_path: Path) -> None:
    one, plan = planned(tmp_path)
    prices = priced(plan, {"condense": 2000.0})
    pilot, heard = limited(one, 99, prices=prices)
    assert pilot.execute(plan.stages).left == ""
    assert heard.ended("done")["condense"] == 2


def test_a_guess_keeps_no_stage_from_being_tried(tmp_path: Path) -> None:
    one, plan = planned(tmp_path)
    prices = Prices()
    probe = profile(next(stage for stage in plan.stages if stage.kind == "probe"))
    prices.learn(replace(probe, effort=probe.effort + 1), 9000.0)
    found = prices.of(probe)
    assert found
    assert found.guess
    pilot, _ = limited(one, 99, prices=prices)
    assert pilot.execute(plan.stages).left == ""


def test_what_others_do_is_not_waited_for_as_long_as_there_is_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deadlines, "PATIENCE", 0.3)
    one, plan = planned(tmp_path, **SMALL)
    held = next(stage for stage in plan.stages if stage.kind == "condense")
    lock = one.store.lock("condense", one.key_of(held, {}))
    assert lock
    pilot, heard = limited(one, 99)
    found = pilot.execute(plan.stages)
    assert found.left == "other runs are at all that can be done now"
    assert heard.ended("done")["measure"] == 1  # of the other cell
    lock.release()
    assert pilot.execute(plan.stages).left == ""


# ---- a stage in its middle


@dataclass
class Calling:
    """A deadline whose last call comes when a stage has run for a while, and its end with the
    checkpoint of a training."""

    partial: Path
    patience: float = math.inf

    @property
    def last_call(self) -> float:
        return time.monotonic() + 1.5

    @property
    def left(self) -> float:
        return 0.0 if any(self.partial.glob("train-*.safetensors")) else 1000.0

    def fits(self, stage: Stage) -> bool:
        return True

    def learn(self, stage: Stage, seconds: float) -> None: ...


@pytest.mark.slow
def test_a_stage_that_the_end_comes_to_goes_on_in_another_run_to_the_same_bytes(
    tmp_path: Path,
) -> None:
    changes = {**SMALL, "controls": None, "recipe": {"steps": 15000, "batch": 32, "lr": 0.1}}
    one, plan = planned(tmp_path / "pilots", **changes)
    call: Any = Calling(tmp_path / "pilots" / "partial")
    first = replace(one, deadline=call)
    assert first.execute(plan.stages).left == "its time is over"
    heard = Heard()
    found = replace(one, listen=heard).execute(plan.stages)
    steps = [s.done for s in heard if s.status == "progress" and s.stage.kind == "train"]
    assert steps[0] > 100
    other, same = planned(tmp_path / "whole", **changes)
    whole = other.execute(same.stages)
    assert {i: f.content for i, f in found.finished.items()} == {
        i: f.content for i, f in whole.finished.items()
    }
    assert not list((tmp_path / "pilots/partial").iterdir())
