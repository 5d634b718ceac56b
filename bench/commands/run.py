"""`bench run`: a board is read, planned, and then priced, recomputed or published."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from bench.commands.asked import FAILED, Asked, Interrupted
from bench.contract.errors import BenchError

if TYPE_CHECKING:
    from bench.board.components import Components
    from bench.board.matrix import Cell
    from bench.engine.outcome import Outcome
    from bench.engine.publishing import Publication
    from bench.engine.results import Ran
    from bench.engine.scheduler import Engine
    from bench.records.result import Result
    from bench.stages.plan import Plan


def run(asked: Asked) -> int:
    """Do it; the exit code. Raises BenchError for bad input, and Interrupted."""
    from bench.engine import fork
    from bench.store.store import Store, place

    if not (asked.dry_run or asked.engine == "slurm" or os.path.exists(place(asked.store))):
        fork.begin()  # nothing is made yet
    from bench import display
    from bench.commands.draw import to_check
    from bench.commands.limited import deadline_of
    from bench.commands.slurm import submit
    from bench.engine import devices
    from bench.engine.outcome import unwatched
    from bench.engine.prices import learned
    from bench.engine.results import run
    from bench.engine.scheduler import Engine
    from bench.records.files import read_all
    from bench.stages.kinds import kinds_of

    began = time.monotonic()
    components, cells = _asked_for(asked)
    found = read_all(asked.board)
    for sentence in found.sentences(asked.board):
        display.console.print(f"left out: {sentence}", style="red")
    if asked.download:
        _download(components, cells)
    if asked.engine == "slurm":
        return submit(asked)
    kinds = kinds_of(asked.stages, "--stages")
    slots = devices.slots(asked.device, asked.jobs)
    records = found.results
    cells, lost = to_check(asked, cells, records)
    if not cells:
        return 0
    home = _home_of(asked)
    with _store_of(asked) as root, _stoppable():
        with display.following() as listen:
            engine = Engine(components, Store(root), slots, listen, home)
            if asked.retrain_teachers:
                return _proved(engine, cells)
            if not (asked.check or asked.dry_run):
                given = deadline_of(asked.minutes, began, engine.store, records)
                engine = replace(engine, deadline=given, kinds=kinds)
            plan = engine.plan(cells, unread=asked.dry_run)
            if asked.missing:
                cells = _unrecorded(engine, plan, cells, records)
                if not cells:
                    return 0
                plan = engine.plan(cells)
            if asked.dry_run:
                return _priced(engine, plan, records, asked.why)
            listen.expect(plan.stages, learned((), records), len(slots))
            watch = unwatched if asked.check else _publication(home, engine, plan)
            ran = run(engine, plan, watch)
        display.show_failures(listen.failed, ran)
        if asked.check:
            return _checked(asked, engine, plan, ran, records, lost)
        return _published(asked, home, engine, plan, ran, records)


def _asked_for(asked: Asked) -> tuple[Components, tuple[Cell, ...]]:
    """The components of a board that is run, and the cells of it that are asked for."""
    from bench.board.check import resolve
    from bench.board.matrix import read
    from bench.contract.registry import discover
    from bench.engine.results import chosen_cells
    from bench.report import published
    from bench.report.numbers import board_of

    matrix = read(asked.board)
    if matrix.frozen:
        raise BenchError(
            f"{asked.board} is frozen: {matrix.frozen}; its records are checked by `bench "
            "leaderboard --check`; to run it all the same, take the line `frozen` out of a copy"
        )
    published.read(asked.board, board_of(matrix))  # what is wrong is said before hours of work
    components = resolve(matrix, discover(), asked.board)
    return components, chosen_cells(matrix, asked.methods, asked.only)


def _home_of(asked: Asked) -> Path:
    """The folder that a run writes to, tried before it runs."""
    from bench.report.home import check_writable, copied

    home = copied(asked.board, asked.into) if asked.into else asked.board
    if not (asked.check or asked.dry_run):
        check_writable(home)
        # what makes pages takes a second, in which workers load torch and the data
        Thread(target=import_module, args=["bench.report.folder"]).start()
    return home


def _unrecorded(
    engine: Engine, plan: Plan, cells: Sequence[Cell], records: Sequence[Result]
) -> tuple[Cell, ...]:
    """The cells that have no record that holds; says how many there are, and why."""
    from bench.display import console
    from bench.engine.missing import wanting

    faults = wanting(engine.components, plan, records)
    left = tuple(cell for cell in cells if faults.get(cell, "no data"))
    counts = Counter(faults.get(cell, "no data") for cell in left)
    why = ", ".join(f"{n} with {said}" for said, n in counts.most_common())
    run = f"{len(left)} {'is' if len(left) == 1 else 'are'} run ({why})" if left else "none is run"
    sound = len(cells) - len(left)
    console.print(f"{sound} of {len(cells)} cells have a record that holds; {run}")
    return left


def _priced(engine: Engine, plan: Plan, records: Sequence[Result], explained: bool) -> int:
    """Show what a run would do."""
    from bench import display
    from bench.display import console
    from bench.engine.estimate import estimate, look, unread
    from bench.engine.prices import learned
    from bench.engine.why import why

    for name, counts in unread(plan).items():
        console.print(f"{name} is planned by its counts in print: {counts}")
    found = look(engine, plan.stages)
    prices = learned(engine.store.finished(), records)
    reasons = why(engine, found) if explained else None
    estimates = estimate(plan.stages, found.missing, prices)
    display.show_estimates(estimates, plan, len(engine.slots), reasons)
    return 0


def _proved(engine: Engine, cells: Sequence[Cell]) -> int:
    """Train again what the board carries, and say whether it is the same."""
    from bench.display import show_list
    from bench.engine.teachers import prove

    said, wrong = prove(engine, cells)
    show_list([*said, *wrong], "")
    return FAILED if wrong else 0


def _checked(
    asked: Asked,
    engine: Engine,
    plan: Plan,
    ran: Ran,
    records: Sequence[Result],
    lost: list[str],
) -> int:
    """Say whether the records of a board hold."""
    from bench.display import show_list
    from bench.engine import judged
    from bench.records import checked
    from bench.report import verify
    from bench.report.folder import stale, write_tables

    if ran.interrupted:
        raise Interrupted(
            "interrupted; no record was compared and nothing published; run the same command again"
        )
    board = asked.board
    wrong = [*lost, *judged.faults(engine, plan), *verify.disagreements(records, ran.records)]
    wrong += stale(board)
    show_list(wrong, f"{len(ran.records)} records recomputed: all hold")
    if wrong or ran.cells_failed:
        return FAILED
    if asked.keep_checked:
        again = {one.coordinate for one in ran.records if one.ok}
        checked.add(board, [one for one in records if one.coordinate in again], records)
        write_tables(board)
    return 0


def _published(
    asked: Asked, home: Path, engine: Engine, plan: Plan, ran: Ran, records: Sequence[Result]
) -> int:
    """Write all that a run has given, and show it; or say in a sentence how it was interrupted."""
    from bench.commands.limited import records_alone
    from bench.display import console, show_tables
    from bench.engine import sets, teachers
    from bench.records.files import split_valid
    from bench.report import verify

    if ran.left:
        return records_alone(home, engine, plan, ran)
    said = teachers.carry(engine, plan, home, teachers=asked.keep_teachers)
    for sentence in (*said, *(sets.carry(engine, plan, home) if asked.keep_sets else ())):
        console.print(sentence)
    valid, refused = split_valid(ran.records)
    for sentence in refused:
        console.print(f"failed: {sentence}", style="red")
    names = _write(home, engine, plan, ran, valid) if valid else []
    if ran.interrupted:
        are = "is" if len(valid) == 1 else "are"
        done = f"{len(valid)} of {len(plan.cells)} cells {are} published in {home}"
        raise Interrupted(
            f"interrupted; {done if valid else 'no cell was complete'}, and what else has finished "
            f"is kept in {engine.store.root}; run the same command to go on"
        )
    if valid:
        show_tables(home)
        wrote = ", ".join(str(home / name) for name in names)
        console.print(f"wrote {wrote} and {home / 'records'}")
    if asked.into and ran.records:
        console.print(verify.compared(records, ran.records, str(asked.board)))
    return FAILED if ran.cells_failed or refused else 0


def _write(home: Path, engine: Engine, plan: Plan, ran: Ran, valid: Sequence[Result]) -> list[str]:
    """Write records, pictures and pages of a board; the names of the pages."""
    from bench.engine import galleries
    from bench.report.folder import publish
    from bench.report.galleries import CLASSES, COLUMNS, TRIPLES
    from bench.store.locks import waiting

    pictured = {
        record.coordinate: engine.store.folder(probe.stage, probe.key) / "pictures.safetensors"
        for record, probe in ran.probes
    }
    what, leases = f"writes to {home}", engine.store.leases  # with a store of its own, perhaps
    with waiting(home / "matrix.toml", what, leases=leases):
        grids = galleries.grids(engine, plan, CLASSES, COLUMNS)
        neighbours = galleries.neighbours(engine, plan, CLASSES, TRIPLES)
        return publish(home, valid, pictured, grids, neighbours)


def _publication(home: Path, engine: Engine, plan: Plan) -> Publication:
    """What writes the records of cells while a run goes on; pages and pictures follow at its end.

    What goes wrong with that costs no run: it is said, and tried again with the next cells.
    """
    from bench.display import console
    from bench.engine.publishing import Publication
    from bench.engine.results import records_of
    from bench.records.files import split_valid
    from bench.report.folder import add_results
    from bench.store.locks import waiting

    def write(part: Plan, outcome: Outcome) -> None:
        valid, _ = split_valid(records_of(engine.components, part, outcome).records)
        try:
            if valid:
                what, leases = f"writes to {home}", engine.store.leases
                with waiting(home / "matrix.toml", what, leases=leases):
                    add_results(home, valid)
        except (BenchError, OSError) as error:
            console.print(f"records are not written before the end: {error}", style="red")

    return Publication(plan, write)


def _download(components: Components, cells: Iterable[Cell]) -> None:
    """Let the components of some cells fetch their files, one by one."""
    from bench.board.components import downloads
    from bench.display import console

    for component, fetch in downloads(components, cells).items():
        console.print(f"downloading what is missing of {component.name}")
        try:
            fetch()
        except BenchError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise BenchError(f"downloading {component.name} failed: {said}") from error


@contextmanager
def _store_of(asked: Asked) -> Iterator[Path]:
    """The folder of a run's store; one that goes afterwards where nothing is to be kept."""
    from bench.display import console
    from bench.store.store import check_store, place

    root = place(asked.store)
    new = asked.dry_run and not root.exists()  # which a look at the plan is not to make
    if new:
        console.print(f"the store {root} does not exist yet")
    if new or (asked.check and not asked.store):  # it would only repeat what it has said before
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            yield Path(name)
        return
    check_store(root)
    yield root


@contextmanager
def _stoppable() -> Iterator[None]:
    """Inside, a request to end is as Ctrl-C: what is complete is published.

    One that follows is ignored, since some who ask send both signals; they can still kill.
    """
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_DFL]

    def stop(number: int, frame: object) -> None:
        for one in numbers:  # not SIG_IGN: of one that is on its way Python would print a traceback
            signal.signal(one, lambda *_: None)
        raise KeyboardInterrupt

    for number in numbers:  # not what `nohup` has had ignored
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
