"""The tables of measured figures: a section for each metric, in it a table for each place.

A place is a data set, an architecture and a regime of labels. Rows are methods at a budget of
images, columns attacks or samplers.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from operator import attrgetter
from typing import Any

from bench.records.record import Scale
from bench.records.result import Result
from bench.report.consistency import (
    EVALUATOR,
    OF_COLUMN,
    OF_TABLE,
    Known,
    inconsistencies,
    recipe_of,
    typical,
    unusual,
)
from bench.report.figures import Figures
from bench.report.model import (
    COUNT,
    KEYS,
    PERCENT,
    PLAIN,
    Block,
    Cell,
    Column,
    Name,
    Paragraph,
    Section,
    Table,
    Value,
    budget,
    budget_named,
)
from bench.report.numbers import Board, ball, columns, row_of
from bench.report.relations import noted

UNKNOWN = Scale(better="neither")  # of a metric without a figure
Place = tuple[str, str, str]  # data set, architecture, labels
Spot = tuple[int, str, str]  # IPC, method, column: a cell of a table


@dataclass(frozen=True)
class _Shown:
    """What one table shows: a metric at a place."""

    board: Board
    metric: str
    scale: Scale
    heads: Mapping[str, tuple[str, ...]]  # columns and their attacks, several in a robust one
    cells: Mapping[Spot, Any]  # rows of `tidy`
    found: Mapping[Spot, Sequence[Result]]  # the records, also those that declined
    usual: Mapping[str, Any]  # what the records share
    odd: Mapping[int, Mapping[str, Any]]  # where they do not, by `id`

    @property
    def records(self) -> list[Result]:
        return [record for group in self.found.values() for record in group]

    @cached_property
    def settings(self) -> dict[str, set[str]]:
        """The settings of each attack or sampler that ran; several where cells differ."""
        settings: dict[str, set[str]] = {column: set() for column in self.board.columns}
        seen: dict[str, dict[Any, Result]] = {column: {} for column in settings}  # a few of each
        for (_, _, column), group in self.found.items():
            for r in group:
                seen[column].setdefault((r.ok, id(r.about), id(r.parameters), r.norm, r.eps), r)
        for column, distinct in seen.items():
            ran = (r for r in distinct.values() if r.ok and r.about.keys() & {*OF_COLUMN})
            settings[column] |= {*map(_attack, ran)}
        return settings


def sections(
    board: Board, records: Sequence[Result], figures: Figures, scale: Mapping[str, Scale]
) -> tuple[Section, ...]:
    """The sections of all metrics; none if there is nothing to show.

    `figures` are the rows of `tidy`, with `standing.with_standings`; `scale` is that of
    `numbers.scales`.
    """
    measured: dict[tuple[str, ...], dict[Spot, Any]] = defaultdict(dict)
    for (*place, ipc, method, column, metric), row in figures.items():
        measured[metric, *place][ipc, method, column] = row
    evidence: dict[Place, list[Result]] = defaultdict(list)
    for record in records:
        evidence[row_of(record)[:3]].append(record)
    usual: dict[Place, Mapping[str, Any]] = {}
    odd: dict[int, Mapping[str, Any]] = {}
    spots: dict[Place, dict[Spot, list[Result]]] = defaultdict(dict)
    known = Known()
    for at, found in evidence.items():
        spots[at] = _by_spot(found)
        shared = {id(record): known.shared_by(record) for record in found if record.ok}
        usual[at] = typical(shared.values())
        distinct = {id(one): one for one in shared.values()}
        apart = {number: unusual(one, usual[at]) for number, one in distinct.items()}
        odd |= {number: apart[id(one)] for number, one in shared.items()}
    heads, shown = columns(board, records), []
    for metric in board.metrics:
        parts = []
        for at in product(board.datasets, board.architectures, board.labels):
            cells, found = measured.get((metric, *at), {}), evidence.get(at, [])
            asked = metric == board.metrics[0] or any(metric in r.refused for r in found)
            if cells or (found and asked):
                filled = {*board.columns, *(column for _, _, column in cells)}
                drawn = {c: attacks for c, attacks in heads[at[0]].items() if c in filled}
                read = scale.get(metric, UNKNOWN)
                of_place = (drawn, cells, spots[at])
                if board.attacks and read.of != "probe":
                    of_place = _once(*of_place)
                one = _Shown(board, metric, read, *of_place, usual.get(at, {}), odd)
                parts.append(Section(board.heading(*at), _blocks(one)))
        if parts:
            looked = {u[EVALUATOR + metric] for u in usual.values() if EVALUATOR + metric in u}
            title = _metric_heading(metric, scale.get(metric, UNKNOWN), looked)
            shown.append(Section(title, tuple(parts)))
    return tuple(shown)


def _once(
    drawn: Mapping[str, tuple[str, ...]],
    cells: Mapping[Spot, Any],
    found: Mapping[Spot, list[Result]],
) -> tuple[dict[str, tuple[str, ...]], dict[Spot, Any], dict[Spot, list[Result]]]:
    """What a set or a student has, whatever attacks it: one column, of its first attack."""
    order = {column: number for number, column in enumerate(drawn)}
    kept: dict[tuple[int, str], str] = {}
    for spots in (cells, found):  # a figure, or else why there is none
        for ipc, method, column in sorted(spots, key=lambda spot: order.get(spot[2], len(order))):
            kept.setdefault((ipc, method), column)
    first, attacks = next(iter(drawn.items()))
    at = {(*row, column): (*row, first) for row, column in kept.items()}
    return (
        {first: attacks},
        {at[spot]: cell for spot, cell in cells.items() if spot in at},
        {at[spot]: group for spot, group in found.items() if spot in at},
    )


def _by_spot(records: Iterable[Result]) -> dict[Spot, list[Result]]:
    found: dict[Spot, list[Result]] = defaultdict(list)
    for record in records:
        found[record.ipc, record.method, record.column].append(record)
    return found


def _metric_heading(metric: str, scale: Scale, looked: Iterable[str]) -> str:
    """A metric by its full name: what looks at the images for it is part of that."""
    unit = ", in percent" if scale.rate else ""
    named = f"{metric}-{' / '.join(sorted(looked))}" if looked else metric
    better = "" if scale.better == "neither" else f" ({scale.better} is better)"
    return f"{named}{unit}{better}"


# ---- one table


def _blocks(shown: _Shown) -> tuple[Block, ...]:
    """A table, and under the main metric the rows that have not run."""
    present = {(ipc, method) for ipc, method, _ in shown.found}
    rows = tuple(_row(shown, *row) for row in shown.board.rows if row in present)
    heads = (
        *(*KEYS, Column("Images"), Column("Bytes")),
        *(_column(shown, *head) for head in shown.heads.items()),
    )
    table = Table(heads, rows, ((_caption(shown),),))
    absent = [row for row in shown.board.rows if row not in present]
    asked = absent and shown.metric == shown.board.metrics[0]
    return (table, _not_run(absent)) if asked else (table,)


def _not_run(rows: Iterable[tuple[int, str]]) -> Paragraph:
    """One sentence for all rows that were not run: as rows they would hide the others."""
    missing: dict[int, list[str]] = defaultdict(list)
    for ipc, method in rows:
        missing[ipc].append(method)
    said = "; ".join(f"{budget_named(ipc)}: {', '.join(found)}" for ipc, found in missing.items())
    return Paragraph((f"Not run yet: {said}.",))


def _caption(shown: _Shown) -> str:
    n = len(shown.board.seeds)
    parts = [f"n = {n} seeds" if n > 1 else "n = 1 seed"]
    images = {row["images"] for row in shown.cells.values() if row["images"]}
    if images:
        least_and_most = sorted({min(images), max(images)})
        parts.append(f"{' to '.join(map(str, least_and_most))} {shown.board.evaluate} images")
    if shown.usual:
        parts += _settings(shown.usual, OF_TABLE)
    else:  # all is declined
        parts += _distinct(
            s for record in shown.records for s in _settings(record.parameters, OF_TABLE)
        )
    recipe = recipe_of(shown.usual)
    caption = f"{', '.join(parts)}."
    return f"{caption} Recipe: {recipe}." if recipe else caption


def _column(shown: _Shown, column: str, attacks: Sequence[str]) -> Column:
    if shown.board.attacks and shown.scale.of != "probe":
        return Column(shown.scale.of)
    if column not in shown.board.columns:
        said = f"share of the images that are right under all of {', '.join(attacks)}"
        return Column(column, notes=(said,))
    settings = shown.settings[column]
    return Column(column, notes=_distinct(settings) if len(settings) < 2 else ())


def _row(shown: _Shown, ipc: int, method: str) -> tuple[Cell, ...]:
    spots = [(ipc, method, column) for column in shown.heads]
    records = [record for spot in spots for record in shown.found.get(spot, ())]
    weighed = next((shown.cells[spot] for spot in spots if spot in shown.cells), None)
    # all kinds of parameters but those of columns and captions
    given = {id(r.parameters): r.parameters for r in records}.values()
    kinds = sorted({kind for each in given for kind in each} - {*OF_COLUMN, *OF_TABLE})
    settings = (", ".join(_settings(each, kinds)) for each in given)
    partial = (f"partial data: {r.data['partial']}" for r in records if "partial" in r.data)
    main = shown.metric == shown.board.metrics[0]  # where it is said for the others, too
    torch = {shown.odd[id(r)].get("torch") for r in records if main and id(r) in shown.odd}
    other = (f"made with torch {version}, as other rows are not" for version in torch if version)
    notes = _distinct([*settings, *partial, *sorted(other)])
    return (
        budget(ipc),
        Name(method, shown.board.role(method), notes),
        *(Value(weighed[name] if weighed else None, form=COUNT) for name in ("size", "bytes")),
        *(_figure(shown, spot) for spot in spots),
    )


def _figure(shown: _Shown, spot: Spot) -> Value:
    row, group = shown.cells.get(spot), shown.found.get(spot, ())
    reasons = _reasons(group, shown.metric)
    if not row:
        return Value(declined=bool(reasons), notes=reasons)
    return Value(
        row["mean"],
        row["sd"] if row["n"] > 1 else None,
        row["n"],
        PERCENT if shown.scale.rate else PLAIN,
        best=bool(row["tied"]),
        notes=(*reasons, *_remarks(shown, spot, row["n"])),
    )


# ---- footnotes


def _remarks(shown: _Shown, spot: Spot, n: int) -> tuple[str, ...]:
    """The footnotes of a figure."""
    ipc, method, column = spot
    group = shown.found.get(spot, ())
    behind = {a: shown.found.get((ipc, method, a), ()) for a in shown.heads[column]}
    seeds = len(shown.board.seeds)
    joined = column not in shown.board.columns
    differs = not joined and len(shown.settings[column]) > 1
    return (
        *(_distinct(_attack(record) for record in group) if differs else ()),
        *([f"{n} of {seeds} seeds"] if n < seeds else []),
        *_flags(group),
        *inconsistencies(
            shown.metric, [_with(shown.metric, g) for g in behind.values()], shown.odd
        ),
        *(_of_ball(behind) if joined else ()),
    )


def _of_ball(behind: Mapping[str, Sequence[Result]]) -> tuple[str, ...]:
    """The footnotes of a robust figure: those of the attacks behind it."""
    declined = [a for a, group in behind.items() if any(not r.ok for r in group)]
    without = [f"without {', '.join(declined)}, which is declined here"] if declined else []
    said = (noted(record, joined=True) for group in behind.values() for record in group)
    return (*without, *_distinct(chain.from_iterable(said)))


def _flags(records: Iterable[Result]) -> tuple[str, ...]:
    return _distinct(note for record in records if record.flags for note in noted(record))


def _reasons(group: Iterable[Result], metric: str) -> tuple[str, ...]:
    """Why a cell, or one metric of it, has no figure."""
    reasons = [record.reason for record in group if record.reason]
    return _distinct([*reasons, *(r.refused[metric] for r in group if metric in r.refused)])


def _with(metric: str, group: Iterable[Result]) -> list[Result]:
    """The records that have a metric, in an order of their own."""
    return sorted([r for r in group if metric in r.metrics], key=attrgetter("seed"))


def _attack(record: Result) -> str:
    """The ball of a record's attack and what differs from its defaults; "" if it never ran."""
    if not record.ok:
        return ""
    where = ball(record)  # says what its eps is
    settings = _settings(record.parameters, OF_COLUMN, without="eps" if where else "")
    return "; ".join(filter(None, (where, ", ".join(settings))))


def _settings(parameters: Mapping[str, Any], kinds: Iterable[str], without: str = "") -> list[str]:
    """Fields that differ from their defaults, as "attack.steps = 100"."""
    return [
        f"{kind}.{name} = {json.dumps(value)}"
        for kind in kinds
        for name, value in sorted(parameters.get(kind, {}).items())
        if name != without
    ]


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """The texts that say something, sorted, each once: records come in any order."""
    found = {text for text in texts if text}
    return tuple(sorted(found)) if found else ()
