"""`bench submit`: all that CI will ask of a submission, asked here; nothing is sent or written."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contract.errors import BenchError

if TYPE_CHECKING:
    from bench.board.matrix import Cell
    from bench.contract.registry import Entry, Registry
    from bench.records.result import Result

NAMED = ("method", "dataset", "architecture", "attack", "sampler")  # fields of a result


@dataclass(frozen=True)
class Asked:
    """What is submitted, and how much of it is measured again here."""

    board: Path
    against: str  # the commit that it is held against
    remeasured: Sequence[str]
    sample: int  # cells; 0: none
    jobs: int
    device: str


def submit(asked: Asked) -> int:
    """Check a submission and show what a reviewer sees; the exit code.

    Raises BenchError for bad input, and where the board differs in no record.
    """
    from bench.commands.leaderboard import held
    from bench.contract.registry import discover
    from bench.display import show_list

    if not asked.board.is_dir():  # of which git would say something else
        raise BenchError(f"there is no folder {asked.board}; expected a board that was run")
    wrong = held([asked.board], asked.against, asked.remeasured)
    if wrong:  # what does not hold by itself is not worth a run
        show_list(wrong, "")
        return 1
    new, base = _changes(asked)
    registry = discover()
    wrong = _contract(asked, registry, new, base) + _recomputed(asked, registry, new)
    show_list(wrong, f"all that is checked of {asked.board} holds; commit it, and {_line(asked)}")
    return 1 if wrong else 0


def _changes(asked: Asked) -> tuple[list[Result], list[Result]]:
    """The results that a submission adds or changes, and those of the base."""
    from bench.commands.against import at
    from bench.report import against

    with at(asked.board, asked.against) as folder:
        base, here = against.side(folder), against.side(asked.board)
    if not (new := against.new(base, here)):
        raise BenchError(
            f"no record of {asked.board} differs from those of {asked.against}; run the board "
            "first, as in: bench run BOARD --methods MINE"
        )
    return new, list(base.results)


def _contract(
    asked: Asked, registry: Registry, new: Sequence[Result], base: Sequence[Result]
) -> list[str]:
    """The checks of the methods that are submitted, and of what else the base has no record of."""
    from bench.commands.check import checked, configured
    from bench.display import console

    entries = _entries(configured(asked.board, registry), new, base)
    if checked(entries, registry, asked.jobs):
        return ["the contract is not kept; mend what failed: bench check shows it alone"]
    from_where = sorted({f"{e.distribution} {e.version}" for e in entries})
    console.print(f"they come from {', '.join(from_where)}: ci/plugins.txt must install that")
    return []


def _entries(board: Registry, new: Sequence[Result], base: Sequence[Result]) -> list[Entry]:
    def names(results: Sequence[Result]) -> set[tuple[str, str]]:
        found = {(kind, getattr(one, kind)) for one in results for kind in NAMED}
        return found | {("metric", name) for one in results for name in one.metrics}

    wanted = names(new) - names(base) | {("method", one.method) for one in new}
    return [entry for entry in board.entries if (entry.kind, entry.name) in wanted]


def _recomputed(asked: Asked, registry: Registry, new: Sequence[Result]) -> list[str]:
    """What a run here would describe in other words than the records, or measure otherwise."""
    from bench.board.check import resolve
    from bench.board.matrix import read
    from bench.commands import asked as of_run
    from bench.commands.run import run
    from bench.display import console, following
    from bench.engine import devices
    from bench.engine.missing import wanting
    from bench.engine.scheduler import Engine
    from bench.store.store import Store

    matrix, known = read(asked.board), {one.coordinate for one in new}
    cells = tuple(cell for cell in matrix.cells() if cell.coordinate in known)
    components = resolve(matrix, registry, asked.board)
    slots = devices.slots(asked.device, asked.jobs)
    with tempfile.TemporaryDirectory(prefix="bench-") as root, following() as listen:
        engine = Engine(components, Store(Path(root)), slots, listen, asked.board)
        faults = wanting(components, engine.plan(cells), new)
    wrong = [f"{asked.board}: {_words(cell)}: {said}" for cell, said in faults.items() if said]
    if wrong or len(faults) < len(cells):
        lost = len(cells) - len(faults)
        lacking = [f"{lost} of the cells cannot be planned here: their data cannot be loaded"]
        return (lacking if lost else []) + wrong
    console.print(f"{len(cells)} records say what a run would say here, of the same data")
    if not asked.sample:
        return []
    ended = run(
        of_run.Asked(
            asked.board,
            jobs=asked.jobs,
            device=asked.device,
            check=True,
            sample=asked.sample,
            against=asked.against,
        )
    )
    return ["what was measured again does not hold"] if ended else []


def _words(cell: Cell) -> str:
    return " ".join(map(str, cell.coordinate))


def _line(asked: Asked) -> str:
    again = "" if asked.sample else " (CI measures cells of it again, as --sample 6 does)"
    return f"open a pull request{again}"
