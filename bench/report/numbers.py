"""What stands on a board: its axes, how its metrics are read, and which attacks are joined.

Pure functions, and no torch. Attacks of one ball are joined image by image.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from msgspec import structs

from bench.board.matrix import Matrix
from bench.records.record import Scale
from bench.records.result import Result, at_step, both_of


@dataclass(frozen=True)
class Board:
    """The axes of a board's tables: only cells on them are shown, in their order.

    `methods`, `controls` and `ceiling` are the three roles of a method; those of `ceiling` stand
    on the full set, whose ipc is 0. The first of `metrics` is the main one.
    """

    title: str
    track: str
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    controls: tuple[str, ...]
    ceiling: tuple[str, ...]
    ipc: tuple[int, ...]
    labels: tuple[str, ...]
    architectures: tuple[str, ...]
    attacks: tuple[str, ...]
    metrics: tuple[str, ...]
    seeds: tuple[int, ...]
    evaluate: str = "test"  # the split that records are of
    samplers: tuple[str, ...] = ()
    checkpoints: tuple[int, ...] = ()
    frozen: str = ""  # why it is run no more
    baseline: str = ""  # the row that others are compared with
    starts: Mapping[str, str] = dataclasses.field(default_factory=dict)  # row -> its start
    twin: str = ""  # the board that judges the same sets otherwise
    question: str = ""
    scale: str = ""  # what is smaller here than in print

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the tables, but for the robust ones."""
        steps = (*self.checkpoints, 0)
        return (*self.attacks, *(at_step(s, step) for s in self.samplers for step in steps))

    @property
    def rows(self) -> tuple[tuple[int, str], ...]:
        """(ipc, method) of all rows: each method at each budget, and the ceilings."""
        return (
            *((ipc, m) for ipc in self.ipc for m in (*self.methods, *self.controls)),
            *((0, method) for method in self.ceiling),
        )

    @property
    def drawn(self) -> str:
        """What the intervals of its main metric are over: samples have no right or wrong."""
        return "seeds" if self.samplers else "seeds and test images"

    @property
    def every_method(self) -> tuple[str, ...]:
        """The methods of all roles."""
        return (*self.methods, *self.controls, *self.ceiling)

    def heading(self, dataset: str, architecture: str, labels: str) -> str:
        """A place by name; a denoiser is told a class, so that its labels say nothing."""
        said = f" · {labels} labels" if self.attacks else ""
        return f"{dataset} · {architecture}{said}"

    def role(self, method: str) -> str:
        """ "method", "control" or "ceiling"."""
        if method in self.ceiling:
            return "ceiling"
        return "control" if method in self.controls else "method"


def board_of(matrix: Matrix) -> Board:
    """What the tables need to know of a board."""
    names = {f.name for f in dataclasses.fields(Board)}
    return Board(**{name: getattr(matrix, name) for name in names})


ROW = ("dataset", "architecture", "labels", "ipc", "method")

row_of = attrgetter(*ROW)
"""The row of a result."""


def on_board(board: Board, records: Iterable[Result]) -> list[Result]:
    """The results that stand on the board's axes, measured or declined: all that pages show.

    Whatever shows a board's results, or says something of them, is given these.
    """
    budgets = {
        **{method: set(board.ipc) for method in (*board.methods, *board.controls)},
        **{method: {0} for method in board.ceiling},
    }
    shown = {*board.columns}
    return [
        record
        for record in records
        if record.evaluate == board.evaluate
        and record.dataset in board.datasets
        and record.ipc in budgets.get(record.method, ())
        and record.labels in board.labels
        and record.architecture in board.architectures
        and record.column in shown
        and record.seed in board.seeds
    ]


def scales(board: Board, records: Iterable[Result]) -> dict[str, Scale]:
    """How to read each measured metric; where results disagree, as most of them have it."""
    counts: dict[str, Counter[Scale]] = defaultdict(Counter)
    every = [*records]
    said = {id(record.scales): record.scales for record in every}  # a few, of a whole board
    for (number, metrics), n in Counter((id(r.scales), (*r.metrics,)) for r in every).items():
        for metric in metrics:
            scale = said[number][metric]
            read = Scale(better=scale.better, unit=scale.unit, of=scale.of)
            counts[metric][read] += n
    return {
        metric: max(found, key=lambda read: (found[read], read.better, read.unit, read.of))
        for metric in board.metrics
        if (found := counts[metric])
    }


def qualifying(board: Board, scales: Mapping[str, Scale]) -> tuple[str, ...]:
    """The metrics of a board's probes by which no row is the best: they say how its main figure is
    to be read, and stand beside it. So do those of sets that generators are trained on."""
    looked = ("probe", "set") if board.samplers else ("probe",)
    return tuple(
        name
        for name in board.metrics[1:]
        if name in scales and scales[name].better == "neither" and scales[name].of in looked
    )


def on_one_scale(board: Board, records: Sequence[Result]) -> list[Result]:
    """Results without the figures that stand on another scale than most of their metric.

    Such a figure cannot stand in a table with the others; the result says so as it says of a
    figure that was declined.
    """
    typical = {metric: _read(scale) for metric, scale in scales(board, records).items()}
    found = []
    for record in records:
        read = {m: _read(record.scales[m]) for m in record.metrics if m in typical}
        if other := {m for m in read if read[m] != typical[m]}:
            refused = dict.fromkeys(other, "measured on another scale than most; run it again")
            left = {m: value for m, value in record.metrics.items() if m not in other}
            both = {"metrics": left, "refused": record.refused | refused}
            record = structs.replace(record, **both)
        found.append(record)
    return found


def _read(scale: Scale) -> tuple[str, str]:
    return scale.better, scale.unit


def moves(record: Result) -> bool:
    """Did the attack change a pixel of some image? The clean images are an attack that did not."""
    return any(moved.max > 0 for moved in record.perturbation.values())


def ball(record: Result) -> str:
    """The ball of a record's attack, as in "linf 8/255", or "" if it stays in none."""
    return _ball(record.norm, record.eps)


def _ball(norm: str, eps: float | None) -> str:
    return f"{norm} {radius(eps)}" if norm else ""


@cache
def radius(eps: float) -> str:
    """A radius in pixels of [0, 1], as people write it: "8/255" where that is it, or "0.123"."""
    steps = round(eps * 255)
    is_fraction = 0 < steps < 255 and abs(eps - steps / 255) < 1e-4
    return f"{steps}/255" if is_fraction else f"{eps:.6g}"


def balls(board: Board, records: Iterable[Result]) -> dict[tuple[str, str], tuple[str, ...]]:
    """(dataset, column) of every robust column -> the attacks that an image must withstand.

    These are the clean images and all attacks of one ball, in the order of the board; a corruption
    is in no ball and takes no part. A ball of one attack has no robust column: it would repeat the
    attack's own.
    """
    members: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    seen = (
        (r.dataset, r.norm, r.eps, r.column) for r in records if r.ok and (r.norm or not moves(r))
    )
    for dataset, norm, eps, column in dict.fromkeys(seen):  # a few, in the order of the records
        members[dataset][_ball(norm, eps)].add(column)
    return {
        (dataset, f"robust {name}"): tuple(
            attack for attack in board.columns if attack in attacks | of_dataset.get("", set())
        )
        for dataset, of_dataset in members.items()
        for name, attacks in of_dataset.items()
        if name and len(attacks) > 1
    }


_place = attrgetter(*ROW, "seed")


def robust(board: Board, records: Sequence[Result]) -> list[Result]:
    """Records of one more attack a ball: right under everything in `balls`, image by image.

    A seed is left out where one of the attacks is missing, looked at other images or attacked
    another student; an attack that declines the cell is not missing. The figure stands under the
    metrics that are the fraction of right images wherever they are given, and that each of the
    attacks has.
    """
    shown = [record for record in records if record.correct]
    metrics = [
        metric
        for metric in board.metrics
        if all(
            metric not in record.metrics or abs(record.metrics[metric] - record.share) < 1e-5
            for record in shown
        )
    ]
    cells: dict[tuple[Any, ...], dict[str, Result]] = defaultdict(dict)
    for record in shown:
        cells[_place(record)][record.column] = record
    declined = {(*_place(record), record.column) for record in records if not record.ok}
    derived = []
    for (dataset, joint), attacks in balls(board, records).items():
        inside = {"", joint.removeprefix("robust ")}
        for place, cell in cells.items():
            if place[0] != dataset:
                continue
            asked = [a for a in attacks if (*place, a) not in declined]
            found = [cell[a] for a in asked if a in cell and ball(cell[a]) in inside]
            joined = [m for m in metrics if all(m in r.metrics for r in found)]
            seen = {(r.images_hash, r.images, r.content.get("student", "")) for r in found}
            whole = len(found) == len(asked) and any(ball(record) for record in found)
            if whole and len(seen) == 1 and joined:
                correct = both_of(*(record.correct for record in found))
                right = structs.replace(found[0], correct=correct, attack=joint)
                metrics_of = dict.fromkeys(joined, right.share)
                derived.append(structs.replace(right, metrics=metrics_of))
    return derived


def columns(board: Board, records: Iterable[Result]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Data set -> the columns of its tables -> the attacks that each takes together.

    First the board's attacks (of one attack each), then the robust columns.
    """
    found = balls(board, records).items()
    robust_columns = sorted(found, key=lambda item: [*map(board.columns.index, item[1]), item[0]])
    return {
        dataset: {attack: (attack,) for attack in board.columns}
        | {joint: attacks for (name, joint), attacks in robust_columns if name == dataset}
        for dataset in board.datasets
    }
