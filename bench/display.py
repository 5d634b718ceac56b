"""What the command line shows: progress, failures, prices, tables."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from bench.contract.kinds import KINDS
from bench.contract.registry import Broken, Entry, Registry
from bench.engine.estimate import Estimate
from bench.engine.outcome import Step
from bench.engine.prices import Prices, Profile, profile
from bench.engine.results import Ran
from bench.engine.why import Reasons
from bench.stages.plan import Plan
from bench.stages.stage import Stage
from bench.store.room import Room

console = Console(highlight=False, soft_wrap=True, emoji=False, markup=False)
if not console.is_terminal and "COLUMNS" not in os.environ:
    console.width = 10_000  # a file or a pipe folds nothing

EVERY = 10.0  # seconds between lines on all stages where there is no terminal
LONG = 60.0  # seconds between two lines on a stage there; a shorter one has none


@dataclass
class _Running:
    """A stage that runs: how far it is, since when, and when that was last told."""

    title: str
    bar: TaskID
    profile: Profile
    begun: float
    told: float
    done: int = 0
    total: int = 0


class Following:
    """Hears the steps of a run: bars on a terminal, elsewhere a line now and then."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.all = progress.add_task("all stages", total=None)
        self.running: dict[str, _Running] = {}  # by the stage's id
        self.failed: list[Step] = []
        self.counts: Counter[str] = Counter()
        self.pending: Counter[Profile] = Counter()  # stages that have not ended
        self.prices, self.slots = Prices(), 1
        self.spoken = _now()

    def expect(self, stages: Sequence[Stage], prices: Prices, slots: int) -> None:
        """These stages will end; so many run at a time, at about these prices."""
        self.pending = Counter(map(profile, stages))
        self.prices, self.slots = prices, slots
        self.counts.clear()
        self.progress.reset(self.all, total=len(stages))

    def __call__(self, step: Step) -> None:
        match step.status:
            case "started":
                bar, now = self.progress.add_task(f"  {step.stage.title}", total=None), _now()
                key = profile(step.stage)
                if one := self.running.get(step.stage.id):  # whose first try has failed
                    self.progress.remove_task(one.bar)
                self.running[step.stage.id] = _Running(step.stage.title, bar, key, now, now)
            case "progress":
                one = self.running[step.stage.id]
                one.done, one.total = step.done, step.total
                self.progress.update(one.bar, completed=step.done, total=step.total)
                self._tell(one)
            case "running":
                self._tell(self.running[step.stage.id])
            case _:
                self._ended(step)

    def left(self) -> tuple[float, bool]:
        """Seconds until all stages have ended, and whether that is more than a guess."""
        now, sure = _now(), True
        seconds = -sum(
            min(now - one.begun, price.seconds)
            for one in self.running.values()
            if (price := self.prices.of(one.profile)) and self.pending[one.profile]
        )
        for key, number in self.pending.items():
            if not number:
                continue
            price = self.prices.of(key)
            seconds += number * price.seconds if price else 0.0
            sure = sure and price is not None and not price.guess
        return max(0.0, seconds) / self.slots, sure

    def _tell(self, one: _Running) -> None:
        """Say how far a long stage is, where there is no terminal."""
        now = _now()
        if not console.is_terminal and now - one.told >= LONG:
            one.told = now
            console.print(f"{one.title}: {_how_far(one.done, one.total, now - one.begun)}")

    def _ended(self, step: Step) -> None:
        stage, key = step.stage, profile(step.stage)
        self.counts[step.status] += 1
        if self.pending[key]:  # else one that nobody expected, as of networks that a board keeps
            self.pending[key] -= 1
        if step.status in ("done", "cached"):
            self.prices.learn(key, step.seconds)
        if one := self.running.pop(stage.id, None):
            self.progress.remove_task(one.bar)
        said = ", ".join(f"{n} {status}" for status, n in sorted(self.counts.items()))
        ended = self.counts.total()
        all_of_them = ended + self.pending.total()
        self.progress.update(self.all, completed=ended, total=all_of_them, description=said)
        if step.status == "failed":
            self.failed.append(step)
            console.print(f"failed: {stage.title}: {step.reason}", style="red")
        self._speak(said)

    def _speak(self, said: str) -> None:
        now = _now()
        if console.is_terminal or not self.pending or now - self.spoken < EVERY:
            return
        self.spoken = now
        waiting, ended = self.pending.total(), self.counts.total()
        seconds, sure = self.left()
        guess = "" if sure else " (a guess)"
        console.print(
            f"{ended}/{ended + waiting} stages ({said}); about {duration(seconds)} left{guess}"
        )


def _how_far(done: int, total: int, took: float) -> str:
    if not done:
        return f"running for {duration(took)}"
    return f"{done}/{total} steps; about {duration(took / done * (total - done))} left"


def _now() -> float:
    return time.monotonic()


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


def show_estimates(
    estimates: Sequence[Estimate], plan: Plan, slots: int, reasons: Reasons | None = None
) -> None:
    """The plan: how many stages of each kind, how many are cached, what the rest should take."""
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "total", "cached", "to run", "time of one process"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for e in estimates:
        todo = e.total - e.cached
        price = "" if not todo else "unknown" if e.unpriced == todo else duration(e.seconds)
        price = f"at least {price}" if 0 < e.unpriced < todo else price
        price += ", a guess" if e.guesses else ""
        table.add_row(e.kind, str(e.total), str(e.cached), str(todo), price)
    console.print(table)
    for line in _why(reasons) if reasons else ():
        console.print(line)
    seconds, unpriced = sum(e.seconds for e in estimates), sum(e.unpriced for e in estimates)
    least = "at least" if unpriced else "about"
    said = f"{len(plan.cells)} cells; {least} {duration(seconds / slots)} with {slots} jobs"
    if unpriced:
        no = _counted(unpriced, "stage has", "stages have")
        said += f": {no} no price, since nothing similar has run yet"
    if guesses := sum(e.guesses for e in estimates):
        priced = _counted(guesses, "stage is", "stages are")
        said += (
            f"; a guess: {priced} priced by stages that differ in data, network, "
            "components or steps"
        )
    console.print(said)


def _why(reasons: Reasons) -> Iterator[str]:
    yield from map(str, reasons.again)
    if reasons.new:
        new = ", ".join(f"{n} {kind}" for kind, n in reasons.new.items())
        yield f"never made before: {new}"
    if not reasons.again and not reasons.new:
        yield "nothing would be made again"


def show_failures(failed: Sequence[Step], ran: Ran) -> None:
    """What failed, why, and where what it printed lies: one line a stage."""
    if ran.cells_failed:
        stages = _counted(len(failed), "stage and with it", "stages and with them")
        cells = _counted(ran.cells_failed, "cell", "cells")
        console.print(f"{stages} {cells} failed:")
    for step in failed:
        log = f"; log: {step.log}" if step.log else "; it printed nothing"
        console.print(f"  {step.stage.title}: {step.reason}{log}")


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def show_rooms(held: Mapping[str, Room], useless: Mapping[str, Room], doubled: int) -> None:
    """What folders take, what of it is of no use, and how often work was done twice."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "MB", "files"):
        table.add_column(column, justify="right" if column else "left")
    for name, room in {**held, "all": sum(held.values(), Room()), **useless}.items():
        table.add_row(name, f"{room.bytes / 1e6:,.1f}", f"{room.files:,}")
    console.print(table)
    if doubled:
        console.print(
            f"{doubled} results were made twice: their runs did not see each other's locks"
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
        with console.capture() as drawn:
            console.print(table)
        # lines that end where their text ends
        console.print("\n".join(line.rstrip() for line in drawn.get().splitlines()), end="\n\n")


def show_broken(broken: Iterable[Broken]) -> None:
    for one in broken:
        console.print(f"broken: {one.distribution} {one.version}: {one.reason}", style="red")


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
