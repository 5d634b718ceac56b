"""`bench check`: do components keep the contract?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contract.errors import BenchError

if TYPE_CHECKING:
    from bench.contract.registry import Entry, Registry


def check(names: Sequence[str], board: Path | None, jobs: int) -> int:
    """Check components and show the verdicts; how many failed.

    Those of a board are checked with the fields that it sets. Raises BenchError for unknown names.
    """
    from bench.contract.registry import discover
    from bench.display import console, show_broken

    registry = discover()
    if board:
        registry = configured(board, registry)
    check_names(names, registry)
    failed = checked([e for e in registry.entries if not names or e.name in names], registry, jobs)
    wrong = [b for b in registry.broken if not names or any(n in names for _, n in b.names)]
    show_broken(wrong)
    failed += len(wrong)
    console.print(f"{failed} failed" if failed else "every check passed")
    return failed


def checked(entries: Sequence[Entry], registry: Registry, jobs: int) -> int:
    """Check some components, `jobs` at a time (0: one a core), and show it; how many failed."""
    from bench.checks.isolated import check_isolated
    from bench.display import show_verdicts
    from bench.engine.devices import cores

    failed = 0
    for entry, verdicts in check_isolated(entries, registry.names, jobs or cores()):
        show_verdicts(entry, verdicts)
        failed += sum(verdict.status == "failed" for verdict in verdicts)
    return failed


def configured(board: Path, registry: Registry) -> Registry:
    """What a board uses, with the fields that it sets: one entry for each setting."""
    from bench.board.check import resolve
    from bench.board.components import configured as set_by
    from bench.board.matrix import read
    from bench.contract.registry import Registry

    return Registry(set_by(resolve(read(board), registry, board)), registry.broken)


def check_names(names: Collection[str], registry: Registry) -> None:
    """Raise BenchError for a name that no component has, not even a broken one."""
    known = {entry.name for entry in registry.entries}
    known |= {name for broken in registry.broken for _, name in broken.names}
    for name in names:
        if name not in known:
            raise BenchError(f"there is no component '{name}'{registry.hint(name, known)}")
