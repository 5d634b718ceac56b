"""What a method's images add: its figures minus those of the board's baseline, labels alike.

With labels of a good teacher even real images by chance do well, so that an accuracy says little
of the images. Both sides of a difference have the same labels here: those of one teacher, where a
teacher labels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any

from bench.records.record import Scale
from bench.records.result import Result
from bench.report.model import (
    KEYS,
    Cell,
    Column,
    Form,
    Name,
    Paragraph,
    Section,
    Span,
    Table,
    Value,
    budget,
)
from bench.report.numbers import Board, moves, row_of, scales
from bench.report.standing import Known, row_for
from bench.report.statistics import difference

HARD = "hard"  # labels that no teacher gives
GAIN = {True: Form("+.1f", percent=True), False: Form("+.4g")}  # of a rate, of others


@dataclass(frozen=True)
class Gain:
    """A method minus the baseline in one row, at the seeds that both have; `interval` at 95 %.

    `over` is the row that has the baseline's images and the method's labels: the baseline, or
    another that differs from it in the teacher alone. Not `paired`: the two were labelled by
    networks that are alike, but were trained twice.
    """

    dataset: str
    architecture: str
    labels: str
    ipc: int
    method: str
    over: str
    mean: float
    interval: tuple[float, float] | None  # None for one seed
    n: int  # seeds that both have
    paired: bool
    of_method: float  # mean over the common seeds
    of_baseline: float


Place = tuple[str, str, str, int]  # data set, architecture, labels, IPC


def gains(board: Board, records: Sequence[Result], baseline: str) -> tuple[Gain, ...]:
    """The gain of every method in every place that both sides have, by the main metric.

    `records` are those on the board (`numbers.on_one_scale`), of which the `natural` column counts.
    Rows with the baseline's own images
    have none, nor has what no row with the same labels can be held against. Nothing without a
    baseline.
    """
    cells: dict[tuple[Place, int], dict[str, Result]] = defaultdict(dict)
    column, metric = natural(board, records), board.metrics[0]
    for r in records:
        if r.ok and r.column == column:
            place = (r.dataset, r.architecture, r.labels, r.ipc)
            cells[place, r.seed][r.method] = r
    pairs: dict[tuple[Place, str], list[tuple[Result, Result]]] = defaultdict(list)
    for (place, _), cell in sorted(cells.items()):
        twins = _twins(cell, baseline)
        for method in cell.keys() - twins.keys():
            if peer := _peer(cell[method], twins.values()):
                pairs[place, method].append((cell[method], peer))
    found = (_gain(place, method, metric, both) for (place, method), both in sorted(pairs.items()))
    return tuple(gain for gain in found if gain)


def natural(board: Board, records: Sequence[Result]) -> str:
    """The first column whose images are as they are, of a training its end; "" if there is none."""
    measured = {record.column for record in records if record.ok}
    moved: set[str] = set()
    for record in records:
        if record.column not in moved and moves(record):
            moved.add(record.column)
    ends = (*board.attacks, *board.samplers)  # not the checkpoints before them
    return next((c for c in ends if c in measured and c not in moved), "")


def _twins(cell: Mapping[str, Result], baseline: str) -> dict[str, Result]:
    """The baseline, first, and the rows that have its very images."""
    if baseline not in cell:
        return {}
    images = cell[baseline].content.get("set", baseline)
    same = (m for m, record in cell.items() if record.content.get("set") == images)
    return {method: cell[method] for method in (baseline, *sorted(same))}


def _peer(record: Result, twins: Iterable[Result]) -> Result | None:
    """The twin that was measured as the record was; rather one that the same network labels."""
    alike = [twin for twin in twins if _measured_as(twin) == _measured_as(record)]
    return min(alike, key=lambda twin: _network(twin) != _network(record), default=None)


def _measured_as(record: Result) -> list[Any]:
    """What both sides of a difference share: images, protocol, and how the labeller is trained."""
    kinds = ("teacher", "backbone") if record.labels != HARD else ()
    labeller = [(record.about.get(kind), record.parameters.get(kind)) for kind in kinds]
    return [record.images_hash, record.protocol, labeller]


def _network(record: Result) -> str:
    """The hash of the network that labels; "" where none does."""
    return record.content.get("teacher", "") if record.labels != HARD else ""


def _gain(
    place: Place, method: str, metric: str, pairs: Sequence[tuple[Result, Result]]
) -> Gain | None:
    common = [(a, b) for a, b in pairs if metric in a.metrics and metric in b.metrics]
    n = len(common)
    if not n:
        return None
    ours, theirs = ([float(r.metrics[metric]) for r in side] for side in zip(*common, strict=True))
    known = Known()
    rows = (row_for(method, metric, side, known) for side in zip(*common, strict=True))
    return Gain(
        *(*place, method),
        over=" / ".join(dict.fromkeys(b.method for _, b in common)),
        mean=fmean(a - b for a, b in zip(ours, theirs, strict=True)),
        interval=difference(*rows).estimate.interval,
        n=n,
        paired=all(_network(a) == _network(b) for a, b in common),
        of_method=fmean(ours),
        of_baseline=fmean(theirs),
    )


# ---- the page


def sections(board: Board, records: Sequence[Result]) -> tuple[Section, ...]:
    """ "Images or labels?", where a teacher labels and there is a baseline; else nothing."""
    column, metric, baseline = natural(board, records), board.metrics[0], board.baseline
    regimes = sorted({r.labels for r in records if r.ok}, key=lambda labels: labels != HARD)
    scale = scales(board, records).get(metric)
    if not baseline or not column or not scale or {*regimes} <= {HARD}:
        return ()
    found = {
        (g.dataset, g.architecture, g.labels, g.ipc, g.method): g
        for g in gains(board, records, baseline)
    }
    alone = {
        row_of(r): None for r in records if r.ok and r.column == column and metric in r.metrics
    }
    parts = []
    for dataset, architecture in product(board.datasets, board.architectures):
        place = (dataset, architecture)
        of_place = {k[2:]: g for k, g in (alone | found).items() if k[:2] == place}
        if any(of_place.values()):
            table = _table(board, of_place, regimes, scale)
            parts.append(Section(f"{dataset} · {architecture} · {column}", (table,)))
    said = (
        "What a method's images add: its gain over ",
        *(
            Span(baseline, "code"),
            " with the same labels, from the same teacher where one labels. ",
        ),
        "Near 0, the labels do the work, not the images.",
    )
    return (Section("Images or labels?", (Paragraph(said), *parts)),) if parts else ()


def _table(
    board: Board,
    found: Mapping[tuple[str, int, str], Gain | None],
    regimes: Sequence[str],
    scale: Scale,
) -> Table:
    """Rows that have a gain in some regime; `found` is None where nothing is there to compare."""
    baseline = board.baseline
    heads = (
        *KEYS,
        *(Column(f"{labels} labels: gain over {baseline}") for labels in regimes),
    )
    rows: list[tuple[Cell, ...]] = []
    for ipc, method in board.rows:
        spots = [(labels, ipc, method) for labels in regimes]
        if any(found.get(spot) for spot in spots):
            lonely = Value(
                notes=(f"no row has the images of {baseline} and labels of its teacher",)
            )
            values = (
                _value(board, gain, scale)
                if (gain := found.get(spot))
                else (lonely if spot in found else Value())
                for spot in spots
            )
            rows.append((budget(ipc), Name(method, board.role(method)), *values))
    unit = ", in points" if scale.rate else ""
    better = "" if scale.better == "neither" else f" ({scale.better} is better)"
    caption = (
        f"{board.metrics[0]}{unit}{better}: method minus {baseline}, at the seeds "
        f"that both have; in brackets: 95 % intervals, over {board.drawn}."
    )
    return Table(heads, tuple(rows), ((caption,),))


def _value(board: Board, gain: Gain, scale: Scale) -> Value:
    """The cell of a gain, with notes of what the head of its column does not say."""
    notes, baseline = [], board.baseline
    if gain.over != baseline:
        notes.append(f"over {gain.over}: the images of {baseline}, and labels of the same teacher")
    if not gain.paired:
        notes.append("not paired: its teacher was trained on another machine, or by other code")
    if gain.n < len(board.seeds):
        notes.append(f"{gain.n} of {len(board.seeds)} seeds")
    return Value(
        *(gain.mean, None, gain.n, GAIN[scale.rate]), notes=tuple(notes), interval=gain.interval
    )
