"""What condensed sets look like: one picture for each set of the first seed, a line a class.

They are drawn when a run publishes, from the tensors that its store keeps. A set whose tensors are
gone has no picture; the page says how many lack one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from bench.contract.files import write_bytes
from bench.records.result import Result
from bench.report.model import Paragraph, Picture, Section
from bench.report.numbers import Board
from bench.report.pictures import FOLDER, Pixels, let_go, mosaic, png, samples

CLASSES, COLUMNS = 10, 10  # of a picture, at most
SIDE = 32  # an image is scaled, by whole factors, to about this
GAP = 2  # pixels of white between images
BESIDE = (
    "Images that were made stand a second time beside the real ones that are nearest, of their "
    "class and in pixels."
)
HALF = 127  # of the levels of a pixel
GREYS, COLOURS = 16, 64  # of a picture, which are enough to see what a set holds

TRIPLES = 3  # images of a class beside their nearest real ones, at most
MOST = 64  # times as large that a difference is shown, at most

OWN = re.compile(r"set\..+\.(all|\d+)\.[0-9a-f]{8}\.png")  # as `name_of` has it

NEAR = re.compile(r"near\..+\.(all|\d+)\.x(\d+)\.[0-9a-f]{8}\.png")  # as `compared` has it

Grid = list[Pixels]
"""Images [B, C, H, W] of each class; a class may have fewer than others."""


def drawn(grid: Grid) -> bytes:
    """A PNG of a grid, in few colours, so that it weighs little."""
    from PIL import Image

    columns = max(map(len, grid))
    small = max(1, grid[0].shape[2] // SIDE)
    lines = [
        np.pad(line, ((0, columns - len(line)), *((0, 0),) * 3), constant_values=255)
        for line in grid
    ]
    pixels = mosaic(np.stack(lines)[..., ::small, ::small], SIDE, GAP)
    if (pixels == pixels[..., :1]).all():
        return png(Image.fromarray(pixels[..., 0]).quantize(GREYS))
    return png(Image.fromarray(pixels).quantize(COLOURS, dither=Image.Dither.NONE))


def compared(own: Grid, real: Grid) -> tuple[int, bytes]:
    """How many times as large differences are shown, and a PNG: a line a class, and in it condensed
    images, each before the real one beside it and what it has more (lighter than grey) or less.
    """
    columns = min(TRIPLES, *map(len, own))
    one, other = (np.stack([line[:columns] for line in side]) for side in (own, real))
    change = one.astype(int) - other
    factor = MOST
    while factor > 1 and factor * np.abs(change).max() > HALF:
        factor //= 2
    shown = (HALF + 1 + factor * change).clip(0, 255).astype(np.uint8)
    triples = np.stack([one, other, shown], 2)  # [lines, columns, 3, C, H, W]
    return factor, samples(triples.reshape(len(own), 3 * columns, *one.shape[2:]))


def sets(board: Board, records: Iterable[Result]) -> dict[str, Result]:
    """File -> a record, of each set of the first seed; the full set is not condensed."""
    found: dict[tuple[int, int, int], Result] = {}
    methods = (*board.methods, *board.controls)
    for record in records:
        first = record.seed == board.seeds[0] and record.ok and record.pictured
        if first and record.method in methods and record.content.get("set"):
            place = (board.datasets.index(record.dataset), record.ipc)
            found.setdefault((*place, methods.index(record.method)), record)
    return {name_of(found[place]): found[place] for place in sorted(found)}


def name_of(record: Result) -> str:
    """The file of a set, below the board's folder; it tells of which tensors it was made."""
    made_of = record.content["set"][:8]
    return f"{FOLDER}/set.{record.dataset}.{record.method}.{record.ipc or 'all'}.{made_of}.png"


def sections(folder: Path, board: Board, records: Iterable[Result]) -> tuple[Section, ...]:
    """The pictures of sets that a board's folder has, folded; none if it has no sets to show."""
    shown = sets(board, records)
    if not shown:
        return ()
    there = {name: record for name, record in shown.items() if (folder / name).is_file()}
    said = (
        f"Condensed images of seed {board.seeds[0]}, a line a class: at most {CLASSES} classes, "
        f"and {COLUMNS} images of each."
    )
    lacking = len(shown) - len(there)
    if lacking:
        gone = f"{lacking} of {len(shown)} sets have no picture: their tensors were not at hand."
        said = f"{said} {gone}" if there else gone
    near = {name: [*_near(folder, board, record)] for name, record in there.items()}
    if any(near.values()):
        said = f"{said} {BESIDE}"
    pictures = [
        picture
        for name, record in there.items()
        for picture in (_picture(board, name, record), *near[name])
    ]
    return (Section("Condensed images", (Paragraph((said,)), *pictures), folded=True),)


def _picture(board: Board, name: str, record: Result) -> Picture:
    words = _named(board, record)
    return Picture(name, words, (words,))


def _named(board: Board, record: Result) -> str:
    more = f", {record.dataset}" if len(board.datasets) > 1 else ""
    return f"{record.method}, IPC {record.ipc}{more}"


def _near(folder: Path, board: Board, record: Result) -> Iterator[Picture]:
    """The set beside real images, if it was drawn so."""
    for path in _drawn_beside(folder, record):
        found = NEAR.fullmatch(path.name)
        times = f"{found[2]} times as large" if found and found[2] != "1" else "as it is"
        words = f"{_named(board, record)}: condensed, the nearest real image, and what differs"
        said = f"{words}, {times} (grey: nothing)"
        yield Picture(f"{FOLDER}/{path.name}", said, (said,))


def _drawn_beside(folder: Path, record: Result) -> list[Path]:
    return sorted(folder.glob(_name_beside(record, "*")))


def _name_beside(record: Result, factor: str) -> str:
    """The file of a set beside real images; it says how large differences are shown."""
    made_of, budget = record.content["set"][:8], record.ipc or "all"
    return f"{FOLDER}/near.{record.dataset}.{record.method}.{budget}.x{factor}.{made_of}.png"


def write(
    folder: Path,
    board: Board,
    records: Iterable[Result],
    grids: Mapping[str, Callable[[], Grid]],
    neighbours: Mapping[str, Callable[[], tuple[Grid, Grid] | None]],
) -> list[str]:
    """Draw the sets that are at hand and have no picture yet; what is of no set goes.

    `grids` makes the grid of a set by the hash of its content, `neighbours` also that of the
    nearest real images, or None. Returns the files that were drawn.
    """
    shown, made = sets(board, records), []
    let_go(folder, OWN, shown)
    kept = {path.name for record in shown.values() for path in _drawn_beside(folder, record)}
    let_go(folder, NEAR, kept)
    for name, record in shown.items():
        make = grids.get(record.content["set"])
        if make and not (folder / name).is_file():
            write_bytes(folder / name, drawn(make()))
            made.append(name)
        pair = neighbours.get(record.content["set"])
        if pair and not _drawn_beside(folder, record) and (both := pair()):
            factor, picture = compared(*both)
            made.append(_name_beside(record, str(factor)))
            write_bytes(folder / made[-1], picture)
    return made
