"""`bench row`: what is known of a row of a board."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract.errors import BenchError
from bench.contract.fields import suggest

if TYPE_CHECKING:
    from bench.board.matrix import Matrix


def row(folder: Path, method: str, where: Mapping[str, Any]) -> None:
    """Print the rows of a method; `where` are values of axes, or None.

    Raises BenchError for what is not on the board, and where there is no such record.
    """
    from bench.board.matrix import read
    from bench.display import console
    from bench.records import checked
    from bench.records.files import read_whole
    from bench.report import published
    from bench.report.console import show
    from bench.report.numbers import board_of, on_board
    from bench.report.row import rows

    matrix = read(folder)
    board = board_of(matrix)
    asked = {name: value for name, value in where.items() if value is not None}
    known = {
        "method": board.every_method,
        "ipc": (*board.ipc, *((0,) if board.ceiling else ())),
        "dataset": board.datasets,
        "architecture": board.architectures,
        "labels": board.labels,
    }
    for name, value in {"method": method, **asked}.items():
        if value not in known[name]:
            hint = suggest(str(value), map(str, known[name]))
            raise BenchError(f"{name} '{value}' is not on this board{hint}")
    budgets = [str(n) for n, name in board.rows if name == method]
    if "ipc" in asked and str(asked["ipc"]) not in budgets:
        raise BenchError(
            f"{method} has no row of ipc {asked['ipc']}; expected {' or '.join(budgets)}"
            + (" (the full set)" if budgets == ["0"] else "")
        )
    in_print, found = published.read(folder, board).values, read_whole(folder)
    held, provider = checked.read(folder), _provider(matrix, method)
    where = {"method": method, **asked}
    shown = rows(board, found.results, str(folder), in_print, held, provider, **where)
    if not shown:
        only = "".join(f" --only {name}={value}" for name, value in asked.items())
        raise BenchError(
            f"{folder} has no record of {method} there; run: bench run {folder} --methods "
            f"{method}{only}"
        )
    show(console, shown)
    console.print(f"version of {folder}: {found.version(on_board(board, found.results))}")


def _provider(matrix: Matrix, method: str) -> str:
    """The distribution that has a method of a board."""
    from bench.contract.registry import discover

    installed = method
    while derived := matrix.define.get(("method", installed)):
        installed = derived["base"]
    for entry in discover().entries:
        if (entry.kind, entry.name) == ("method", installed):
            return f"{entry.distribution} (here: {entry.version})"
    return "none that is installed here"
