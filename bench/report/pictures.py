"""What attacks do to a few test images, or what students sample: one picture for a row of a board.

Under attack, lines are test images. The first column is the clean image; each attack adds its
perturbation (grey is none, and black or white the largest of this picture) and the adversarial
image. Of samples, each sampler has a line for every class.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.contract.files import own, write_bytes, write_text
from bench.contract.keys import digest
from bench.records.result import Result
from bench.report.model import Paragraph, Picture, Section
from bench.report.numbers import Board, moves

if TYPE_CHECKING:
    from PIL import Image

FOLDER = "images"
SUMS = "SHA256SUMS"  # beside the pictures; `sha256sum --check` reads it
SIDE = 64  # a smaller image is enlarged, by whole factors, to about this
GAP = 4  # pixels of white between images

OWN = re.compile(r".+\.ipc-(all|\d+)\.[0-9a-f]{8}\.png")  # as `name_of` has it

OURS = re.compile(r".+\.[0-9a-f]{8}\.png")  # whatever a run draws

Pixels = NDArray[np.uint8]


def sheet(clean: Pixels, adversarial: Mapping[str, Pixels]) -> bytes:
    """A PNG with a line for each image [B, C, H, W], and two columns more for each attack."""
    columns = [clean]
    for attacked in adversarial.values():
        change = attacked.astype(float) - clean
        scale = 127 / max(1.0, np.abs(change).max())
        columns += [(128 + scale * change).astype(np.uint8), attacked]
    return samples(np.stack(columns, 1))


def samples(pixels: Pixels) -> bytes:
    """A PNG of samples [lines, columns, C, H, W]."""
    from PIL import Image

    return png(Image.fromarray(mosaic(pixels, SIDE, GAP)))


def mosaic(pixels: Pixels, side: int, gap: int) -> Pixels:
    """Images [lines, columns, C, H, W] as one, RGB [H, W, 3]: enlarged, with white between them."""
    factor = max(1, side // pixels.shape[3])
    large = pixels.repeat(factor, 3).repeat(factor, 4)
    framed = np.pad(large, ((0, 0),) * 3 + ((gap, 0),) * 2, constant_values=255)
    lines, columns, channels, height, width = framed.shape
    whole = framed.transpose(0, 3, 1, 4, 2).reshape(lines * height, columns * width, channels)
    rgb = whole.repeat(3, 2) if channels == 1 else whole
    return rgb[gap:, gap:]


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def name_of(attacked: Mapping[str, Result]) -> str:
    """The file of a row, below the board's folder; it tells of what its picture was made."""
    record = next(iter(attacked.values()))
    names = ("dataset", "architecture", *(["labels"] if record.attack else []), "method")
    axes = (getattr(record, axis) for axis in names)
    made_of = digest([[attack, one.content["probe"]] for attack, one in attacked.items()])
    return f"{FOLDER}/{'.'.join(axes)}.ipc-{record.ipc or 'all'}.{made_of[:8]}.png"


def rows(board: Board, records: Iterable[Result]) -> dict[str, dict[str, Result]]:
    """File -> column -> record, of the rows whose first seed was attacked or sampled from.

    Of the checkpoints of a training the last is shown, its end.
    """
    found: dict[tuple[int, ...], dict[str, Result]] = {}
    for record in records:
        first = record.seed == board.seeds[0] and record.ok
        shown = moves(record) if record.attack else not record.step
        if first and record.pictured and shown:
            found.setdefault(_place(board, record), {})[record.column] = record
    drawn = [
        {a: found[place][a] for a in board.columns if a in found[place]} for place in sorted(found)
    ]
    return {name_of(attacked): attacked for attacked in drawn}


def sections(board: Board, records: Iterable[Result]) -> tuple[Section, ...]:
    """The pictures on a board's page."""
    shown = rows(board, records)
    if not shown:
        return ()
    sampled = (
        f"Samples of the students of seed {board.seeds[0]}, for each sampler, a line a class; a "
        "row that generates nothing shows its images."
    )
    explained = (
        f"Test images under the attacks on seed {board.seeds[0]}: the clean image, then for each "
        "attack its perturbation (grey is none; the largest is black or white) and the adversarial "
        "image."
    )
    said = Paragraph((explained if board.attacks else sampled,))
    drawn = (_picture(board, name, attacked) for name, attacked in shown.items())
    return (Section("Pictures", (said, *drawn)),)


def _picture(board: Board, name: str, attacked: Mapping[str, Result]) -> Picture:
    record = next(iter(attacked.values()))
    words = [record.method, f"IPC {record.ipc or 'all'}"]
    words += [f"{record.labels} labels"] if board.attacks else []
    words += [record.architecture, record.dataset]
    columns = f"{'clean, ' if board.attacks else ''}{', '.join(attacked)}"
    return Picture(name, ", ".join(attacked), (f"{', '.join(words)}: {columns}",))


def missing(folder: Path, board: Board, records: Iterable[Result]) -> list[str]:
    """The pictures that a board's page shows and its folder lacks."""
    return [name for name in rows(board, records) if not (folder / name).is_file()]


def _place(board: Board, record: Result) -> tuple[int, ...]:
    return (
        board.datasets.index(record.dataset),
        board.architectures.index(record.architecture),
        board.labels.index(record.labels),
        record.ipc or max(board.ipc, default=0) + 1,
        board.every_method.index(record.method),
    )


def write(
    folder: Path,
    board: Board,
    records: Iterable[Result],
    pictured: Mapping[tuple[str | int, ...], Path],
) -> list[str]:
    """Draw the rows of a board whose probes are all at hand; what is of no row goes.

    `pictured` has the tensors of probes by coordinate. Returns the files that were drawn.
    """
    from safetensors.numpy import load_file

    shown = rows(board, records)
    let_go(folder, OWN, shown)
    made = []
    for name, attacked in shown.items():
        places = [pictured.get(record.coordinate) for record in attacked.values()]
        found = [load_file(place) for place in places if place]
        if len(found) < len(attacked):
            continue
        if "adversarial" in found[0]:
            changed = dict(zip(attacked, (one["adversarial"] for one in found), strict=True))
            drawn = sheet(found[0]["natural"], changed)
        else:
            drawn = samples(np.concatenate([one["samples"] for one in found]))
        write_bytes(folder / name, drawn)
        made.append(name)
    return made


def let_go(folder: Path, ours: re.Pattern[str], shown: Iterable[str]) -> None:
    """Delete the pictures of a board's folder that have a name of ours and are not shown."""
    names = {Path(name).name for name in shown}
    for file in own(folder / FOLDER).glob("*.png"):
        if ours.fullmatch(file.name) and file.name not in names:
            file.unlink()


# ---- what a run has drawn, and whether it is still that


def sums(folder: Path) -> dict[str, str]:
    """File, below the board's folder -> SHA-256, of the pictures that a board has noted."""
    path = folder / FOLDER / SUMS
    lines = path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else ()
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {f"{FOLDER}/{name}": known for known, name in pairs}


def note_sums(folder: Path, drawn: Iterable[str] = ()) -> None:
    """Note the hash of each picture that was drawn, or that has none; other lines stay.

    So a picture that somebody edits no longer has the hash that stands there.
    """
    there, known = _ours(folder), sums(folder)
    new = {*drawn, *(there.keys() - known.keys())}
    noted = {name: _sum(there[name]) if name in new else known[name] for name in sorted(there)}
    if noted or known:
        text = "".join(f"{of}  {name.removeprefix(f'{FOLDER}/')}\n" for name, of in noted.items())
        write_text(own(folder / FOLDER) / SUMS, text)


def edited(folder: Path) -> list[str]:
    """One sentence for each picture that is not the one that was drawn, or is not noted."""
    known, found = sums(folder), []
    for name, path in _ours(folder).items():
        if name not in known:
            found.append(f"{path} has no line in {SUMS}; run: bench leaderboard {folder}")
        elif _sum(path) != known[name]:
            found.append(
                f"{path} is not the picture that was drawn, whose hash is in {SUMS}; get it from "
                f"the repository again, or delete it and run: bench run {folder}"
            )
    return found


def _ours(folder: Path) -> dict[str, Path]:
    files = sorted((folder / FOLDER).glob("*.png"))
    return {f"{FOLDER}/{file.name}": file for file in files if OURS.fullmatch(file.name)}


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
