"""The files of a board's folder: written from what a run has given, and found out of date."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from bench.board import networks, sets
from bench.board.matrix import read as read_matrix
from bench.contract.errors import BenchError
from bench.contract.files import resolved, write_text
from bench.records.files import Board as Records
from bench.records.files import edited, read_all, write
from bench.records.result import Result, merge, with_earlier_figures
from bench.report import galleries, page, pictures, published, tiers, twins
from bench.report.model import Page, Section
from bench.report.numbers import Board, board_of, on_board
from bench.report.verify import misstated


def publish(
    board: Path,
    new: Iterable[Result],
    pictured: Mapping[tuple[str | int, ...], Path],
    grids: Mapping[str, Callable[[], galleries.Grid]],
    neighbours: Mapping[str, Callable[[], tuple[galleries.Grid, galleries.Grid] | None]],
) -> list[str]:
    """Write results (valid ones), pictures and tables; the names of the tables.

    `pictured` says where the pictures of a result's cell are kept; `grids` makes the images of a
    condensed set by the hash of its content, `neighbours` also the real ones nearest to these. The
    caller holds the board.
    What an earlier run, or somebody's editor, has left there that is no record stays as it is.
    """
    results, axes = add_results(board, new), board_of(read_matrix(board))
    shown = on_board(axes, results)
    drawn = pictures.write(board, axes, shown, pictured)
    drawn += galleries.write(board, axes, shown, grids, neighbours)
    return write_tables(board, drawn)


def add_results(board: Path, new: Iterable[Result]) -> list[Result]:
    """Write results (valid ones) beside those that a board has; all of them."""
    old = read_all(board)
    results = merge(old.results, with_earlier_figures(old.results, new, read_matrix(board).metrics))
    write(board, results, old.preserved)
    return results


def stale(board: Path) -> list[str]:
    """What does not follow from the records of a board, or is not there, and what to do."""
    found, axes = read_all(board), board_of(read_matrix(board))
    shown = on_board(axes, found.results)
    wrong = [*found.sentences(board), *edited(board), *misstated(board, found.results)]
    wrong += [
        f"{board / name} is not what the records say; run: bench leaderboard {board}"
        for name in page.check(board, page.files(page_of(board, found)))
    ]
    wrong += [
        f"{board / name} is missing; run: bench run {board}"
        for name in pictures.missing(board, axes, shown)
    ]
    return wrong + pictures.edited(board) + networks.wrong(board, shown) + sets.wrong(board)


def write_tables(board: Path, drawn: Iterable[str] = ()) -> list[str]:
    """Write the page and the table that follow from the records of a board; their names.

    `drawn` are pictures that are new, whose hashes are noted.
    """
    pictures.note_sums(board, drawn)
    tables = page.files(page_of(board))
    for name, text in tables.items():
        write_text(board / name, text)
    return list(tables)


def page_of(board: Path, read: Records | None = None) -> Page:
    """The page that follows from the records of a board (those `read`, if they are at hand), and
    the pictures of sets it has."""
    found, axes = read or read_all(board), board_of(read_matrix(board))
    faults = tuple(map(str, found.faults))
    results = on_board(axes, found.results)
    in_print = published.read(board, axes)
    built = page.build(axes, results, in_print, faults, found.version(results))
    shown = galleries.sections(board, axes, results)
    return replace(
        built,
        summary=(*built.summary, *_beside(board, axes, results)),
        rest=(*tiers.sections(board, axes, results), *built.rest, *shown),
    )


def _beside(board: Path, axes: Board, results: list[Result]) -> tuple[Section, ...]:
    """The ranks of its sets here and on its twin, if it has one; or that there is no such board.

    Raises BenchError for a twin of the same track.
    """
    other = resolved(board).parent / axes.twin
    if not axes.twin:
        return ()
    if not (other / "matrix.toml").is_file():
        return (twins.absent(axes.twin),)
    theirs = board_of(read_matrix(other))
    if theirs.track == axes.track:
        raise BenchError(
            f"{board}: twin is {axes.twin!r}, whose track is {theirs.track!r}, too; expected "
            "a board of the other track"
        )
    there = on_board(theirs, read_all(other).results)
    return twins.sections(twins.Side(axes, results), twins.Side(theirs, there), axes.twin)
