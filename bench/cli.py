"""The command line: what can be asked, and how a command ends."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.commands.asked import BAD_INPUT, FAILED, INTERRUPTED, Asked, Interrupted
from bench.commands.limited import LEFT
from bench.contract.errors import BenchError, TimeOver, refusal

EXIT_CODES = (
    "Exit codes: 0 all is well; 1 something failed, or does not hold; 2 bad input; 75 the time was "
    "over and work is left; 130 interrupted by Ctrl-C, SIGTERM or SIGHUP, when what was complete "
    "has been published."
)

app = typer.Typer(
    name="bench",
    help="Compare dataset-condensation methods: plugins bring them, boards say what to run.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The `bench` command."""
    gc.set_threshold(100_000)  # plans and records live to the end: no garbage to look for
    # on many threads, NumPy's small products take twenty times the CPU; torch has its own threads
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show is escaped
    try:
        app(prog_name="bench")
    except Interrupted as end:
        print(f"bench: {end}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except TimeOver as end:
        print(f"bench: {end}", file=sys.stderr)
        sys.exit(LEFT)
    except (BenchError, OSError) as error:  # no room, no permission
        told = refusal(error) if isinstance(error, OSError) else error
        print(f"bench: {told}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer makes this of a KeyboardInterrupt
            said = "interrupted; what has finished is kept; run the same command to go on"
            print(f"bench: {said}", file=sys.stderr)
        raise


def _version(asked: bool) -> None:
    import bench

    if asked:
        print(f"condensation-bench {bench.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it, and end."),
    ] = False,
) -> None: ...


@app.command()
def plugins(
    names: Annotated[
        list[str] | None, typer.Argument(help="Show these in full, as `bench show` does.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a plugin is broken.")
    ] = False,
) -> None:
    """List the components that are installed, and plugins that are broken; or show some in full."""
    from bench.commands.check import check_names
    from bench.commands.show import show as show_them
    from bench.contract.registry import discover
    from bench.display import console, show_broken, show_plugins

    registry = discover(again=True)
    check_names(names or (), registry)
    show_them(registry, names or ())
    if not names:
        show_plugins(registry)
    show_broken(b for b in registry.broken if not names or {n for _, n in b.names} & set(names))
    if not registry.entries and not registry.broken:
        console.print("no plugin is installed; try: pip install -r ci/plugins.txt")
    if strict and registry.broken:
        raise typer.Exit(FAILED)


@app.command()
def show(
    names: Annotated[list[str], typer.Argument(help="Names of components.")],
) -> None:
    """Show components in full: what they are, fields with defaults and meanings, and source."""
    plugins(names)


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Check these components; all if none is named.")
    ] = None,
    board: Annotated[
        Path | None, typer.Option(help="Check the components of this board, with its fields.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Components at a time; 0: one a core.", min=0)] = 0,
) -> None:
    """Check that components keep the contract: those installed, or those of a board."""
    from bench.commands import check as command

    if command.check(names or (), board, jobs):
        raise typer.Exit(FAILED)


AGAINST = "With --check: what this commit has must stand, as of origin/main."
DIFFERING = "With --check: only cells that differ from this commit."
STAGES = "Make only these kinds of stages, as in condense,train."
REMEASURED = "Records of these methods may change and vanish."


def _flag(name: str, help: str) -> Any:
    """An option that is off unless it is given."""
    return typer.Option(f"--{name}", help=help)


@app.command(epilog=EXIT_CODES)
def run(
    board: Annotated[Path, typer.Argument(help="A folder with a matrix.toml.")],
    methods: Annotated[str, typer.Option(help="Run only these methods, as in A,B.")] = "",
    only: Annotated[
        list[str] | None, typer.Option(help="Run only part of an axis, as in ipc=10 or seed=0,1.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(help="Stages at a time; 0: one a core, or one a GPU.", min=0)
    ] = 0,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1 or mps; several as in cuda:0,cuda:1.")
    ] = "cpu",
    store: Annotated[
        Path | None, typer.Option(help="Folder of finished stages; $BENCH_STORE, or .bench.")
    ] = None,
    into: Annotated[Path | None, typer.Option(help="Write there; only read the board.")] = None,
    download: Annotated[bool, _flag("download", "First fetch missing data.")] = False,
    dry_run: Annotated[bool, _flag("dry-run", "Show and price the plan.")] = False,
    why: Annotated[bool, _flag("why", "With --dry-run: say why stages are made again.")] = False,
    check: Annotated[bool, _flag("check", "Recompute; compare with records.")] = False,
    sample: Annotated[
        int, typer.Option(help="With --check: only so many cells; 0: all.", min=0)
    ] = 0,
    against: Annotated[str, typer.Option(help=DIFFERING)] = "",
    salt: Annotated[str, typer.Option(help="With --sample: draw as an earlier check did.")] = "",
    keep_checked: Annotated[
        bool, _flag("keep-checked", "With --check: say in checked.jsonl what held (nightly).")
    ] = False,
    missing: Annotated[bool, _flag("missing", "Only cells without a record that holds.")] = False,
    keep_teachers: Annotated[
        bool, _flag("keep-teachers", "Give the board its teachers (1 MB each at most).")
    ] = False,
    keep_sets: Annotated[
        bool, _flag("keep-sets", "Give the board its sets at IPC 1 and 10.")
    ] = False,
    retrain_teachers: Annotated[
        bool, _flag("retrain-teachers", "Train the board's networks again, and compare.")
    ] = False,
    minutes: Annotated[
        float, typer.Option(help="End by then, with checkpoints; 0: when all is done.", min=0)
    ] = 0,
    stages: Annotated[str, typer.Option(help=STAGES)] = "",
    engine: Annotated[
        str, typer.Option(help="local, or slurm: in jobs of a cluster (docs/running.md).")
    ] = "local",
) -> None:
    """Run what a board lacks, and write its records and pages.

    Complete cells are published while the run goes on; the same command goes on after a crash.
    """
    given = {
        **locals(),
        "methods": _methods(methods),
        "only": _filters(only),
        "stages": _listed(stages),
    }
    from bench.commands import run as command

    if code := command.run(Asked(**given)):  # whose fields have the names of the options
        raise typer.Exit(code)


@app.command()
def leaderboard(
    boards: Annotated[list[Path], typer.Argument(help="Folders with a matrix.toml and records.")],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a board does not hold.")
    ] = False,
    against: Annotated[str, typer.Option(help=AGAINST, metavar="COMMIT")] = "",
    remeasured: Annotated[str, typer.Option(help=REMEASURED, metavar="A,B")] = "",
    review: Annotated[
        Path | None, typer.Option(help="With --against: write what a reviewer sees, as Markdown.")
    ] = None,
) -> None:
    """Write the pages of boards from their records."""
    from bench.commands import leaderboard as command

    gc.disable()  # records and pages live to the end, and hold no circles
    asked = command.Asked(boards, check, against, _listed(remeasured), review)
    if code := command.leaderboard(asked):
        raise typer.Exit(code)


@app.command(epilog=EXIT_CODES)
def submit(
    board: Annotated[Path, typer.Argument(help="A folder with a matrix.toml and your records.")],
    against: Annotated[
        str, typer.Option(help="The commit that it is held against.", metavar="COMMIT")
    ] = "origin/main",
    remeasured: Annotated[str, typer.Option(help=REMEASURED, metavar="A,B")] = "",
    sample: Annotated[int, typer.Option(help="Measure so many cells again.", min=0)] = 0,
    jobs: Annotated[int, typer.Option(help="As of `bench run`.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="As of `bench run`.")] = "cpu",
) -> None:
    """Check all that CI will check of your rows, and show what a reviewer will see.

    It sends nothing and writes nothing.
    """
    from bench.commands import submit as command

    asked = command.Asked(board, against, _listed(remeasured), sample, jobs, device)
    if code := command.submit(asked):
        raise typer.Exit(code)


@app.command()
def audit(
    places: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Boards, or files of tables; all of leaderboards/ and docs/literature/ if none.",
            metavar="[BOARDS]...",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the page, as docs/literature.md.")] = None,
) -> None:
    """Say which orderings in print hold, tested against their own ±."""
    from bench.commands import audit as command

    command.audit(places or (), out)


@app.command()
def site(
    out: Annotated[Path, typer.Argument(help="The folder to write; files of ours are replaced.")],
    boards: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders with a matrix.toml; all of leaderboards/ if none is named."),
    ] = None,
) -> None:
    """Build HTML pages of boards, with an index, to be opened from disk or served."""
    from bench.display import console
    from bench.report.site import build

    console.print(f"open {build(out, boards or ())}")


@app.command()
def row(
    board: Annotated[Path, typer.Argument(help="A folder with a matrix.toml and records.")],
    method: Annotated[str, typer.Argument(help="A method, control or ceiling of it.")],
    ipc: Annotated[int | None, typer.Option(help="Only this budget; 0: the full set.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only this data set.")] = None,
    architecture: Annotated[str | None, typer.Option(help="Only this network.")] = None,
    labels: Annotated[str | None, typer.Option(help="Only these labels.")] = None,
) -> None:
    """Explain rows: settings, recipe, versions, machine, hashes, and the command for each."""
    from bench.commands import row as command

    where = {"ipc": ipc, "dataset": dataset, "architecture": architecture, "labels": labels}
    command.row(board, method, where)


@app.command()
def export(
    board: Annotated[Path, typer.Argument(help="A folder with a matrix.toml.")],
    method: Annotated[str, typer.Argument(help="A method or control of it.")],
    ipc: Annotated[int, typer.Argument(help="Images per class.", min=0)],
    seed: Annotated[int | None, typer.Option(help="The board's first if none.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The board's first if none.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="A new folder; named by the set if none.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder of finished stages; $BENCH_STORE, or .bench.")
    ] = None,
) -> None:
    """Write a condensed set for others: tensors, PNGs, and a card."""
    from bench.commands import export as command
    from bench.display import console

    console.print(f"wrote {command.export(board, method, ipc, seed, dataset, out, store)}")


@app.command("import")
def import_(
    paths: Annotated[
        list[Path],
        typer.Argument(help=".pt, .npz or safetensors files, or a folder of class folders."),
    ],
    board: Annotated[Path, typer.Option(help="The board whose data set it is of.")],
    out: Annotated[Path, typer.Option(help="A new .safetensors file.")],
    dataset: Annotated[str, typer.Option(help="The board's first if none.")] = "",
    stored: Annotated[
        str,
        typer.Option(help="pixels, bytes, normalised or zca (whitened); found out if none."),
    ] = "",
    which: Annotated[int | None, typer.Option(help="Of several sets in a file, from 0.")] = None,
    logits: Annotated[bool, typer.Option(help="Soft labels are logits.")] = False,
    store: Annotated[
        Path | None, typer.Option(help="Folder of finished stages; .bench if none.")
    ] = None,
) -> None:
    """Bring a condensed set, as its authors' code wrote it, into the form of `prebuilt`."""
    from bench.commands.imported import Asked, write

    for line in write(paths, board, Asked(dataset, stored, which, logits), out, store):
        print(line)


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="method, teacher, architecture, attack, ...")],
    name: Annotated[str, typer.Argument(help="What boards will call it.")],
    into: Annotated[Path | None, typer.Option(help="A new folder; bench-NAME if none.")] = None,
) -> None:
    """Write a plugin to start from: one component, its package and its test."""
    from bench.commands import new as command
    from bench.display import console

    folder = command.new(kind, name, into)
    install = "pip install --no-deps --no-build-isolation --editable"
    console.print(f"wrote {folder}; next: {install} {folder} && bench check {name}")


@app.command()
def convert(
    boards: Annotated[list[Path], typer.Argument(help="Folders with a matrix.toml and records.")],
) -> None:
    """Bring records of an older form into that of today; others stay as they are."""
    from bench.display import console
    from bench.records.convert import convert as converted
    from bench.records.files import read

    for board in boards:
        count = converted(board)
        read(board)  # what is of a newer form, or damaged, is no record of today
        said = f"{count} records converted" if count else "nothing to convert"
        console.print(f"{board}: {said}")


@app.command()
def store(
    boards: Annotated[
        list[Path] | None,
        typer.Argument(help="Results that none of these boards needs are of no use."),
    ] = None,
    place: Annotated[
        Path | None,
        typer.Option("--store", help="Folder of finished stages; $BENCH_STORE, or .bench."),
    ] = None,
    prune: Annotated[bool, _flag("prune", "Remove what is of no use.")] = False,
) -> None:
    """Show what a store holds, and what of it is of no use: left by runs, or for no board."""
    from bench.commands import store as command

    command.store(boards or (), place, prune)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _methods(text: str) -> list[str]:
    found = _listed(text)
    if text and not found:
        raise BenchError(f"--methods {text!r} names no method; expected names, as in A,B")
    return found


def _filters(only: Sequence[str] | None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in only or ():
        key, equals, values = item.partition("=")
        if not equals or not _listed(values):
            raise BenchError(f"--only {item}: expected KEY=VALUE, as in --only ipc=10")
        found.setdefault(key.strip(), []).extend(_listed(values))
    return found
