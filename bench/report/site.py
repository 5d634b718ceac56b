"""Boards -> a folder of HTML pages that opens from disk, and asks nothing of a network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import import_module, resources
from pathlib import Path

from bench.board import sets
from bench.board.matrix import read as read_matrix
from bench.contract.errors import BenchError
from bench.contract.files import resolved, write_bytes, write_text
from bench.records.files import read_all
from bench.records.result import Result
from bench.report import html, index, plots, published
from bench.report.folder import page_of
from bench.report.frames import frame_of
from bench.report.matched import Printed
from bench.report.model import Page, Picture, Plot, blocks
from bench.report.numbers import Board, board_of, on_board

HOME = Path("leaderboards")
ASSETS = ("datatables.js", "datatables-LICENSE.txt", "site.css", "site.js")


def build(out: Path, boards: Iterable[Path] = ()) -> Path:
    """Write the pages of boards below `out`, or of all boards below `HOME`; the index's path.

    What else lies in `out` stays. Raises BenchError where there is no board, where two boards have
    one name, and where `out` is a board or is in one.
    """
    folders = _folders(out, tuple(boards))
    for name in ASSETS:
        asset = resources.files("bench.report").joinpath("assets", name)
        write_bytes(out / "assets" / name, asset.read_bytes())
    entries = [_board(folder, out / resolved(folder).name) for folder in folders]
    readmes = dict.fromkeys(resolved(folder).parents[1] / "README.md" for folder in folders)
    about = {
        name: answer
        for readme in readmes
        if readme.is_file()
        for name, answer in index.answers(readme.read_text("utf-8")).items()
    }
    first = index.build(entries, about)
    write_text(out / "index.html", html.rendered(first, html.Around("assets/")))
    return out / "index.html"


def _folders(out: Path, asked: Sequence[Path]) -> list[Path]:
    folders = list(asked) or sorted(path.parent for path in HOME.glob("*/matrix.toml"))
    if not folders:
        raise BenchError(
            f"there is no board in {HOME}/; name folders with a matrix.toml, as in: bench site OUT "
            "BOARD"
        )
    names: dict[str, Path] = {}
    for folder in folders:
        name, whole = resolved(folder).name, resolved(out)
        if resolved(folder) in (whole, *whole.parents):
            raise BenchError(f"{out} is in the board {folder}; expected another folder to write")
        if name in {*names, "assets"}:
            other = names.get(name, out / "assets")
            raise BenchError(f"{folder} would be written over {other}; rename one of them")
        names[name] = folder
    return folders


def _board(folder: Path, out: Path) -> index.Entry:
    """Write what a board shows; its entry on the index."""
    found, board = read_all(folder), board_of(read_matrix(folder))
    records = on_board(board, found.results)
    made = _with_plots(page_of(folder, found), board, records, published.read(folder, board).values)
    shown = [block for _, block in blocks(made)]
    drawn = _draw([block for block in shown if isinstance(block, Plot)], out)
    for block in shown:
        if isinstance(block, Picture):
            _copy(folder, block.file, out)
    write_text(
        out / "index.html", html.rendered(made, html.Around(up="../index.html", drawn=drawn))
    )
    write_text(out / html.FIGURES, html.figures_script(made.figures))
    kept = sets.read(folder)
    for one in kept:
        _copy(folder, f"{sets.FOLDER}/{one.file}", out)
    version = found.version(records)
    return index.Entry(out.name, board, made, tuple(records), _changed(folder), kept, version)


def _changed(folder: Path) -> str:
    """The day of a board's last commit, as 2026-11-30; "" where there is none, or no git.

    Records hold no date, so that it is asked for when a site is built, and on no committed page.
    """
    command = ["git", "-C", str(folder), "log", "-1", "--format=%cs", "--", "."]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _with_plots(
    made: Page, board: Board, records: Sequence[Result], in_print: Sequence[Printed]
) -> Page:
    """A page and its plots; these are no part of it, since a library that may lack draws them."""
    table = frame_of(made)
    drawn = plots.sections(board, records, table, in_print) if len(table) else ()
    return replace(made, rest=(*drawn, *made.rest))


def _copy(folder: Path, file: str, out: Path) -> None:
    """Copy a picture or a set of a board, unless it is missing or lies elsewhere."""
    source = folder / file
    inside = os.path.realpath(source).startswith(os.path.realpath(folder) + os.sep)
    if inside and source.is_file():
        write_bytes(out / file, source.read_bytes())


def _draw(plots: Sequence[Plot], out: Path) -> bool:
    """Write plots as SVG; False where the library that draws them is not installed."""
    if not plots:
        return True
    try:
        draw = import_module("vl_convert").vegalite_to_svg
    except ModuleNotFoundError:
        return False
    for plot in plots:
        write_text(out / html.plot_file(plot), draw(plot.spec))
    return True
