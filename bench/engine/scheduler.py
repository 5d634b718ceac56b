"""Who runs the stages of a plan: this machine, a process a stage, and the store as its memory.

Whatever is finished stays finished; a stage that fails takes down those below it and nothing
else.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.board.components import Components
from bench.board.matrix import Cell
from bench.contract.errors import BenchError
from bench.contract.keys import digest
from bench.engine.executor import Done, Failed, Job, Progress, Slot
from bench.engine.local import Local
from bench.stages.load import data_folder, is_current
from bench.stages.plan import Plan, check_budgets, load_stage, plan
from bench.stages.stage import Dataset, Stage, Work, identity_of
from bench.store.store import Finished, Store

BUNDLE = 32  # metrics are quick: so many share one process
RETRY = 0.5  # seconds until a stage that another run holds is looked at again


@dataclass(frozen=True)
class Step:
    """What a listener hears: a stage has begun, advances, or has ended."""

    stage: Stage
    status: str  # "started" | "progress" | "done" | "cached" | "failed" | "unsupported" | "blocked"
    done: int = 0
    total: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Failure:
    """Why a stage has no result. `stage` is where it began; those below share it."""

    stage: Stage
    reason: str  # one sentence
    unsupported: bool


@dataclass(frozen=True)
class Outcome:
    """What became of the stages, by their id."""

    finished: Mapping[str, Finished]
    failed: Mapping[str, Failure]
    interrupted: bool = False  # by Ctrl-C: what is in neither was not run


Listener = Callable[[Step], None]


def silent(step: Step) -> None: ...


def do(work: Work, *, device: str, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Run a stage: the function that worker processes are given. Torch is loaded there."""
    from bench.stages.execute import execute

    return execute(work, device=device, progress=progress)


@dataclass(frozen=True)
class Engine:
    """Where stages run and what they may use."""

    components: Components
    store: Store
    jobs: int
    device: str = "cpu"
    listen: Listener = silent
    board: Path | None = None  # its folder, where it keeps networks that metrics look with

    def load(self, names: Iterable[str]) -> tuple[dict[str, Dataset], dict[str, Failure]]:
        """The data sets of a board, and why the others cannot be had."""
        stages = {name: load_stage(self.components, name) for name in names}
        outcome = self.execute(tuple(stages.values()))
        if outcome.interrupted:
            raise KeyboardInterrupt
        loaded = {
            name: Dataset(name, stage.component, found.key, found.value, stage.evaluate)
            for name, stage in stages.items()
            if (found := outcome.finished.get(stage.id))
        }
        lost = {n: outcome.failed[s.id] for n, s in stages.items() if s.id in outcome.failed}
        return loaded, lost

    def plan(self, cells: Sequence[Cell]) -> Plan:
        """The graph of some cells: their data are loaded, budgets checked, nothing else run.

        Cells whose data cannot be had are left out and counted. Raises BenchError if that is all.
        """
        datasets, lost = self.load(dict.fromkeys(cell.dataset for cell in cells))
        if not datasets:
            name, failure = next(iter(lost.items()))
            raise BenchError(f"dataset '{name}' cannot be loaded: {failure.reason}")
        check_budgets(self.components, datasets)
        kept = [cell for cell in cells if cell.dataset in datasets]
        made = plan(self.components, datasets, kept, self.board)
        return replace(made, lost=len(cells) - len(kept))

    def execute(self, stages: Sequence[Stage]) -> Outcome:
        """Run what is not in the store yet. A stage that fails takes down those below, no more."""
        run = _Run(self, stages)
        interrupted = False
        try:
            run.finish()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            run.close()
        return Outcome(run.finished, run.failed, interrupted)

    def work(self, stage: Stage, key: str, keys: Mapping[str, str]) -> Work:
        """A stage as a worker gets it; `keys` are those of the stages above, by id."""
        named = {name: part for name, part in stage.inputs.items() if hasattr(part, "name")}
        identities = {
            name: self.components.registry.identity(part)
            for name, part in named.items()
            if not isinstance(part, Stage)
        }
        return Work(
            stage=stage.sent(keys),
            key=key,
            store=str(self.store.root.resolve()),
            folder=data_folder(),
            inputs={"title": stage.title, "price": price_key(stage), **identities},
        )

    def key_of(self, stage: Stage, contents: Mapping[str, str]) -> str:
        """The key of a stage, given the content hashes of those above it, by id."""
        return stage.key(self.identity, contents, self.device)

    @cached_property
    def identity(self) -> Callable[[Any], Any]:
        of_component = cache(lambda part: digest(self.components.registry.identity(part)))
        return cache(lambda part: identity_of(part, of_component))


def price_key(stage: Stage) -> str:
    """Stages of one price key take about the same time."""
    kinds = ("teacher", "method", "ipc", "architecture", "labels", "attack", "sampler", "metric")
    values = [stage.inputs[kind] for kind in kinds if stage.inputs.get(kind) is not None]
    plain = [getattr(value, "name", value) for value in values if not isinstance(value, Stage)]
    return " ".join(map(str, (stage.kind, stage.dataset.name, *plain)))


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
    runnable: list[tuple[int, Stage]] = field(default_factory=list)  # heap; not in the store
    metrics: list[tuple[int, Stage]] = field(default_factory=list)  # heap; likewise, to be bundled
    elsewhere: list[Stage] = field(default_factory=list)  # another run is at it
    looked: float = 0.0
    running: dict[str, tuple[Stage, FileLock]] = field(default_factory=dict)
    workers: Local | None = None

    def __post_init__(self) -> None:
        self.rank = {stage.id: number for number, stage in enumerate(self.stages)}
        for stage in self.stages:
            above = {s.id for s in stage.above.values()}
            self.waiting[stage.id] = len(above)
            for one in above:
                self.below.setdefault(one, []).append(stage)
            if not above:
                heapq.heappush(self.ready, (self.rank[stage.id], stage))

    def finish(self) -> None:
        while True:
            self._settle_ready()
            if self.elsewhere and time.monotonic() - self.looked > RETRY:
                self.looked = time.monotonic()
                again, self.elsewhere = self.elsewhere, []
                for stage in again:
                    self._queue(stage)
            self._start()
            if self.workers and self.running:
                self._hear()
            elif self.elsewhere:
                time.sleep(RETRY / 4)
            elif not (self.ready or self.runnable or self.metrics):
                return

    def _settle_ready(self) -> None:
        while self.ready:
            _, stage = heapq.heappop(self.ready)
            faults = [self.failed[s.id] for s in stage.above.values() if s.id in self.failed]
            if faults:
                # a failure outweighs a refusal: it can be mended
                self._fail(stage, min(faults, key=lambda f: f.unsupported))
                continue
            contents = {s.id: self.finished[s.id].content for s in stage.above.values()}
            self.keys[stage.id] = self.engine.key_of(stage, contents)
            if not self._cached(stage):
                self._queue(stage)

    def _queue(self, stage: Stage) -> None:
        """In the plan's order, so that cells are completed one by one."""
        queue = self.metrics if stage.kind == "measure" else self.runnable
        heapq.heappush(queue, (self.rank[stage.id], stage))

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
        while not self.ready and (self.workers is None or self.workers.free):
            queue, size = self.runnable, 1
            if len(self.metrics) >= BUNDLE or not self.runnable:
                queue, size = self.metrics, min(BUNDLE, -(-len(self.metrics) // self.engine.jobs))
            if not queue:
                return
            bundle: list[Stage] = []
            alike = queue[0][-1].inputs.get("metric")
            others = []
            while queue and len(bundle) < size:
                stage = heapq.heappop(queue)[-1]
                if stage.inputs.get("metric") != alike:  # whose code could change this one's
                    others.append((self.rank[stage.id], stage))
                    continue
                lock = self.engine.store.lock(stage.kind, self.keys[stage.id])
                if lock is None:
                    self.elsewhere.append(stage)
                elif self._cached(stage, locked=True):  # another run has just finished it
                    lock.release()
                else:
                    bundle.append(stage)
                    self.running[stage.id] = (stage, lock)
            for other in others:
                heapq.heappush(queue, other)
            if bundle:
                self._submit(bundle)

    def _submit(self, bundle: list[Stage]) -> None:
        if self.workers is None:
            limits = self.engine.components.matrix.limits
            self.workers = Local([Slot(self.engine.device)] * self.engine.jobs, limits)
        jobs = []
        for stage in bundle:
            work = self.engine.work(stage, self.keys[stage.id], self.keys)
            log = self.engine.store.log(stage.kind, work.key)
            provides = self.engine.components.provided(stage.components)
            modules = ("bench.stages.execute", *self.engine.components.preload(provides))
            if stage.kind != "load":  # an optimizer wants it
                modules = ("torch._dynamo", *modules)
            jobs.append(Job(stage.id, do, (work,), log, provides, modules))
            self.engine.listen(Step(stage, "started"))
        self.workers.start(jobs)

    def _hear(self) -> None:
        assert self.workers is not None
        for event in self.workers.events(0.2):
            stage, lock = self.running[event.id]
            match event:
                case Progress():
                    self.engine.listen(Step(stage, "progress", event.done, event.total))
                    continue
                case Done():
                    self._done(stage, Finished(**event.value), "done")
                case Failed():
                    if event.unsupported and stage.kind != "load":  # whose files no key holds
                        declined = {"unsupported": event.reason}
                        self.engine.store.publish(stage.kind, self.keys[stage.id], {}, declined)
                    self._fail(stage, Failure(stage, event.reason, event.unsupported))
            del self.running[event.id]
            lock.release()

    def _done(self, stage: Stage, found: Finished, status: str) -> None:
        self.finished[stage.id] = found
        self.engine.listen(Step(stage, status))
        self._release_below(stage)

    def _fail(self, stage: Stage, failure: Failure) -> None:
        self.failed[stage.id] = failure
        status = "unsupported" if failure.unsupported else "failed"
        if failure.stage is not stage:
            status = "blocked"  # by a stage above
        self.engine.listen(Step(stage, status, reason=failure.reason))
        self._release_below(stage)

    def _release_below(self, stage: Stage) -> None:
        for one in self.below.get(stage.id, ()):
            self.waiting[one.id] -= 1
            if not self.waiting[one.id]:
                heapq.heappush(self.ready, (self.rank[one.id], one))

    def close(self) -> None:
        if self.workers:
            self.workers.close()
        for _, lock in self.running.values():
            lock.release()
