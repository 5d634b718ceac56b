"""What condensed sets look like: one picture for each set of the first seed, a line a class.

They are drawn when a run publishes, from the tensors that its store keeps. A set whose tensors are
gone has no picture; the page says how many lack one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.contract.files import own, write_bytes
from bench.records.result import Result
from bench.report.model import Paragraph, Picture, Section
from bench.report.numbers import Board
from bench.report.pictures import FOLDER, Pixels

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

    columns = max(len(line) for line in grid)
    lines = [np.concatenate([_framed(line, k) for k in range(columns)], axis=1) for line in grid]
    pixels = np.concatenate(lines)[:-GAP, :-GAP]
    grey = (pixels == pixels[..., :1]).all()
    image = Image.fromarray(pixels)
    if grey:
        image = Image.fromarray(pixels[..., 0]).quantize(GREYS)
    else:
        image = image.quantize(COLOURS, dither=Image.Dither.NONE)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _framed(line: Pixels, number: int) -> NDArray[np.uint8]:
    """An image of a line as RGB [H, W, 3] with white below and to the right; white if none is."""
    image = line[number] if number < len(line) else np.full_like(line[0], 255)
    rgb = np.repeat(image, 3, 0) if len(image) == 1 else image
    large, small = max(1, SIDE // rgb.shape[1]), max(1, rgb.shape[1] // SIDE)
    scaled = rgb[:, ::small, ::small].repeat(large, 1).repeat(large, 2).transpose(1, 2, 0)
    return np.pad(scaled, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


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
) -> None:
    """Draw the sets that are at hand and have no picture yet; what is of no set goes.

    `grids` makes the grid of a set by the hash of its content.
    """
    shown = sets(board, records)
    names = {Path(name).name for name in shown}
    for file in own(folder / FOLDER).glob("*.png"):
        if OWN.fullmatch(file.name) and file.name not in names:
            file.unlink()
    for name, record in shown.items():
        make = grids.get(record.content["set"])
        if make and not (folder / name).is_file():
            write_bytes(folder / name, drawn(make()))
