"""The engine runs what is missing, once, and a fault takes down what lies below it, no more."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toyplug
from support import BOARD, SMALL, stages

from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract.errors import BenchError
from bench.contract.limits import Limits
from bench.contract.registry import registry_of
from bench.engine import results as runs
from bench.engine.estimate import look
from bench.engine.executor import Done, Event, Job, Slot
from bench.engine.outcome import Outcome, Step
from bench.engine.scheduler import Engine
from bench.engine.walk import FOR_OTHERS, Walk
from bench.records.record import Scale
from bench.stages.plan import Plan
from bench.store.store import Store

REGISTRY = registry_of(toyplug.COMPONENTS)
ENDS = ("done", "cached", "failed", "unsupported", "blocked")


class Heard(list[Step]):
    """A listener that remembers."""

    def __call__(self, step: Step) -> None:
        self.append(step)

    def ended(self, status: str) -> dict[str, int]:
        """How many stages of each kind have ended so."""
        kinds = Counter(step.stage.kind for step in self if step.status == status)
        return dict(sorted(kinds.items()))


def engine(folder: Path, *, jobs: int = 2, listen: Any = None, **changes: Any) -> Engine:
    document = {k: v for k, v in {**BOARD, **changes}.items() if v is not None}
    components = resolve(parse(document), REGISTRY)
    return Engine(
        components, Store(folder), (Slot(),) * jobs, Heard() if listen is None else listen
    )


def carried_out(folder: Path, **changes: Any) -> tuple[Heard, runs.Ran, Plan]:
    """A whole run of a board: what was heard of its plan, and what came of it."""
    heard = Heard()
    one = engine(folder, listen=heard, **changes)
    plan = one.plan(one.components.matrix.cells())
    heard.clear()
    return heard, runs.run(one, plan), plan


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a finished BOARD."""
    folder = tmp_path_factory.mktemp("finished")
    heard, ran, _ = carried_out(folder)
    assert heard.ended("done") == {"condense": 10, "measure": 20, "probe": 20, "train": 10}
    assert (len(ran.records), ran.failures, ran.interrupted) == (20, (), False)
    return folder


# ---- resume


def test_every_stage_is_said_to_begin_and_to_end_once(tmp_path: Path) -> None:
    heard, _, plan = carried_out(tmp_path, **SMALL)
    for status in ("started", "done"):
        names = [step.stage.id for step in heard if step.status == status]
        assert sorted(names) == sorted(stage.id for stage in plan.stages)


def test_stages_end_after_those_above_them(tmp_path: Path) -> None:
    heard, _, _ = carried_out(tmp_path, **SMALL, backbone="toy-linear", methods=["toy-soft"])
    order = [step.stage.id for step in heard if step.status in ENDS]
    begun = {step.stage.id: n for n, step in enumerate(heard) if step.status == "started"}
    ended = {step.stage.id: n for n, step in enumerate(heard) if step.status == "done"}
    assert len(order) == 9
    for step in heard:
        for above in step.stage.above.values():
            assert ended[above.id] < begun[step.stage.id]


def test_what_is_finished_is_found(finished: Path) -> None:
    heard, ran, plan = carried_out(finished)
    assert {step.status for step in heard} == {"cached"}
    assert len(heard) == len(plan.stages)
    assert len(ran.records) == 20


def test_a_new_metric_repeats_neither_attack_nor_training(finished: Path) -> None:
    heard, ran, _ = carried_out(finished, metrics=["toy-accuracy", "wrong"], seeds=[0])
    assert heard.ended("done") == {"measure": 10}
    assert heard.ended("cached") == {"condense": 5, "measure": 10, "probe": 10, "train": 5}
    for record in ran.records:
        assert sum(record.metrics.values()) == pytest.approx(1)
        assert record.scales["wrong"] == Scale(better="lower", unit="fraction")


def test_a_new_attack_repeats_no_training(finished: Path) -> None:
    define = {"weak": {"attack": "toy-step", "eps": 0.005}}
    attacks = ["toy-clean", "noted-step", "weak"]
    heard, _, _ = carried_out(finished, attacks=attacks, define=define, seeds=[0])
    assert heard.ended("done") == {"measure": 5, "probe": 5}


def test_a_new_architecture_condenses_nothing_again(finished: Path) -> None:
    heard, _, _ = carried_out(finished, architectures=["toy-linear", "toy-convnet"], seeds=[0])
    assert heard.ended("done") == {"measure": 10, "probe": 10, "train": 5}


def test_a_changed_recipe_trains_anew_what_it_concerns(finished: Path) -> None:
    changed = {**BOARD["recipe"], "lr": 0.2}
    heard, _, _ = carried_out(finished, recipe=changed, seeds=[0])
    assert heard.ended("cached") == {"condense": 5}
    assert heard.ended("done") == {"measure": 10, "probe": 10, "train": 5}


def test_another_name_for_the_same_thing_is_the_same_work(finished: Path) -> None:
    define = {"alias": {"method": "noted"}, "other": {"attack": "noted-step", "eps": 0.01}}
    heard, ran, _ = carried_out(finished, methods=["alias"], define=define)
    assert heard.ended("done") == {}
    assert {r.method for r in ran.records} == {"alias", "toy-first", "toy-full"}
    heard, _, _ = carried_out(finished, attacks=["other"], define=define, seeds=[0])
    assert heard.ended("done") == {"measure": 5, "probe": 5}


def test_two_stages_with_one_result_share_what_lies_below(finished: Path) -> None:
    """`toy-means` is `noted` without the notes: other code, the same set."""
    heard, _, _ = carried_out(finished, methods=["toy-means"])
    assert heard.ended("done") == {"condense": 4}


def test_validation_shares_nothing_with_the_test_board(finished: Path) -> None:
    heard, ran, _ = carried_out(finished, evaluate="validation", **SMALL)
    assert heard.ended("cached") == {}
    assert {record.evaluate for record in ran.records} == {"validation"}


def test_a_validation_board_never_opens_the_test_split(tmp_path: Path) -> None:
    changes = {**SMALL, "datasets": ["closed"]}
    _, ran, _ = carried_out(tmp_path, evaluate="validation", **changes)
    assert [record.status for record in ran.records] == ["ok", "ok"]
    assert {record.images for record in ran.records} == {64}
    loaded, lost = engine(tmp_path, **changes).load(["closed"])
    assert loaded == {}
    assert lost["closed"].reason.startswith("RuntimeError: the test split was opened")


def test_images_on_disk_and_in_memory_give_the_same_students(tmp_path: Path) -> None:
    changes = {**SMALL, "evaluate": "validation"}
    contents = []
    for name in ("toy-data", "closed"):
        _, ran, _ = carried_out(tmp_path, **changes, datasets=[name])
        contents.append([record.content["set"] for record in ran.records])
    assert contents[0] == contents[1]


# ---- faults


def outcome(folder: Path, **changes: Any) -> tuple[Heard, Outcome, Plan]:
    heard = Heard()
    one = engine(folder, listen=heard, **changes)
    plan = one.plan(one.components.matrix.cells())
    heard.clear()
    return heard, one.execute(plan.stages), plan


def test_a_fault_takes_down_what_lies_below_and_no_more(tmp_path: Path) -> None:
    changes = {**SMALL, "attacks": ["toy-clean", "toy-step"]}
    heard, found, plan = outcome(tmp_path, methods=["raise"], **changes)
    assert heard.ended("failed") == {"condense": 1}
    assert heard.ended("blocked") == {"measure": 2, "probe": 2, "train": 1}
    assert heard.ended("done") == {"condense": 1, "measure": 2, "probe": 2, "train": 1}
    assert {f.stage.title for f in found.failed.values()} == {"raise, ipc 1, toy-data, seed 0"}
    (reason,) = {f.reason for f in found.failed.values()}
    assert reason.startswith("FileNotFoundError: no weights at weights.bin (toyplug.py, line ")
    ran = runs.records_of(engine(tmp_path, methods=["raise"], **changes).components, plan, found)
    assert (len(ran.failures), ran.cells_failed) == (1, 2)
    assert {record.method for record in ran.records} == {"toy-first"}
    assert stages(tmp_path)["condense"] == 1


def test_a_refusal_is_a_record_and_a_failure_is_none(tmp_path: Path) -> None:
    _, ran, _ = carried_out(tmp_path, methods=["refuse", "raise"], **SMALL)
    (declined,) = (record for record in ran.records if record.method == "refuse")
    assert (declined.status, declined.reason) == ("unsupported", "needs images in color")
    assert declined.metrics == {}
    assert (ran.cells_failed, len(ran.failures)) == (1, 1)


def test_what_was_declined_is_not_asked_again(tmp_path: Path) -> None:
    changes = {"methods": ["refuse"], **SMALL}
    _, before, plan = carried_out(tmp_path, **changes)
    again, ran, _ = carried_out(tmp_path, **changes)
    assert not again.ended("started")
    assert again.ended("unsupported") == {"condense": 1}
    assert ran.records == before.records
    one = engine(tmp_path, **changes)
    assert look(one, plan.stages).missing == ()


def test_a_failure_above_outweighs_a_refusal(tmp_path: Path) -> None:
    """A figure that waits for both is not said to be declined: the failure can be mended."""
    changes = {"methods": ["refuse", "toy-means"], "controls": ["raise"], "metrics": ["between"]}
    _, ran, _ = carried_out(tmp_path, **{**SMALL, **changes})
    by_method = {record.method: record for record in ran.records}
    assert by_method["refuse"].status == "unsupported"
    assert by_method["toy-means"].metrics == {}
    assert by_method["toy-means"].refused == {}
    assert ran.cells_failed == 3


def test_a_metric_that_compares_reads_its_sibling(finished: Path) -> None:
    heard, ran, _ = carried_out(finished, metrics=["toy-accuracy", "gain"])
    assert heard.ended("done") == {"measure": 16}  # none for the ceiling, which has no sibling
    values = {(r.method, r.ipc, r.attack, r.seed): r.metrics for r in ran.records}
    for (method, *where), metrics in values.items():
        if method == "toy-full":
            assert "gain" not in metrics
        else:
            first = values["toy-first", *where]["toy-accuracy"]
            assert metrics["gain"] == pytest.approx(metrics["toy-accuracy"] - first, abs=1e-6)


def test_a_metric_that_fails_costs_its_own_figure(tmp_path: Path) -> None:
    _, ran, _ = carried_out(tmp_path, metrics=["toy-accuracy", "broken-metric"], **SMALL)
    assert [set(record.metrics) for record in ran.records] == [{"toy-accuracy"}] * 2
    assert {f.reason for f in ran.failures} != set()
    assert all("ZeroDivisionError: no image is wrong" in f.reason for f in ran.failures)
    assert ran.cells_failed == 2


def test_what_has_failed_is_tried_again(tmp_path: Path, heal: Callable[[], None]) -> None:
    _, first, _ = carried_out(tmp_path, methods=["flaky"], **SMALL)
    assert [f.reason.split(" (")[0] for f in first.failures] == ["RuntimeError: the moon is full"]
    heard, again, _ = carried_out(tmp_path, methods=["flaky"], **SMALL)
    assert heard.ended("failed") == {"condense": 1}
    heal()
    heard, ran, _ = carried_out(tmp_path, methods=["flaky"], **SMALL)
    # `flaky` now gives the set of `toy-first`, so all that lies below is there already
    assert heard.ended("done") == {"condense": 1}
    assert (len(first.records), len(again.records), len(ran.records)) == (1, 1, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ipc": [41]}, "ipc = 41 on toy-data: class 'template 0' has only 40 training images"),
        ({"probe": {"images": 161}}, "[probe] images = 161: toy-data has 160 test images"),
        ({"ipc": [33], "evaluate": "validation"}, "has only 32 training images"),
    ],
)
def test_a_cell_beyond_the_data_is_declined(
    finished: Path, changes: dict[str, Any], said: str
) -> None:
    one = engine(finished, **changes)
    declined = one.plan(one.components.matrix.cells()).declined
    assert declined
    assert all(said in reason for reason in declined.values())


# ---- Ctrl-C


def interrupting(at: int) -> Callable[[Step], None]:
    """A listener to which Ctrl-C comes when so many stages have ended."""
    heard = Heard()

    def listen(step: Step) -> None:
        heard(step)
        if sum(s.status in ENDS for s in heard) >= at:
            raise KeyboardInterrupt

    return listen


@pytest.mark.parametrize(  # of 24
    "at", [6, *(pytest.param(at, marks=pytest.mark.slow) for at in (1, 15, 20))]
)
def test_an_interrupted_run_keeps_what_it_has_and_goes_on(tmp_path: Path, at: int) -> None:
    changes = {"ceiling": None, "ipc": [1]}
    one = engine(tmp_path, **changes)
    plan = one.plan(one.components.matrix.cells())
    stopped = replace(one, listen=interrupting(at)).execute(plan.stages)
    assert stopped.interrupted
    assert len(stopped.finished) == at
    ran = runs.records_of(one.components, plan, stopped)
    assert ran.interrupted
    assert len(ran.records) < 8
    assert all(record.metrics for record in ran.records)  # half a record is none
    whole = one.execute(plan.stages)  # all locks have been let go
    assert not whole.interrupted
    assert len(whole.finished) == len(plan.stages)


# ---- several runs, files that change


@pytest.mark.parametrize("done_there", [True, False], ids=["has finished", "has died"])
def test_a_stage_that_another_run_holds_is_waited_for(
    tmp_path: Path, finished: Path, done_there: bool
) -> None:
    heard = Heard()
    one = engine(tmp_path, listen=heard, **SMALL)
    plan = one.plan(one.components.matrix.cells())
    held = next(stage for stage in plan.stages if stage.kind == "condense")
    key = one.key_of(held, {})
    lock = one.store.lock("condense", key)
    assert lock is not None

    def let_go(step: Step) -> None:
        heard(step)
        if step.status == "done" and step.stage.kind == "measure" and lock.is_locked:
            if done_there:
                there = finished / "condense" / key
                shutil.copytree(there, one.store.folder("condense", key))
            lock.release()

    whole = replace(one, listen=let_go).execute(plan.stages)
    assert len(whole.finished) == len(plan.stages)
    ends = [step for step in heard if step.status in ENDS]
    last = next(n for n, step in enumerate(ends) if step.stage is held)
    assert any(step.stage.kind == "measure" for step in ends[:last])  # others did not wait
    assert ends[last].status == ("cached" if done_there else "done")


@pytest.fixture
def from_a_file(tmp_path: Path) -> tuple[Path, Callable[..., Sequence[Step]]]:
    """A data set that is read from a file, and how to load it."""
    file = tmp_path / "template.txt"
    file.write_text("0")

    def load() -> Sequence[Step]:
        heard = Heard()
        define = {"filed": {"dataset": "from-file", "path": str(file)}}
        changes = {"datasets": ["filed"], "define": define}
        engine(tmp_path / "store", listen=heard, **changes).load(["filed"])
        return [step for step in heard if step.status in ENDS]

    return file, load


def test_a_data_set_is_read_again_when_its_file_changes(from_a_file: Any) -> None:
    file, load = from_a_file
    assert [step.status for step in load()] == ["done"]
    assert [step.status for step in load()] == ["cached"]
    os.utime(file, (1, 1))
    assert [step.status for step in load()] == ["done"]
    assert [step.status for step in load()] == ["cached"]


def test_a_data_set_that_declined_its_file_is_asked_again(from_a_file: Any) -> None:
    file, load = from_a_file
    file.write_text("")
    assert [step.status for step in load()] == ["unsupported"]
    assert [step.status for step in load()] == ["unsupported"]
    file.write_text("0")
    assert [step.status for step in load()] == ["done"]


# ---- any executor


class Inline:
    """An executor that makes its calls at once, in this process, and notes what it was given."""

    def __init__(self, slots: Sequence[Slot], answer: Callable[[Job, str], Event]) -> None:
        self.slots, self.answer = tuple(slots), answer
        self.given: list[Job] = []
        self.waiting: list[Event] = []
        self.closed = False

    @property
    def free(self) -> int:
        return len(self.slots) - bool(self.waiting)

    def start(self, jobs: Sequence[Job]) -> None:
        device = self.slots[len(self.given) % len(self.slots)].device
        self.given += jobs
        self.waiting += [self.answer(job, device) for job in jobs]

    def events(self, timeout: float) -> list[Event]:
        events, self.waiting = self.waiting, []
        return events

    def close(self) -> None:
        self.closed = True


def called(job: Job, device: str) -> Event:
    return Done(job.id, job.function(*job.arguments, device=device, progress=lambda *_: None))


def test_a_run_needs_no_more_of_an_executor_than_its_four_verbs(
    tmp_path: Path, finished: Path
) -> None:
    made: list[Inline] = []

    def executors(slots: Sequence[Slot], limits: Limits) -> Inline:
        assert (tuple(slots), limits.seconds) == ((Slot("cpu"),) * 3, BOARD["limits"]["seconds"])
        made.append(Inline(slots, called))
        return made[-1]

    one = replace(engine(tmp_path, jobs=3, seeds=[0]), executors=executors)
    ran = runs.run(one, one.plan(one.components.matrix.cells()))
    theirs = carried_out(finished, seeds=[0])[1]
    content = [record.content for record in ran.records]
    assert content == [record.content for record in theirs.records]
    assert len(made) == 2  # one for the data, one for the plan
    assert all(one.closed for one in made)


def test_a_job_names_the_distributions_and_modules_that_its_components_need(
    tmp_path: Path,
) -> None:
    asked: list[Job] = []

    def note(job: Job, device: str) -> Event:
        asked.append(job)
        return called(job, device)

    one = engine(tmp_path, **SMALL)
    one = replace(one, executors=lambda slots, limits: Inline(slots, note))
    assert runs.run(one, one.plan(one.components.matrix.cells())).cells_failed == 0
    assert {job.provides for job in asked} == {("here",)}
    data, *others = asked
    assert "toyplug" not in data.modules  # its server ends with it: it imports what data need
    for job in others:
        work = job.arguments[0]
        assert {type(one).__module__ for one in work.stage.components} <= {*job.modules}
    assert all(job.log is not None for job in asked)


def test_a_run_on_devices_of_two_types_is_refused(tmp_path: Path) -> None:
    """Keys hold the type of device: which of the two would a figure be of?"""
    with pytest.raises(BenchError, match="cannot use cpu and cuda at once"):
        replace(engine(tmp_path), slots=(Slot("cpu"), Slot("cuda:1")))
    two = replace(engine(tmp_path), slots=(Slot("cuda:0"), Slot("cuda:1")))
    assert two.device == "cuda"


def test_metrics_of_one_process_are_one_metric(tmp_path: Path) -> None:
    bundles: list[set[str]] = []

    class Noting(Inline):
        def start(self, jobs: Sequence[Job]) -> None:
            stages = [job.arguments[0].stage for job in jobs]
            bundles.append({s.metric.name for s in stages if s.kind == "measure"})
            super().start(jobs)

    one = engine(tmp_path, metrics=["toy-accuracy", "wrong"], seeds=[0])
    one = replace(one, executors=lambda slots, limits: Noting(slots, called))
    runs.run(one, one.plan(one.components.matrix.cells()))
    assert {"toy-accuracy"} in bundles
    assert {"wrong"} in bundles
    assert all(len(names) <= 1 for names in bundles)


def test_no_metric_waits_behind_a_set_or_a_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may take hours, and a cell is published with its metrics."""
    monkeypatch.setattr("bench.engine.walk.GATHER", 0.0)
    one = engine(tmp_path, jobs=1, seeds=[0])
    one = replace(one, executors=lambda slots, limits: Inline(slots, called))
    heard: Any = one.listen
    runs.run(one, one.plan(one.components.matrix.cells()))
    waiting, measured = 0, 0
    for step in heard:
        waiting += (step.stage.kind, step.status) == ("probe", "done")
        waiting -= (step.stage.kind, step.status) == ("measure", "started")
        measured += (step.stage.kind, step.status) == ("measure", "done")
        if (step.stage.kind, step.status) == ("condense", "started"):
            assert waiting == 0
    assert measured == 10


def test_an_idle_moment_is_no_gathering_of_metrics(tmp_path: Path) -> None:
    """Else those that come next wait behind a set of hours, as if some had just been run."""
    walk = Walk(engine(tmp_path), ())
    assert walk._next() == ([], 0)
    assert walk.measured == -math.inf


def test_a_failure_tells_where_its_log_lies(tmp_path: Path) -> None:
    heard, _, _ = carried_out(tmp_path, methods=["raise"], **SMALL)
    (failed,) = (step for step in heard if step.status == "failed")
    assert failed.log is not None
    assert "no weights at weights.bin" in failed.log.read_text()
    assert failed.log.parent == tmp_path / "logs"


def test_planning_and_scheduling_load_no_torch(tmp_path: Path) -> None:
    """Nor what forks: the modules are those of a fresh process, whose jobs are made up."""
    code = f"""
import sys
from pathlib import Path
import toyplug
from support import BOARD
from bench.board.check import resolve
from bench.board.matrix import parse
from bench.contract.registry import registry_of
from bench.engine.estimate import estimate, look
from bench.engine.executor import Done, Failed
from bench.engine.prices import learned
from bench.engine.publishing import Publication
from bench.engine.results import run
from bench.engine.scheduler import Engine
from bench.engine.why import why
from bench.store.store import Store

FACTS = {{"classes": ["a", "b"], "shape": [1, 8, 8], "mean": [0], "std": [1], "flip": False,
    "digest": "0", "counts": [40, 40], "test": 160, "in_memory": True, "sources": []}}

class MadeUp:
    free = 1
    def __init__(self, slots, limits): self.jobs = []
    def start(self, jobs): self.jobs += jobs
    def close(self): pass
    def events(self, timeout):
        jobs, self.jobs = self.jobs, []
        return [made_up(job, job.arguments[0]) for job in jobs]

def made_up(job, work):
    if work.stage.kind == "load":
        return Done(job.id, dict(stage="load", key=work.key, content="1", value=FACTS))
    return Failed(job.id, "made up")

store = Store(Path({str(tmp_path)!r}))
engine = Engine(resolve(parse(BOARD), registry_of(toyplug.COMPONENTS)), store, executors=MadeUp)
plan = engine.plan(engine.components.matrix.cells())
found = look(engine, plan.stages)
assert estimate(plan.stages, found.missing, learned(store.finished()))
assert why(engine, found).new
ran = run(engine, plan, Publication(plan, print))
assert ran.cells_failed == 20, ran
print(*sorted({{"torch", "psutil", "multiprocessing"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], env=here(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\n"


def here() -> dict[str, str]:
    """This environment, with all that this process can import."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_run_of_some_kinds_leaves_the_others_and_ends_when_its_own_are_made(
    tmp_path: Path,
) -> None:
    whole, kept = Heard(), Heard()
    one = replace(engine(tmp_path, **SMALL), listen=kept, kinds=frozenset({"condense"}))
    plan = one.plan(one.components.matrix.cells())
    left = one.execute(plan.stages).left
    assert left == FOR_OTHERS
    assert {*kept.ended("done")} == {"load", "condense"}
    rest = replace(one, listen=whole, kinds=frozenset({"squeeze", "train", "probe", "measure"}))
    outcome = rest.execute(plan.stages)
    assert (outcome.left, len(outcome.finished)) == ("", len(plan.stages))
    assert "condense" not in whole.ended("done")
    assert "condense" in whole.ended("cached")


def test_what_waits_for_a_stage_of_others_says_so_and_goes_on_when_it_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = replace(engine(tmp_path, **SMALL), kinds=frozenset({"train", "probe", "measure"}))
    plan = one.plan(one.components.matrix.cells())
    other = replace(one, listen=Heard(), kinds=frozenset({"squeeze", "condense"}))

    def watch(outcome: Outcome) -> None:
        if "condense" not in stages(tmp_path) and "waits" not in said:
            said.append("waits")
            other.execute(plan.stages)

    said: list[str] = []
    outcome = one.execute(plan.stages, watch)
    assert (outcome.left, len(outcome.finished)) == ("", len(plan.stages))
    words = capsys.readouterr().err
    assert "for a run on the store" in words
    assert "which is to make" in words
    assert "start one without --stages" in words
