"""One walk over the graph of a plan: starts what is ready, and makes again what is damaged."""

from __future__ import annotations

import heapq
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.engine.deadline import too_long
from bench.engine.executor import Done, Executor, Failed, Progress
from bench.engine.outcome import Failure, Outcome, Step, Watch
from bench.stages.load import is_current
from bench.stages.stage import Stage
from bench.store.locks import Lock
from bench.store.store import Finished

if TYPE_CHECKING:
    from bench.engine.scheduler import Engine

BUNDLE = 32  # metrics are quick: so many share one process
# these go on from checkpoints, and before they begin, metrics run,
LONG = ("squeeze", "survey", "condense", "train")
GATHER = 20.0  # if the last ones were so many seconds ago: of short stages, many are gathered
FOR_OTHERS = "its stages are made, and the others are for other runs"
BEAT = 1.0  # seconds between two words that a stage still runs
RETRY = 0.5  # seconds until a stage that another run holds is looked at again


@dataclass
class Walk:
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
    next_look: float = 0.0
    beaten: float = 0.0
    measuring: int = 0  # so many metrics, which waited, are run before anything else
    measured: float = -math.inf  # when the last of these were begun
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
            self._look_elsewhere()
            self._start()
            if self.running:
                self._hear()
                self.worked = time.monotonic()
            elif self.elsewhere:
                if not self._ours_is_left():
                    self.left = FOR_OTHERS
                    return
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

    def _look_elsewhere(self) -> None:
        """Have what others were at looked for again, in a tenth of the time at most."""
        began = time.monotonic()
        if not self.elsewhere or began < self.next_look:
            return
        again, self.elsewhere = self.elsewhere, []
        for stage in again:
            self._queue(stage)
        self._start()
        now = time.monotonic()
        self.next_look = now + max(RETRY, 10 * (now - began))

    def _ours_is_left(self) -> bool:
        """Whether there is a stage yet that this run makes, now or behind those of others."""
        ended = (self.finished, self.failed)
        return any(
            self.engine.makes(stage) and not any(stage.id in one for one in ended)
            for stage in self.stages
        )

    def _say_waits(self) -> None:
        """Once: what another run is at, when there is nothing else to do."""
        if not self.waits:
            self.waits = True
            first = self.elsewhere[0]
            whom, what = ("another run", "makes"), "wait, or end that run"
            if not self.engine.makes(first):
                whom, what = ("a run", "is to make"), "wait, or start one without --stages"
            more = f" and {len(self.elsewhere) - 1} more" if self.elsewhere[1:] else ""
            sys.stderr.write(
                f"waiting since {time.strftime('%H:%M:%S')} for {whom[0]} on the store "
                f"{self.engine.store.root}, which {whom[1]} '{first.title}'{more}: {what}\n"
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
                if not self.engine.makes(stage):
                    if not self._cached(stage):
                        self.elsewhere.append(stage)
                    continue
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
        due = self.measuring or time.monotonic() - self.measured >= GATHER
        if other and not full and not (metrics and due and other[0][1].kind in LONG):
            return other, 1
        if not metrics:
            return [], 0
        queue = min(full or metrics, key=lambda queue: queue[0])
        free = self.executor.free if self.executor else len(self.engine.slots)
        size = min(BUNDLE, -(-len(queue) // free))
        self.measuring = max(0, (self.measuring or sum(map(len, metrics))) - size)
        if not self.measuring:
            self.measured = time.monotonic()
        return queue, size

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
