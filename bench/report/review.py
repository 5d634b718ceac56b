"""What a reviewer of a submission sees: what it changes, and its rows among their neighbours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.board.networks import BoardNetwork
from bench.report import matched
from bench.report.against import Side, edits, new, told
from bench.report.figures import behind_figures, by_figure, tidy
from bench.report.model import (
    PERCENT,
    PLAIN,
    Block,
    Cell,
    Code,
    Column,
    Items,
    Name,
    Paragraph,
    Section,
    Span,
    Table,
    Value,
    budget_named,
    few,
)
from bench.report.numbers import Board, on_board, on_one_scale, scales
from bench.report.published import InPrint
from bench.report.relations import flagged
from bench.report.standing import Key, Standings, standings

NEAR = 2  # rows on either side of a new one
MOST = 12  # tables of a board
CODE = ("architecture", "attack", "sampler")  # components that all methods are measured with
HEADS = (
    Column("Method", key=True, left=True),
    Column("Figure"),
    Column("Place"),
    Column("Place before"),
)


@dataclass(frozen=True)
class _View:
    """The figures of a board at one commit, and where they stand."""

    table: pd.DataFrame  # that of `figures.tidy`
    figures: Mapping[Key, Mapping[Any, Any]]  # its rows
    places: Standings
    scale: Mapping[str, Any]

    def leaders(self, keys: Iterable[Key]) -> list[str]:
        return [key[4] for key in keys if self.places.get(key).leads]


def section(
    where: str, base: Side, here: Side, in_print: InPrint, again: Iterable[str] = ()
) -> Section | None:
    """What a submission does to a board; None if it does nothing. `again`: as in `against`."""
    said = told(base, here, again)
    if not said or here.board is None:
        return None
    blocks: list[Block] = [Items(tuple((one,) for one in said))]
    if text := edits(base, here):
        blocks.append(Code(text, "diff"))
    rows = {(*_place(one), one.column) for one in new(base, here) if one.ok}
    before, after = _view(here.board, base), _view(here.board, here)
    groups = _groups(here.board, after, rows)
    warnings = [*_taken(where, base, here), *_other_code(base, here)]
    warnings += [*_too_good(here.board, after, groups, rows), *_off(in_print, after, rows)]
    if warnings:
        blocks.append(Items(tuple((Span("Look twice", "strong"), f": {one}") for one in warnings)))
    blocks += [_group(here.board, *one, before, after, rows) for one in groups[:MOST]]
    if left := len(groups) - MOST:
        blocks += [Paragraph((f"{left} more tables are not shown.",))] if left > 0 else []
    return Section(f"{here.board.title} ({where})", tuple(blocks))


def _place(one: Any) -> tuple[Any, ...]:
    return one.dataset, one.architecture, one.labels, one.ipc, one.method


def _view(board: Board, side: Side) -> _View:
    """`board` is that of the submission for both, so that rows compete in the same columns."""
    shown = flagged(on_one_scale(board, on_board(board, side.results)))
    scale = scales(board, shown)
    behind = behind_figures(board, shown)
    table = tidy(board, shown, behind)
    return _View(table, by_figure(table), standings(board, shown, scale, behind), scale)


def _groups(
    board: Board, after: _View, rows: set[tuple[Any, ...]]
) -> list[tuple[tuple[Any, ...], list[Key]]]:
    """The groups of rows that compete by the main metric and hold a new one, the best first."""
    metric = board.metrics[0]
    found: dict[tuple[Any, ...], list[Key]] = {}
    for key in after.figures:
        if key[6] == metric:
            found.setdefault((*key[:4], key[5]), []).append(key)
    if metric not in after.scale:
        return []
    sign = 1 if after.scale[metric].better == "lower" else -1
    return [
        (group, sorted(keys, key=lambda key: (sign * after.figures[key]["mean"], key[4])))
        for group, keys in found.items()
        if any(key[:6] in rows for key in keys)
    ]


def _group(
    board: Board,
    group: tuple[Any, ...],
    keys: Sequence[Key],
    before: _View,
    after: _View,
    rows: set[tuple[Any, ...]],
) -> Section:
    dataset, architecture, labels, ipc, column = group
    title = f"{board.heading(dataset, architecture, labels)} · {budget_named(ipc)} · {column}"
    tied = [few(view.leaders(keys)) or "none" for view in (before, after)]
    fresh = {n for n, key in enumerate(keys) if key[:6] in rows}
    near = {n for n in range(len(keys)) if any(abs(n - one) <= NEAR for one in fresh)}
    kept = {0, *near, *(n for n, key in enumerate(keys) if key[4] == board.baseline)}
    form = PERCENT if after.scale[board.metrics[0]].rate else PLAIN
    lines: list[tuple[Cell, ...]] = []
    for n in sorted(kept):
        key, row = keys[n], after.figures[keys[n]]
        name = Name(key[4], board.role(key[4]), ("new, or measured again",) if n in fresh else ())
        sd = row["sd"] if row["n"] > 1 else None
        standing = after.places.get(key)
        figure = Value(row["mean"], sd, row["n"], form, best=standing.tied)
        lines.append((name, figure, *(Name(_ranks(v, key)) for v in (after, before))))
    said = f"{board.metrics[0]}; not distinguishable from the best: {tied[1]} (before: {tied[0]})"
    shown = f"{len(kept)} of {len(keys)} rows" if len(kept) < len(keys) else ""
    caption = (said,) if not shown else (f"{said}; {shown}",)
    return Section(title, (Table(HEADS, tuple(lines), (caption,)),))


def _ranks(view: _View, key: Key) -> str:
    ranks = view.places.get(key).ranks
    if not ranks:
        return "–"
    return str(ranks[0]) if ranks[0] == ranks[-1] else f"{ranks[0]} to {ranks[-1]}"


def _taken(where: str, base: Side, here: Side) -> Iterator[str]:
    """Networks that a submission brings: whoever recomputes its rows reads them as they are."""
    for name, (entry, _) in here.carried.items():
        if isinstance(entry, BoardNetwork) and name not in base.carried:
            yield (
                f"the {name} is new, and rows are measured again with it as it is; "
                f"bench run {where} --retrain-teachers trains it again, and compares"
            )


def _other_code(base: Side, here: Side) -> Iterator[str]:
    """Networks, attacks and samplers of new rows whose code is not that behind the rows beside
    them: an edit that changes nothing, or one that helps."""
    known: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in base.shown.values():
        for kind in {*CODE} & one.code.keys():
            known[kind, getattr(one, kind)].add(one.code[kind])
    found = {
        (kind, getattr(one, kind)): one.method
        for one in new(base, here)
        for kind in CODE
        if kind in one.code
        and (beside := known[kind, getattr(one, kind)])
        and one.code[kind] not in beside
    }
    for (kind, name), method in found.items():
        yield f"the {kind} {name} behind {method} is other code than behind the rows beside it"


def _too_good(
    board: Board,
    after: _View,
    groups: Sequence[tuple[tuple[Any, ...], Sequence[Key]]],
    rows: set[tuple[Any, ...]],
) -> Iterator[str]:
    """New rows that are better than the full set, which is what a set is to stand for."""
    metric = board.metrics[0]
    for (dataset, architecture, labels, ipc, column), keys in groups:
        for name in board.ceiling:
            ceiling = after.figures.get((dataset, architecture, labels, 0, name, column, metric))
            for key in keys:
                if ceiling and ipc and key[:6] in rows:
                    off = after.figures[key]["mean"] - ceiling["mean"]
                    if off * (-1 if after.scale[metric].better == "lower" else 1) > 0:
                        yield (
                            f"{key[4]} at {budget_named(ipc)}, {column}: {metric} "
                            f"{after.figures[key]['mean']:.4g} is better than that of {name}, "
                            f"{ceiling['mean']:.4g}"
                        )


def _off(in_print: InPrint, after: _View, rows: set[tuple[Any, ...]]) -> Iterator[str]:
    """New rows that differ from the value in print of their own cell."""
    for entry, found in matched.pairs(in_print.values, after.table):
        for pair in found:
            at = (entry.dataset, entry.architecture, entry.labels, pair.ipc, pair.method)
            if (*at, entry.attack) in rows and pair.verdict == matched.DIFFERS:
                yield (
                    f"{pair.method} at {budget_named(pair.ipc)}: {entry.metric} {pair.mean:.4g} "
                    f"differs from {pair.printed[0]:.4g}, the value in print"
                )
