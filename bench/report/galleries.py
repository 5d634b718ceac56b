"""What condensed sets look like: one picture for each set of the first seed, a line a class.

They are drawn when a run publishes, from the tensors that its store keeps. A set whose tensors are
gone has no picture; the page says how many lack one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from bench.contract.files import write_bytes
from bench.records.result import Result
from bench.report.model import Paragraph, Picture, Section
from bench.report.numbers import Board
from bench.report.pictures import FOLDER, Pixels, let_go, mosaic, png

CLASSES, COLUMNS = 10, 10  # of a picture, at most
SIDE = 32  # an image is scaled, by whole factors, to about this
GAP = 2  # pixels of white between images
GREYS, COLOURS = 16, 64  # of a picture, which are enough to see what a set holds

OWN = re.compile(r"set\..+\.(all|\d+)\.[0-9a-f]{8}\.png")  # as `name_of` has it

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
    pictures = (_picture(board, name, record) for name, record in there.items())
    return (Section("Condensed images", (Paragraph((said,)), *pictures), folded=True),)


def _picture(board: Board, name: str, record: Result) -> Picture:
    words = f"{record.method}, IPC {record.ipc}"
    words += f", {record.dataset}" if len(board.datasets) > 1 else ""
    return Picture(name, words, (words,))


def write(
    folder: Path,
    board: Board,
    records: Iterable[Result],
    grids: Mapping[str, Callable[[], Grid]],
) -> list[str]:
    """Draw the sets that are at hand and have no picture yet; what is of no set goes.

    `grids` makes the grid of a set by the hash of its content. Returns the files that were drawn.
    """
    shown, made = sets(board, records), []
    let_go(folder, OWN, shown)
    for name, record in shown.items():
        make = grids.get(record.content["set"])
        if make and not (folder / name).is_file():
            write_bytes(folder / name, drawn(make()))
            made.append(name)
    return made
