"""A part of the data, or all of it? What generators trained on sets are worth beside that on all.

Of each budget the best row, the best method and the baseline, minus the full set: paired by seed,
with its interval and with what either has cost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from bench.records.record import Scale
from bench.records.result import Result
from bench.report.costs import MADE, mean
from bench.report.model import (
    COUNT,
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
)
from bench.report.numbers import Board
from bench.report.standing import Known, row_for
from bench.report.statistics import difference

Place = tuple[str, str, str]
Rows = Mapping[tuple[int, str], Sequence[Result]]  # by IPC and method

TITLE = "A part of the data, or all of it?"
SAID = (
    "Minus {whole}, by {metric}, at the end of the training; in brackets 95 %, each by itself, "
    "paired by seed where networks are. Of each budget: the row with the best mean, which flatters "
    "it, the best of the methods, and the baseline. Share: images of the set, of all. Passes, "
    "forward and back: to make the set, with its teachers, and to train on it."
)


def blocks(
    board: Board, records: Sequence[Result], scale: Mapping[str, Scale]
) -> tuple[Block, ...]:
    """A table for each data set, network and regime of labels where the full set was trained on."""
    metric = board.metrics[0]
    if not board.samplers or metric not in scale or scale[metric].better == "neither":
        return ()
    ended = [r for r in records if r.ok and not r.step and metric in r.metrics]
    column = next((s for s in board.samplers if any(r.sampler == s for r in ended)), "")
    groups: dict[Place, dict[tuple[int, str], list[Result]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for r in ended:
        if r.sampler == column and "student" in r.passes:
            groups[r.dataset, r.architecture, r.labels][r.ipc, r.method].append(r)
    parts = []
    for place, rows in groups.items():
        whole = next((m for m in board.ceiling if (0, m) in rows), "")
        lines = tuple(_lines(board, rows, whole, scale[metric])) if whole else ()
        if lines:
            said = Paragraph((SAID.format(whole=whole, metric=metric),))
            heads = (f"Minus {whole}", "At 5 %", "Passes for the set", "Passes of training")
            keys = (
                Column("IPC", key=True, merged=True),
                Column("Share, %"),
                Column("Method", left=True),
            )
            columns = (*keys, Column(f"{metric}, {column}"), *map(Column, heads))
            parts.append(Section(board.heading(*place), (said, Table(columns, lines))))
    return (Section(TITLE, tuple(parts)),) if parts else ()


def _lines(board: Board, rows: Rows, whole: str, scale: Scale) -> Iterator[tuple[Cell, ...]]:
    """Of each budget the best row, the best method and the baseline; the full set at the end."""
    metric, sign = board.metrics[0], -1 if scale.better == "higher" else 1
    for ipc in board.ipc:
        found = {m: fmean(r.metrics[metric] for r in rows[i, m]) for i, m in rows if i == ipc}
        best = min(found, key=lambda m: sign * found[m], default="")
        own = min(found.keys() & {*board.methods}, key=lambda m: (sign * found[m], m), default="")
        for method in dict.fromkeys((best, own, board.baseline)):
            if method in found:
                yield _line(board, rows, (ipc, method), whole, scale)
    if any(ipc for ipc, _ in rows):
        yield _line(board, rows, (0, whole), whole, scale)


def _line(
    board: Board, rows: Rows, one: tuple[int, str], whole: str, scale: Scale
) -> tuple[Cell, ...]:
    metric, known, of_row = board.metrics[0], Known(), rows[one]
    form = PERCENT if scale.rate else PLAIN
    own, full = (row_for(m, metric, rows[i, m], known) for i, m in (one, (0, whole)))
    minus, verdict = Value(), ""
    if one != (0, whole):
        found = difference(own, full)
        interval = found.estimate.interval
        signed = replace(form, number=f"+{form.number}")
        minus = Value(found.estimate.mean, None, found.seeds, signed, interval=interval)
        verdict = _verdict(interval, found.seeds, higher=scale.better == "higher")
    made = sum(p.forward + p.backward for p in (mean(of_row, role) for role in MADE) if p)
    trained = mean(of_row, "student")
    return (
        budget(one[0]),
        Value(100 * of_row[0].size / rows[0, whole][0].size, form=replace(PLAIN, number=".3g")),
        Name(one[1], board.role(one[1])),
        Value(fmean(own.values.values()), n=len(own.values), form=form),
        minus,
        Name(verdict),
        Value(made, form=COUNT),
        Value(trained.forward + trained.backward if trained else None, form=COUNT),
    )


def _verdict(interval: tuple[float, float] | None, seeds: int, *, higher: bool) -> str:
    """What an interval of a difference says; seeds that do not differ have none, either."""
    if interval is None:
        return "one seed says nothing" if seeds < 2 else "seeds do not differ"
    low, high = interval
    if low <= 0 <= high:
        return "not told apart"
    return "better" if (low > 0) is higher else "worse"
