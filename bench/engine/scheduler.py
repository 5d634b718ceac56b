"""What runs the stages of a plan: an executor, with the store as its memory.

Whatever is finished stays finished; a stage that fails takes down those below it and nothing
else.
"""

from __future__ import annotations

import heapq
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from bench.board.components import Components
from bench.board.matrix import Cell
from bench.contract.errors import BenchError, TimeOver
from bench.contract.files import resolved
from bench.contract.keys import digest
from bench.contract.limits import Limits
from bench.engine.deadline import Deadline, too_long
from bench.engine.executor import Done, Executor, Executors, Failed, Job, Progress, Slot
from bench.engine.outcome import (
    Failure,
    Listener,
    Outcome,
    Step,
    Watch,
    silent,
    unwatched,
)
from bench.engine.prices import profile
from bench.stages.load import data_folder, is_current
from bench.stages.plan import Plan, load_stage, plan
from bench.stages.stage import Dataset, Stage, Work, identity_of
from bench.store.locks import Lock
from bench.store.store import Finished, Store

BUNDLE = 32  # metrics are quick: so many share one process
LONG = ("squeeze", "condense", "train")  # go on from checkpoints; before they begin, metrics run,
GATHER = 10.0  # if the last ones were so many seconds ago: of short stages, many are gathered
BEAT = 1.0  # seconds between two words that a stage still runs
RETRY = 0.5  # seconds until a stage that another run holds is looked at again


def do(work: Work, *, device: str, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Run a stage: the function that jobs call. Torch is loaded there."""
    from bench.stages.execute import execute

    return execute(work, device=device, progress=progress)


def local(slots: Sequence[Slot], limits: Limits) -> Executor:
    """Processes of this machine."""
    from bench.engine.local import Local

    return Local(slots, limits)


@dataclass(frozen=True)
class Engine:
    """Where stages run and what they may use. Raises BenchError for devices of two types."""

    components: Components
    store: Store
    slots: tuple[Slot, ...] = (Slot(),)
    listen: Listener = silent
    board: Path | None = None  # its folder, where it keeps networks that metrics look with
    executors: Executors = local
    deadline: Deadline = field(default_factory=Deadline)

    def __post_init__(self) -> None:
        types = {slot.device.split(":")[0] for slot in self.slots}
        if len(types) > 1:
            raise BenchError(
                f"a run cannot use {' and '.join(sorted(types))} at once, which round differently; "
                "expected devices of one type"
            )

    @property
    def device(self) -> str:
        """The type of device of all slots, which keys hold: "cpu", "cuda"."""
        return self.slots[0].device.split(":")[0]

    def load(self, names: Iterable[str]) -> tuple[dict[str, Dataset], dict[str, Failure]]:
        """The data sets of a board, and why the others cannot be had."""
        stages = {name: load_stage(self.components, name) for name in names}
        outcome = self.execute(tuple(stages.values()))
        if outcome.interrupted:
            raise KeyboardInterrupt
        if outcome.left:
            said = f"work is left: {outcome.left}, and the data are not loaded"
            raise TimeOver(f"{said}; run the same command to go on")
        loaded = {
            name: Dataset(name, stage.component, found.key, found.value, stage.evaluate)
            for name, stage in stages.items()
            if (found := outcome.finished.get(stage.id))
        }
        lost = {n: outcome.failed[s.id] for n, s in stages.items() if s.id in outcome.failed}
        return loaded, lost

    def plan(self, cells: Sequence[Cell]) -> Plan:
        """The graph of some cells: their data are loaded, nothing else is run.

        Cells whose data cannot be had are left out and counted. Raises BenchError if that is all.
        """
        datasets, lost = self.load(dict.fromkeys(cell.dataset for cell in cells))
        if not datasets:
            name, failure = next(iter(lost.items()))
            raise BenchError(f"dataset '{name}' cannot be loaded: {failure.reason}")
        kept = [cell for cell in cells if cell.dataset in datasets]
        made = plan(self.components, datasets, kept, self.board)
        return replace(made, lost=len(cells) - len(kept))

    def execute(self, stages: Sequence[Stage], watch: Watch = unwatched) -> Outcome:
        """Run what is not in the store yet. A stage that fails takes down those below, no more."""
        run = _Run(self, stages)
        interrupted = False
        try:
            run.finish(watch)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            run.close()
        return Outcome(run.finished, run.failed, interrupted, run.left)

    def work(
        self, stage: Stage, keys: Mapping[str, str], contents: Mapping[str, str | None]
    ) -> Work:
        """A stage as a process gets it; `keys` by id, and `contents` of the stages above."""
        return Work(
            stage=stage.sent(keys),
            key=keys[stage.id],
            store=str(resolved(self.store.root)),
            folder=data_folder(),
            inputs=self.inputs(stage, contents),
            # a data set is what it holds: its code is checked where it is read
            code=self.components.registry.code_of(stage.components[1:]),
            provides=self.components.provided(stage.components),
            last_call=self.deadline.last_call,
        )

    def job(self, stage: Stage, work: Work) -> Job:
        """A stage as an executor gets it."""
        code = work.code.modules  # also what verbs import
        modules = (do.__module__, *self.components.preload(work.provides), *code)
        if stage.kind != "load":  # an optimizer wants it, and it takes seconds to be imported
            modules = ("torch._dynamo", *modules)
        log = self.store.log(stage.kind, work.key)
        return Job(stage.id, do, (work,), log, work.provides, modules)

    def inputs(self, stage: Stage, contents: Mapping[str, str | None]) -> dict[str, Any]:
        """What is kept with the result of a stage, for people: all that its key hashes, in full.

        None stands for the content of a stage above that is not known.
        """
        hashed = stage.hashed(self._full_identity, contents, self.device)
        return {"title": stage.title, "profile": profile(stage).as_json(), "key": hashed}

    def key_of(self, stage: Stage, contents: Mapping[str, str]) -> str:
        """The key of a stage, given the content hashes of those above it, by id."""
        return stage.key(self.identity, contents, self.device)

    @cached_property
    def identity(self) -> Callable[[Any], Any]:
        of_component = cache(lambda part: digest(self.components.registry.identity(part)))
        return cache(lambda part: identity_of(part, of_component))

    @cached_property
    def _full_identity(self) -> Callable[[Any], Any]:
        of_component = cache(self.components.registry.identity)
        return cache(lambda part: identity_of(part, of_component))


@dataclass
class _Run:
    """The state of one walk over the graph: the only thing here that changes."""

    engine: Engine
    stages: Sequence[Stage]
    finished: dict[str, Finished] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    ready: list[tuple[int, Stage]] = field(default_factory=list)  # heap, in the plan's order
    waiting: dict[str, int] = field(default_factory=dict)  # stages above that have not ended
    below: dict[str, list[Stage]] = field(default_factory=dict)
    # Heaps of stages that are not in the store: a metric's, which are bundled, by its name, since
    # the code of one metric in a process could change the figures of another; the others by "".
    runnable: dict[str, list[tuple[int, Stage]]] = field(default_factory=dict)
    elsewhere: list[Stage] = field(default_factory=list)  # another run is at it
    # What takes longer than the time that is left: a heap of LONG ones, which are begun when there
    # is nothing else, since a checkpoint is kept of them; and all others, which are not begun.
    later: list[tuple[int, Stage]] = field(default_factory=list)
    unfit: list[Stage] = field(default_factory=list)
    left: str = ""  # why it ends before all is done
    making: set[str] = field(default_factory=set)  # stages that were found damaged, made again
    behind: dict[str, list[Stage]] = field(default_factory=dict)  # what waits for each of them
    reloaded: dict[str, set[str]] = field(default_factory=dict)  # data; stages tried once more
    waits: bool = False  # for another run, and it was said
    worked: float = field(default_factory=time.monotonic)  # when something of ours last ran
    looked: float = 0.0
    beaten: float = 0.0
    measuring: bool = False  # all metrics that wait are run before anything else
    measured: float = -math.inf  # when that has last ended
    running: dict[str, tuple[Stage, Lock]] = field(default_factory=dict)
    executor: Executor | None = None

    def __post_init__(self) -> None:
        self.rank = {stage.id: number for number, stage in enumerate(self.stages)}
        for stage in self.stages:
            above = {s.id for s in stage.above.values()}
            self.waiting[stage.id] = len(above)
            for one in above:
                self.below.setdefault(one, []).append(stage)
            if not above:
                heapq.heappush(self.ready, (self.rank[stage.id], stage))

    def finish(self, watch: Watch) -> None:
        while not self.left:
            self._settle_ready()
            if self.elsewhere and time.monotonic() - self.looked > RETRY:
                self.looked = time.monotonic()
                again, self.elsewhere = self.elsewhere, []
                for stage in again:
                    self._queue(stage)
            self._start()
            if self.running:
                self._hear()
                self.worked = time.monotonic()
            elif self.elsewhere:
                self._say_waits()
                time.sleep(RETRY / 4)
            elif not (self.ready or any(self.runnable.values())):
                self.left = too_long(self.unfit)
                return
            watch(Outcome(self.finished, self.failed))
            if self.engine.deadline.left <= 0:
                self.left = "its time is over"
            elif time.monotonic() - self.worked > self.engine.deadline.patience:
                self.left = "other runs are at all that can be done now"

    def _say_waits(self) -> None:
        """Once: what another run is at, when there is nothing else to do."""
        if not self.waits:
            self.waits = True
            more = f" and {len(self.elsewhere) - 1} more" if self.elsewhere[1:] else ""
            sys.stderr.write(
                f"waiting since {time.strftime('%H:%M:%S')} for another run on the store "
                f"{self.engine.store.root}, which makes '{self.elsewhere[0].title}'{more}: wait, "
                "or end that run\n"
            )

    def _settle_ready(self) -> None:
        while self.ready:
            _, stage = heapq.heappop(self.ready)
            faults = [self.failed[s.id] for s in stage.above.values() if s.id in self.failed]
            if faults:
                # a failure outweighs a refusal: it can be mended
                self._fail(stage, min(faults, key=lambda f: f.unsupported))
                continue
            self.keys[stage.id] = self.engine.key_of(stage, self._contents(stage))
            if not self._cached(stage):
                self._queue(stage)

    def _queue(self, stage: Stage) -> None:
        """In the plan's order, so that cells are completed one by one."""
        metric = stage.inputs["metric"].name if stage.kind == "measure" else ""
        heapq.heappush(self.runnable.setdefault(metric, []), (self.rank[stage.id], stage))

    def _cached(self, stage: Stage, *, locked: bool = False) -> bool:
        found = self.engine.store.find(stage.kind, self.keys[stage.id])
        if found is None:
            return False
        if stage.kind == "load" and not is_current(found):
            if locked:
                self.engine.store.remove(found)
            return False
        if found.unsupported:
            self._fail(stage, Failure(stage, found.unsupported, unsupported=True))
        else:
            self._done(stage, found, "cached")
        return True

    def _start(self) -> None:
        while not self.ready and (self.executor is None or self.executor.free):
            queue, size = self._next()
            if not size:
                queue, size = self.later, len(self.later[:1])
            if not size:
                return
            bundle: list[Stage] = []
            while queue and len(bundle) < size:
                stage = heapq.heappop(queue)[-1]
                if queue is not self.later and not self.engine.deadline.fits(stage):
                    self._put_off(stage)
                    continue
                lock = self.engine.store.lock(stage.kind, self.keys[stage.id])
                if lock is None:
                    self.elsewhere.append(stage)
                elif self._cached(stage, locked=True):  # another run has just finished it
                    lock.release()
                else:
                    bundle.append(stage)
                    self.running[stage.id] = (stage, lock)
            if bundle:
                self._submit(bundle)

    def _put_off(self, stage: Stage) -> None:
        if stage.kind in LONG:
            heapq.heappush(self.later, (self.rank[stage.id], stage))
        else:
            self.unfit.append(stage)

    def _next(self) -> tuple[list[tuple[int, Stage]], int]:
        """The queue from which to start next, and so many stages. Metrics wait for a bundle of
        their own, but not behind a stage that may take hours: a cell is published with them."""
        other = self.runnable.get("", [])
        metrics = [queue for name, queue in self.runnable.items() if name and queue]
        full = [queue for queue in metrics if len(queue) >= BUNDLE]
        if self.measuring and not metrics:
            self.measuring, self.measured = False, time.monotonic()
        due = self.measuring or time.monotonic() - self.measured >= GATHER
        if other and not full and not (metrics and due and other[0][1].kind in LONG):
            return other, 1
        self.measuring = bool(metrics)
        queue = min(full or metrics, key=lambda queue: queue[0], default=[])
        return queue, min(BUNDLE, -(-len(queue) // len(self.engine.slots)))

    def _submit(self, bundle: list[Stage]) -> None:
        engine = self.engine
        if self.executor is None:
            self.executor = engine.executors(engine.slots, engine.components.matrix.limits)
        jobs = []
        for stage in bundle:
            work = engine.work(stage, self.keys, self._contents(stage))
            jobs.append(engine.job(stage, work))
            engine.listen(Step(stage, "started"))
        self.executor.start(jobs)

    def _contents(self, stage: Stage) -> dict[str, str]:
        return {one.id: self.finished[one.id].content for one in stage.above.values()}

    def _hear(self) -> None:
        assert self.executor is not None
        for event in self.executor.events(0.2):
            stage, lock = self.running[event.id]
            match event:
                case Progress():
                    self.engine.listen(Step(stage, "progress", event.done, event.total))
                    continue
                case Done():
                    found = Finished(**event.value)
                    self.engine.deadline.learn(stage, found.cost.get("seconds", 0.0))
                    self._done(stage, found, "done")
                case Failed() if not event.unsupported and (
                    self._heal(stage) or self._reload(stage)
                ):
                    pass
                case Failed():
                    if event.unsupported and stage.kind != "load":  # whose files no key holds
                        self._decline(stage, event.reason)
                    self._fail(stage, Failure(stage, event.reason, event.unsupported))
            del self.running[event.id]
            lock.release()
        if time.monotonic() - self.beaten > BEAT:
            self.beaten = time.monotonic()
            for stage, _ in self.running.values():
                self.engine.listen(Step(stage, "running"))

    def _heal(self, stage: Stage) -> bool:
        """Whether a stage has failed for want of one above, whose files were found damaged.

        That one is made again, once, and the stage after it.
        """
        lost = [one for one in {s.id: s for s in stage.above.values()}.values() if self._lost(one)]
        for one in lost:
            if one.id not in self.behind:
                self.behind[one.id] = []
                self.making.add(one.id)
                sys.stderr.write(f"'{one.title}' is made again, and what has failed below it\n")
                self._queue(one)
            self.behind[one.id].append(stage)
        self.waiting[stage.id] = len(lost)
        return bool(lost)

    def _reload(self, stage: Stage) -> bool:
        """Whether a stage has failed for want of data that are there again, to be tried once."""
        data = stage.dataset
        if stage.kind == "load":
            return False
        if data.load not in self.reloaded:
            if self.engine.store.find("load", data.load):
                return False
            sys.stderr.write(f"the data of {data.name} are read again, for '{stage.title}'\n")
            self.engine.load([data.name])
            self.reloaded[data.load] = set()
        tried = self.reloaded[data.load]
        there = stage.id not in tried and self.engine.store.find("load", data.load)
        tried.add(stage.id)
        if there:
            heapq.heappush(self.ready, (self.rank[stage.id], stage))
        return bool(there)

    def _lost(self, stage: Stage) -> bool:
        if stage.id in self.behind:
            return stage.id in self.making
        return self.engine.store.find(stage.kind, self.keys[stage.id]) is None

    def _decline(self, stage: Stage, reason: str) -> None:
        inputs = self.engine.inputs(stage, self._contents(stage))
        key, declined = self.keys[stage.id], {"unsupported": reason}
        self.engine.store.publish(stage.kind, key, {}, declined, inputs=inputs)

    def _done(self, stage: Stage, found: Finished, status: str) -> None:
        self.finished[stage.id] = found
        self.engine.listen(Step(stage, status, seconds=found.cost.get("seconds", 0.0)))
        self._release_below(stage)

    def _fail(self, stage: Stage, failure: Failure) -> None:
        self.failed[stage.id] = failure
        status = "unsupported" if failure.unsupported else "failed"
        if failure.stage is not stage:
            status = "blocked"  # by a stage above
        log = self.engine.store.log(stage.kind, self.keys[stage.id]) if status == "failed" else None
        log = log if log and log.exists() else None  # one without a word has been deleted
        self.engine.listen(Step(stage, status, reason=failure.reason, log=log))
        self._release_below(stage)

    def _release_below(self, stage: Stage) -> None:
        again = stage.id in self.making
        self.making.discard(stage.id)
        for one in self.behind[stage.id] if again else self.below.get(stage.id, ()):
            self.waiting[one.id] -= 1
            if not self.waiting[one.id]:
                heapq.heappush(self.ready, (self.rank[one.id], one))

    def close(self) -> None:
        if self.executor:
            self.executor.close()
        for _, lock in self.running.values():
            lock.release()
