"""The first screen of a page: who wins, by how much, is that significant, and at what cost.

A table for each place (a data set, an architecture, a regime of labels) has the main metric in the
first column of attacks or samplers, the best row of each budget first, and beside it the metrics
that have no best row: they say how it is to be read. A board with more rows than
a screen holds shows the first ones of each budget and the baseline, and says how many it leaves
out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean
from typing import Any

from bench.records.record import Scale
from bench.records.result import Result
from bench.report.costs import MADE
from bench.report.figures import Figures
from bench.report.model import (
    COUNT,
    KEYS,
    PERCENT,
    PLAIN,
    Block,
    Cell,
    Column,
    Form,
    Items,
    Name,
    Paragraph,
    Section,
    Span,
    Table,
    Value,
    budget,
    budget_named,
    few,
)
from bench.report.numbers import Board, columns, qualifying
from bench.report.relations import noted
from bench.report.standing import ASKED, Key, Standing, Standings
from bench.report.statistics import LEVEL, Difference

ROWS = 72  # of all tables together
LEAST = 3  # rows of a budget, beside the baseline
STARTS = "Over its start: what recovery has added to the images that it started from."
UNCERTAIN = "not significant at 5 %, the comparisons of an IPC taken together (Holm)"
PASSES = (
    "Passes: images that went through a network, forward or back, to make one set, its teacher "
    "included."
)
UNPAIRED = "not paired: another teacher, protocol or seeds"

Place = tuple[str, str, str]
Made = tuple[str, str, int, str]  # a set: data set, labels, IPC, method


@dataclass(frozen=True)
class _View:
    """What the tables of the first screen show of a board."""

    board: Board
    metric: str
    scale: Scale
    main: str  # the column by which rows are sorted
    hard: Mapping[str, str]  # data set -> the column of the hardest attack, if any
    figures: Figures
    standings: Standings
    passes: Mapping[Made, float]  # of condensation
    flags: Mapping[tuple[Any, ...], tuple[str, ...]]  # of a figure, by its key without the metric
    beside: Mapping[str, Scale]  # metrics by which no row is the best

    @property
    def form(self) -> Form:
        return PERCENT if self.scale.rate else PLAIN

    def key(self, place: Place, ipc: int, method: str, column: str, metric: str = "") -> Key:
        return (*place, ipc, method, column, metric or self.metric)


def blocks(
    board: Board,
    records: Sequence[Result],
    figures: Figures,
    scale: Mapping[str, Scale],
    standings: Standings,
) -> tuple[Block, ...]:
    """The blocks of the first screen; none where the main metric has no figure."""
    metric = board.metrics[0]
    if metric not in scale or not (main := _main(board, figures)):
        return ()
    hard = {dataset: _hardest(board, dataset, main, figures) for dataset in board.datasets}
    beside = {name: scale[name] for name in qualifying(board, scale)}
    more = _passes(records), _flags(board, records), beside
    view = _View(board, metric, scale[metric], main, hard, figures, standings, *more)
    places = product(board.datasets, board.architectures, board.labels)
    groups = {place: found for place in places if (found := _groups(view, place))}
    count = sum(len(found) for found in groups.values())
    most = max(LEAST, ROWS // max(count, 1))
    parts = [
        Section(board.heading(*place), _blocks(view, place, of_place, most))
        for place, of_place in groups.items()
    ]
    return (_winners(view, groups), *parts, _legend(view, standings))


def _main(board: Board, figures: Figures) -> str:
    """The first column that has a figure of the main metric."""
    filled = {key[5] for key in figures if key[6] == board.metrics[0]}
    wanted = board.samplers or board.attacks
    return next((column for column in wanted if column in filled), "")


def _hardest(board: Board, dataset: str, main: str, figures: Figures) -> str:
    """Of the columns that most rows have, the one that leaves least standing; "" if none."""
    if not board.attacks:
        return ""
    sums: dict[str, list[float]] = defaultdict(list)
    for (of, _, _, _, _, column, metric), row in figures.items():
        if of == dataset and column != main and metric == board.metrics[0]:
            sums[column].append(row["mean"])
    if not sums:
        return ""
    return max(sums, key=lambda column: (len(sums[column]), -fmean(sums[column]), column))


def _passes(records: Sequence[Result]) -> dict[Made, float]:
    """Images through a network, forward and back, that making a set has cost, teacher included.

    A set that needs no teacher with hard labels costs one where a teacher labels it.
    """
    found: dict[Made, dict[str, float]] = defaultdict(dict)
    sets: dict[Made, set[str]] = defaultdict(set)
    for record in records:
        key = (record.dataset, record.labels, record.ipc, record.method)
        for role in MADE:
            if role in record.passes and role in record.content:
                spent = record.passes[role]
                found[key][record.content[role]] = spent.forward + spent.backward
        if "set" in record.content:
            sets[key].add(record.content["set"])
    return {k: math.fsum(spent.values()) / max(len(sets[k]), 1) for k, spent in found.items()}


def _flags(board: Board, records: Sequence[Result]) -> dict[tuple[Any, ...], tuple[str, ...]]:
    """What is odd about figures: a robust one has the flags of all attacks behind it."""
    said: dict[tuple[Any, ...], dict[str, None]] = defaultdict(dict)
    heads = columns(board, records)
    for record in records:
        for column, attacks in heads[record.dataset].items():
            if record.flags and record.column in attacks:
                place = (record.dataset, record.architecture, record.labels)
                notes = noted(record, joined=len(attacks) > 1)
                said[*place, record.ipc, record.method, column] |= dict.fromkeys(notes)
    return {key: tuple(sorted(notes)) for key, notes in said.items()}


def _groups(view: _View, place: Place) -> dict[int, list[str]]:
    """The methods of each budget that have a figure, the best first."""
    sign = -1 if view.scale.better == "higher" else 1
    found: dict[int, list[tuple[float, int, str]]] = defaultdict(list)
    for position, (ipc, method) in enumerate(view.board.rows):
        row = view.figures.get(view.key(place, ipc, method, view.main))
        if row:
            order = sign * row["mean"] if view.scale.better != "neither" else 0.0
            found[ipc].append((order, position, method))
    return {ipc: [method for _, _, method in sorted(rows)] for ipc, rows in found.items()}


# ---- who wins


def _winners(view: _View, groups: Mapping[Place, Mapping[int, Sequence[str]]]) -> Items:
    """One line a place: who leads at each budget, and who is not distinguishable from that."""
    return Items(
        tuple(
            (Span(view.board.heading(*place), "strong"), f": {_leaders(view, place, of_place)}")
            for place, of_place in groups.items()
        )
    )


def _leaders(view: _View, place: Place, groups: Mapping[int, Sequence[str]]) -> str:
    said = []
    for ipc, methods in groups.items():
        if ipc:
            key = {method: view.key(place, ipc, method, view.main) for method in methods}
            mean = {m: view.form.shown(view.figures[key[m]]["mean"]) for m in methods}
            leading = [m for m in methods if view.standings.get(key[m]).leads]
            if not leading:
                said.append(f"IPC {ipc} {methods[0]} {mean[methods[0]]} (not ranked)")
                continue
            first, tied = leading[0], few(leading[1:])
            ahead = few([f"{m} {mean[m]}" for m in methods[: methods.index(first)]])
            unranked = f"{ahead} (not ranked), then " if ahead else ""  # too few seeds, perhaps
            beside = f" (tied: {tied})" if tied else ""
            said.append(f"IPC {ipc} {unranked}{first} {mean[first]}{beside}")
    return f"{'; '.join(said)}." if said else ""


# ---- tables


def _blocks(
    view: _View, place: Place, groups: Mapping[int, Sequence[str]], most: int
) -> tuple[Block, ...]:
    board = view.board
    hard = view.hard[place[0]]
    shown = {ipc: _chosen(board, methods, most) for ipc, methods in groups.items()}
    baseline = board.baseline
    percent = ", %" if view.scale.rate else ""
    heads = (
        *(*KEYS, Column("Rank")),
        Column(f"{view.metric}, {view.main}{percent}"),
        *(Column(f"{name}, %" if one.rate else name) for name, one in view.beside.items()),
        *([Column(f"Over {baseline}")] if baseline else []),
        *([Column("Over its start")] if board.starts else []),
        *([Column(f"{hard}{percent}")] if hard else []),
        *(Column("Bytes"), Column("Passes")),
    )
    rows = tuple(
        _row(view, place, ipc, method) for ipc, methods in shown.items() for method in methods
    )
    left = {ipc: len(methods) - len(shown[ipc]) for ipc, methods in groups.items()}
    said = "; ".join(f"{budget_named(ipc)}: {n}" for ipc, n in left.items() if n)
    table = Table(heads, rows)
    return (table, Paragraph((f"Further rows, below these: {said}.",))) if said else (table,)


def _chosen(board: Board, methods: Sequence[str], most: int) -> list[str]:
    """The first ones, and the baseline."""
    if len(methods) <= most + 1:
        return list(methods)
    first = list(methods[:most])
    missing = board.baseline in methods and board.baseline not in first
    return [*first, board.baseline] if missing else first


def _row(view: _View, place: Place, ipc: int, method: str) -> tuple[Cell, ...]:
    board = view.board
    key = view.key(place, ipc, method, view.main)
    stands, hard = view.standings.get(key), view.hard[place[0]]
    itself = ipc == 0 or method == board.baseline
    spent = view.passes.get((place[0], place[2], ipc, method))
    return (
        *(budget(ipc), Name(method, board.role(method)), _rank(stands, ipc), _figure(view, key)),
        *(_mean(view, view.key(place, ipc, method, view.main, name)) for name in view.beside),
        *([_over(None if itself else stands.over, view.form)] if board.baseline else []),
        *([_over(stands.beyond, view.form)] if board.starts else []),
        *([_figure(view, view.key(place, ipc, method, hard))] if hard else []),
        *(Value(view.figures[key]["bytes"], form=COUNT), Value(spent, form=COUNT)),
    )


def _rank(stands: Standing, ipc: int) -> Cell:
    if not ipc or not stands.ranks:
        return Value()
    low, high = stands.ranks
    return Name(str(low) if low == high else f"{low} to {high}")


def _figure(view: _View, key: Key) -> Value:
    row, stands = view.figures.get(key), view.standings.get(key)
    if row is None:
        return Value()
    interval = stands.interval
    n, seeds = row["n"], len(view.board.seeds)
    notes = (*([f"{n} of {seeds} seeds"] if n < seeds else []), *view.flags.get(key[:-1], ()))
    best = stands.tied
    return Value(row["mean"], None, n, view.form, best=best, interval=interval, notes=notes)


def _mean(view: _View, key: Key) -> Value:
    """The figure of a metric by which no row is the best."""
    row = view.figures.get(key)
    form = PERCENT if view.beside[key[6]].rate else PLAIN
    return Value(row["mean"], n=row["n"], form=form) if row else Value()


def _over(difference: tuple[Difference, float] | None, form: Form) -> Value:
    if difference is None:
        return Value()
    (found, p), signed = difference, replace(form, number=f"+{form.number}")
    notes = (*(() if p <= LEVEL else [UNCERTAIN]), *(() if found.paired else [UNPAIRED]))
    mean = found.estimate.mean
    return Value(mean, None, found.seeds, signed, interval=found.estimate.interval, notes=notes)


def _legend(view: _View, standings: Standings) -> Items:
    more = f"; {ASKED} seeds would tell about {standings.with_more}"
    more = more if standings.with_more > standings.separable else ""
    told = f"{standings.separable} of {standings.adjacent} adjacent ranks of this board"
    return Items(
        (
            (
                f"In brackets: 95 % intervals, over {view.board.drawn}. ",
                *(Span("Bold", "strong"), ": not distinguishable from the best at 5 %. "),
                *(Span("Italics", "emphasis"), ": controls."),
            ),
            (
                "Rank: the places that a row may have at 5 % (Holm). ",
                f"{told} are told apart{more}." if standings.adjacent else "",
            ),
            *([(STARTS,)] if view.board.starts else []),
            *([(_read_by(view),)] if view.beside else []),
            (PASSES,),
        )
    )


def _read_by(view: _View) -> str:
    *first, last = view.beside
    names = f"{', '.join(first)} and {last}" if first else last
    return f"By {names} no row is the best: how {view.metric} is to be read depends on it."
