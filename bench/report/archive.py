"""The condensed sets that boards keep, as one table with a file to take from each row."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean
from typing import TYPE_CHECKING

from bench.board.sets import FOLDER, KeptSet
from bench.report.model import COUNT, PERCENT, PLAIN, Cell, Column, Name, Section, Table, Value
from bench.report.numbers import scales

if TYPE_CHECKING:
    from bench.report.index import Entry

KINDS = {"U8": "bytes", "F32": "floats", "I64": "indices of training images"}
SAID = (
    "Each file is safetensors and needs nothing of this project: images [N, C, H, W] (bytes from "
    "0 to 255, without normalisation), labels [N] as numbers of classes in the data set's order or "
    "[N, K] as distributions over them, and `total`, how many classes there are. Of sets of real "
    "images it holds the indices, as `images` [N]. `bench export` writes one with pictures, labels "
    "[N, K] and a card."
)


def section(entries: Iterable[Entry]) -> tuple[Section, ...]:
    """The table; nothing where no board keeps a set."""
    rows = [_row(entry, one) for entry in entries for one in entry.sets]
    if not rows:
        return ()
    columns = (
        Column("File", key=True, left=True),
        *(Column(name, left=True) for name in ("Board", "Data set", "Method")),
        *(Column("IPC"), Column("Seed"), Column("Images"), Column("Of", left=True)),
        *(Column("Students"), Column("They have", left=True), Column("SHA-256", left=True)),
        Column("Made on", left=True),
    )
    return (Section("Condensed sets to take along", (Table(columns, tuple(rows), ((SAID,),)),)),)


def _row(entry: Entry, one: KeptSet) -> tuple[Cell, ...]:
    """The card of a set, and what the board's students had on this very set."""
    board, metric, column = entry.board, entry.board.metrics[0], entry.board.columns[0]
    scale = scales(board, entry.records).get(metric)
    found = [
        record.metrics[metric]
        for record in entry.records
        if record.content.get("set") == one.content
        and (record.dataset, record.method, record.ipc) == (one.dataset, one.method, one.ipc)
        and record.column == column
        and metric in record.metrics
    ]
    form = PERCENT if scale and scale.unit == "fraction" else PLAIN
    shape = " x ".join(map(str, one.shape[1:]))
    return (
        Name(one.file, url=f"{entry.name}/{FOLDER}/{one.file}"),
        Name(entry.name, url=f"{entry.name}/index.html"),
        *(Name(one.dataset), Name(one.method)),
        *(Value(one.ipc, form=COUNT), Value(one.seed, form=COUNT), Value(one.shape[0], form=COUNT)),
        Name(f"{KINDS.get(one.dtype, one.dtype)}{f', {shape}' if shape else ''}"),
        Value(len(found), form=COUNT),
        Name(f"{metric} {form.shown(mean(found))}{' %' if form.percent else ''}" if found else ""),
        *(Name(one.sha256), Name(one.machine)),
    )
