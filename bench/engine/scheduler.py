"""What runs the stages of a plan: an executor, with the store as its memory.

Whatever is finished stays finished; a stage that fails takes down those below it and nothing
else.
"""

from __future__ import annotations

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
from bench.engine.deadline import Deadline
from bench.engine.executor import Executor, Executors, Job, Slot
from bench.engine.outcome import (
    Failure,
    Listener,
    Outcome,
    Watch,
    silent,
    unwatched,
)
from bench.engine.prices import profile
from bench.engine.walk import Walk
from bench.stages.load import data_folder, in_print
from bench.stages.plan import Plan, load_stage, plan
from bench.stages.stage import Dataset, Stage, Work, identity_of
from bench.store.store import Store


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
    kinds: frozenset[str] = frozenset()  # of the stages that this run makes; none: all

    def __post_init__(self) -> None:
        types = {slot.device.split(":")[0] for slot in self.slots}
        if len(types) > 1:
            raise BenchError(
                f"a run cannot use {' and '.join(sorted(types))} at once, which round differently; "
                "expected devices of one type"
            )

    def makes(self, stage: Stage) -> bool:
        """Whether a stage is of the kinds that this run makes; every run reads its data."""
        return not self.kinds or stage.kind in self.kinds or stage.kind == "load"

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

    def plan(self, cells: Sequence[Cell], *, unread: bool = False) -> Plan:
        """The graph of some cells: their data are loaded, nothing else is run.

        Cells whose data cannot be had are left out and counted; `unread`, to be priced and not to
        be run, they are planned by the counts in print. Raises BenchError if none is left.
        """
        datasets, lost = self.load(dict.fromkeys(cell.dataset for cell in cells))
        for name in lost if unread else ():
            component = load_stage(self.components, name).component
            if facts := in_print(component):
                evaluate = self.components.matrix.evaluate
                datasets[name] = Dataset(name, component, "", facts, evaluate)
        if not datasets:
            name, failure = next(iter(lost.items()))
            raise BenchError(f"dataset '{name}' cannot be loaded: {failure.reason}")
        kept = [cell for cell in cells if cell.dataset in datasets]
        made = plan(self.components, datasets, kept, self.board)
        return replace(made, lost=len(cells) - len(kept))

    def execute(self, stages: Sequence[Stage], watch: Watch = unwatched) -> Outcome:
        """Run what is not in the store yet. A stage that fails takes down those below, no more."""
        run = Walk(self, stages)
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
        modules = (do.__module__, *code)
        if stage.kind != "load":  # whose server ends before the others begin: it needs no more
            # the first: an optimizer wants it, and it takes seconds to be imported
            modules = ("torch._dynamo", *self.components.preload(stage.components), *modules)
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
