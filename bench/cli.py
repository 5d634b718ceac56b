"""The command line. Exit codes: 0 fine, 1 something failed, 2 bad input, 130 interrupted.

Interrupted is a run that Ctrl-C, SIGTERM or SIGHUP has ended; what had finished is published.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.contract.errors import BenchError

if TYPE_CHECKING:
    from bench.board.components import Components
    from bench.board.matrix import Cell
    from bench.contract.registry import Registry
    from bench.engine.results import Ran
    from bench.engine.scheduler import Engine
    from bench.stages.plan import Plan
    from bench.store.store import Store

app = typer.Typer(
    name="bench",
    help="Compare dataset-condensation methods: one matrix, plugins, leaderboards.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def main() -> None:
    """The `bench` command."""
    try:
        app()
    except (BenchError, OSError) as error:  # no room, no permission: its text names the file
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer makes this of a KeyboardInterrupt
            said = "interrupted; what has finished is kept; run the same command to go on"
            print(f"bench: {said}", file=sys.stderr)
        raise


@app.command()
def plugins(
    strict: Annotated[bool, typer.Option(help="Exit 1 if a plugin is broken.")] = False,
) -> None:
    """List what is installed, who brings it, and what is broken."""
    from rich.table import Table

    from bench.contract.kinds import KINDS
    from bench.contract.registry import discover
    from bench.display import console

    registry = discover()
    for kind in KINDS:
        entries = registry.of(kind)
        if not entries:
            continue
        table = Table(title=f"{kind}s", title_justify="left", box=None, pad_edge=False)
        for column in ("name", "what it is", "from"):
            table.add_column(column, overflow="fold")
        for entry in entries.values():
            table.add_row(entry.name, entry.about, f"{entry.distribution} {entry.version}")
        console.print(table, "")
    for broken in registry.broken:
        console.print(
            f"broken: {broken.distribution} {broken.version}: {broken.reason}", style="red"
        )
    if not registry.entries and not registry.broken:
        console.print("no plugin is installed; try: pip install -r ci/plugins.txt")
    if strict and registry.broken:
        raise typer.Exit(FAILED)


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Components; all that are installed if none.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Components at a time; 0: one a core.", min=0)] = 0,
) -> None:
    """Check the contract on installed components."""
    from bench.checks.isolated import check_apart
    from bench.contract.registry import discover
    from bench.display import console, show_verdicts

    registry = discover()
    _check_names(names or (), registry)
    entries = [e for e in registry.entries if not names or e.name in names]
    failed = 0
    for entry, verdicts in check_apart(entries, jobs or _cores()):
        show_verdicts(entry, verdicts)
        failed += sum(verdict.status == "failed" for verdict in verdicts)
    for broken in registry.broken:
        if not names or any(name in names for _, name in broken.names):
            console.print(f"broken: {broken.distribution}: {broken.reason}", style="red")
            failed += 1
    console.print(f"{failed} failed" if failed else "every check passed")
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def run(
    board: Annotated[Path, typer.Argument(help="A folder with a matrix.toml.")],
    methods: Annotated[str, typer.Option(help="Only these methods, as A,B.")] = "",
    only: Annotated[
        list[str] | None, typer.Option(help="Only part of an axis, as ipc=10 or seed=0,1.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Stages at a time; 0: one a core.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    store: Annotated[Path | None, typer.Option(help="Finished stages [.bench].")] = None,
    into: Annotated[
        Path | None, typer.Option(help="Write to this folder; the board is only read.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="First fetch data and weights that are missing.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Show and price the plan; run nothing.")] = False,
    check: Annotated[
        bool, typer.Option(help="Recompute; change nothing; exit 1 if records disagree.")
    ] = False,
    sample: Annotated[int, typer.Option(help="With --check: so many cells.", min=0)] = 0,
) -> None:
    """Run a board: what is missing of its stages, then its records and tables."""
    from bench import display
    from bench.board.check import resolve
    from bench.board.matrix import read
    from bench.contract.registry import discover
    from bench.engine.estimate import survey
    from bench.engine.results import chosen_cells, run
    from bench.engine.scheduler import Engine
    from bench.records.files import read as read_records
    from bench.report import published, verify
    from bench.report.folder import copied, stale
    from bench.store.store import Store

    matrix = read(board)
    published.read(board)  # what is wrong with it is said before hours of work, not after
    if sample and not check:
        raise BenchError("--sample goes with --check")
    if into and (check or dry_run):
        raise BenchError(
            f"--into {into} goes with neither --check nor --dry-run: they write nothing"
        )
    components = resolve(matrix, discover(), board)
    cells = chosen_cells(matrix, _listed(methods), _filters(only))
    _check_device(device)
    records = read_records(board)
    lost = verify.missing(cells, records)
    if download:
        _download(components, cells)
    if check and sample:
        cells = verify.sample(cells, sample, _salt(board))
    home = copied(board, into) if into else board
    with _store_of(store, check, dry_run) as root:
        with display.following() as listen, _stoppable():
            engine = Engine(components, Store(root), jobs or _cores(), device, listen, home)
            plan = engine.plan(cells)
            if dry_run:
                display.show_survey(
                    survey(plan, engine.store, engine.key_of, records), plan, engine.jobs
                )
                return
            listen.expect(len(plan.stages))
            ran = run(engine, plan)
        display.show_failures(ran, engine.store)
        if check:
            if ran.interrupted:
                raise typer.Exit(INTERRUPTED)
            wrong = lost + verify.disagreements(records, ran.records) + stale(board)
            display.show_list(wrong, f"{len(ran.records)} records recomputed: all hold")
            raise typer.Exit(FAILED if wrong or ran.cells_failed else 0)
        _keep_networks(home, plan, engine)
        refused = _publish(home, ran, engine.store)
        if into and ran.records:
            display.console.print(verify.compared(records, ran.records, str(board)))
    if ran.interrupted:
        raise typer.Exit(INTERRUPTED)
    if ran.cells_failed or refused:
        raise typer.Exit(FAILED)


@app.command()
def leaderboard(
    boards: Annotated[list[Path], typer.Argument(help="Folders with matrix.toml and records.")],
    check: Annotated[bool, typer.Option(help="Exit 1 if a table is not up to date.")] = False,
) -> None:
    """Make the tables of boards from their records."""
    from bench.display import console, show_list
    from bench.report.folder import stale, write_tables

    wrong: list[str] = []
    for board in boards:
        if check:
            wrong += stale(board)
        else:
            for name in write_tables(board):
                console.print(f"wrote {board / name}")
    if check:
        show_list(wrong, "every table is up to date")
        raise typer.Exit(FAILED if wrong else 0)


def _publish(board: Path, ran: Ran, store: Store) -> list[str]:
    """Write what a run has given, and show it. Returns why records were refused."""
    from bench.display import console, show_tables
    from bench.records.files import sift
    from bench.records.record import coordinate
    from bench.report.folder import publish
    from bench.store.store import waiting

    sound, refused = sift(ran.records)
    for sentence in refused:
        console.print(f"failed: {sentence}", style="red")
    if not sound:
        return refused
    pictured = {
        coordinate(record): store.folder(probe.stage, probe.key) / "pictures.safetensors"
        for record, probe in ran.probes
    }
    with waiting(board / "matrix.toml", f"writes to {board}"):  # with a store of its own, perhaps
        names = publish(board, sound, pictured)
    show_tables(board)
    console.print(f"wrote {', '.join(str(board / name) for name in names)} and {board / 'records'}")
    return refused


def _keep_networks(board: Path, plan: Plan, engine: Engine) -> None:
    """Keep with the board what its metrics have looked with, and say so."""
    from bench.display import console
    from bench.stages import evaluator

    for name, stage in plan.looking.items():
        found = engine.store.find(stage.kind, engine.key_of(stage, {}))
        path = board / evaluator.FOLDER / name
        if found and not found.unsupported and evaluator.keep(board, name, found, engine.store):
            console.print(f"wrote {path}: metrics look with it, so commit it with the records")
        elif found and not found.unsupported and not path.exists():
            console.print(f"{name} is too large to be kept: only its hash is")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _filters(only: Sequence[str] | None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in only or ():
        key, equals, values = item.partition("=")
        if not equals or not _listed(values):
            raise BenchError(f"--only {item}: expected KEY=VALUE, as in --only ipc=10")
        found.setdefault(key.strip(), []).extend(_listed(values))
    return found


def _check_names(names: Sequence[str], registry: Registry) -> None:
    """Raise BenchError for a name that no component has, not even a broken one."""
    from bench.contract.fields import suggest

    known = {entry.name for entry in registry.entries}
    known |= {name for broken in registry.broken for _, name in broken.names}
    for name in names:
        if name not in known:
            hint = f"{suggest(name, known)} (`bench plugins` lists what is installed)"
            if registry.broken:
                which = "; ".join(f"{b.distribution} ({b.reason})" for b in registry.broken)
                hint += f"; perhaps it is in a plugin that is broken: {which}"
            raise BenchError(f"there is no component '{name}'{hint}")


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
def _store_of(store: Path | None, check: bool, dry_run: bool) -> Iterator[Path]:
    """The folder of a run's store; one that goes afterwards where nothing is to be kept."""
    from bench.display import console

    root = store or Path(".bench")
    new = dry_run and not root.exists()  # which a look at the plan is not to make
    if new:
        console.print(f"the store {root} does not exist yet")
    if new or (check and not store):  # the store would only repeat what it has said before
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            yield Path(name)
        return
    _check_store(root)
    yield root


@contextmanager
def _stoppable() -> Iterator[None]:
    """Inside, a request to end is as Ctrl-C: what has finished is published."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_DFL]
    for number in numbers:  # not what `nohup` has had ignored
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _check_store(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        writable = os.access(root, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise BenchError(f"--store {root} is no folder that can be written to; name another")


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    refused = f"--device {device} cannot be used here"
    if not re.fullmatch(r"mps|cuda(:\d+)?", device):
        raise BenchError(f"{refused}; expected cpu, cuda, cuda:N (a number) or mps")
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise BenchError(f"{refused}: {str(error).splitlines()[0]}") from None


def _salt(board: Path) -> str:
    """The commit that is checked out, so that nobody can choose which cells are recomputed."""
    import subprocess

    command = ["git", "-C", str(board), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
