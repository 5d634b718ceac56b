"""What the command line shows: progress, failures, prices, tables."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from bench.checks import Verdict
from bench.contract.fields import about, values_of
from bench.contract.kinds import KINDS, says
from bench.contract.registry import Broken, Entry, Registry
from bench.engine.estimate import Survey
from bench.engine.results import Ran
from bench.engine.scheduler import Step
from bench.stages.plan import Plan
from bench.store.store import Store

console = Console(highlight=False, soft_wrap=True, emoji=False, markup=False)
if not console.is_terminal and "COLUMNS" not in os.environ:
    console.width = 10_000  # a file or a pipe folds nothing

EVERY = 10.0  # seconds between lines where there is no terminal
LONG = 30.0  # seconds from which a stage's own progress is told there


class Following:
    """Hears the steps of a run: bars on a terminal, elsewhere a line now and then."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.all = progress.add_task("all stages", total=None)
        self.bars: dict[str, TaskID] = {}
        self.begun: dict[str, float] = {}  # stages that run, and since when
        self.counts: Counter[str] = Counter()
        self.total = 0
        self.started = self.spoken = time.monotonic()

    def expect(self, stages: int) -> None:
        """So many stages will end."""
        self.total = stages
        self.counts.clear()
        self.started = time.monotonic()
        self.progress.reset(self.all, total=stages)

    def __call__(self, step: Step) -> None:
        key = step.stage.id
        match step.status:
            case "started":
                self.bars[key] = self.progress.add_task(f"  {step.stage.title}", total=None)
                self.begun[key] = time.monotonic()
            case "progress":
                self.progress.update(self.bars[key], completed=step.done, total=step.total)
                self._tell(step)
            case _:
                self.counts[step.status] += 1
                if key in self.bars:
                    self.progress.remove_task(self.bars.pop(key))
                    del self.begun[key]
                said = ", ".join(f"{n} {status}" for status, n in sorted(self.counts.items()))
                self.progress.update(self.all, advance=1, description=said)
                if step.status == "failed":
                    console.print(f"failed: {step.stage.title}: {step.reason}", style="red")
                self._speak(said)

    def _tell(self, step: Step) -> None:
        """How far a long stage is, where there is no terminal and nothing else to say."""
        took = time.monotonic() - self.begun[step.stage.id]
        if step.done and took >= LONG and self._may_speak():
            left = duration(took / step.done * (step.total - step.done))
            console.print(f"{step.stage.title}: {step.done}/{step.total}; about {left} left")

    def _may_speak(self) -> bool:
        now = time.monotonic()
        if console.is_terminal or now - self.spoken < EVERY:
            return False
        self.spoken = now
        return True

    def _speak(self, said: str) -> None:
        if not self.total or not self._may_speak():
            return
        now, ended = time.monotonic(), sum(self.counts.values())
        worked = ended - self.counts["cached"]
        left = (now - self.started) / worked * (self.total - ended) if worked else 0
        console.print(f"{ended}/{self.total} stages ({said}); about {duration(left)} left")


@contextmanager
def following() -> Iterator[Following]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with progress:
        yield Following(progress)


def duration(seconds: float) -> str:
    """ "12 s", "3 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show_survey(surveys: Sequence[Survey], plan: Plan, jobs: int) -> None:
    """The plan: how many stages of each kind, how many are cached, what the rest should take."""
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "total", "cached", "to run", "time of one process"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for s in surveys:
        todo = s.total - s.cached
        price = "" if not todo else "unknown" if s.unpriced == todo else duration(s.seconds)
        table.add_row(s.kind, str(s.total), str(s.cached), str(todo), price)
    console.print(table)
    seconds, unpriced = sum(s.seconds for s in surveys), sum(s.unpriced for s in surveys)
    said = f"{len(plan.cells)} cells; about {duration(seconds / jobs)} with {jobs} jobs"
    if unpriced:
        said += f", plus {unpriced} stages without a price (nothing like them has run yet)"
    console.print(said)


def show_failures(ran: Ran, store: Store) -> None:
    """How many cells failed; the stages that cost them have been said when they failed."""
    if ran.cells_failed:
        console.print(
            f"{ran.cells_failed} cells failed; what their stages printed is in "
            f"{store.root / 'logs'}"
        )


def show_plugins(registry: Registry) -> None:
    """What is installed, a table for each kind."""
    for kind in KINDS:
        entries = registry.of(kind)
        if not entries:
            continue
        table = Table(title=f"{kind}s", title_justify="left", box=None, pad_edge=False)
        for column in ("name", "what it is", "from"):
            table.add_column(column, overflow="fold")
        for entry in entries.values():
            table.add_row(entry.name, entry.about, f"{entry.distribution} {entry.version}")
        show_table(table)
        console.print()


def show_table(table: Table) -> None:
    """A table as lines that end where their text ends."""
    with console.capture() as drawn:
        console.print(table)
    console.print("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def show_broken(broken: Iterable[Broken]) -> None:
    for one in broken:
        console.print(f"broken: {one.distribution} {one.version}: {one.reason}", style="red")


def show_component(entry: Entry) -> None:
    """All that a component says of itself: where from, its facts, its fields with defaults."""
    cls = type(entry.component)
    console.print(f"{entry.kind} {entry.name}: {about(entry.component)}")
    console.print(
        f"  from {entry.distribution} {entry.version}, {cls.__module__}:{cls.__qualname__}"
    )
    row = KINDS[entry.kind]
    console.print(f"  verb {row.verb}({row.given}) -> {row.gives}")
    defaults = {f.name: f.default for f in dataclasses.fields(entry.component)}
    for name, value in values_of(entry.component).items():
        preset = f" (the class has {defaults[name]!r})" if value != defaults[name] else ""
        console.print(f"  field {name} = {value!r}{preset}")
    for name, one in row.facts.items():
        if name not in defaults:
            value = getattr(entry.component, name, None)
            told = "yes" if callable(value) else repr(value)
            default = "no" if one.default is None else repr(one.default)
            said = told if says(entry.component, name) else f"{default} (the default)"
            console.print(f"  {one.by} {name}: {said}; {one.meaning}")


def show_verdicts(entry: Entry, verdicts: Sequence[Verdict]) -> None:
    """What `bench check` says of a component."""
    settings = f" with {entry.settings}" if entry.settings else ""
    console.print(f"{entry.kind} {entry.name} ({entry.distribution} {entry.version}){settings}")
    for verdict in verdicts:
        style = {"passed": "green", "failed": "bold red", "skipped": "yellow"}[verdict.status]
        detail = f": {verdict.detail}" if verdict.detail else ""
        console.print(f"  {verdict.status:7} {verdict.check}{detail}", style=style)


def show_list(wrong: Sequence[str], fine: str) -> None:
    for line in wrong or [fine]:
        console.print(line)


def show_tables(board: Path) -> None:
    """The tables of results of a board."""
    from bench.report.console import show
    from bench.report.folder import page_of

    show(console, page_of(board).results)
