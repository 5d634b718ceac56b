"""A row explains itself: what its figures were made of, by what, where, and how to make it again.

A pure function of a board and its records, for a terminal and for pages.
"""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from bench.contract.keys import canonical
from bench.records.checked import CHECKED, CLAIMED
from bench.records.checked import name as name_of
from bench.records.result import Result
from bench.report.consistency import Known, recipe_of, typical
from bench.report.costs import MADE
from bench.report.figures import place_in, tidy
from bench.report.matched import Printed, pairs
from bench.report.model import (
    COUNT,
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
)
from bench.report.numbers import Board, on_board, on_one_scale, row_of, scales
from bench.report.relations import flagged
from bench.tracks import TRACKS


def rows(
    board: Board,
    records: Iterable[Result],
    folder: str,
    in_print: Iterable[Printed] = (),
    checked: Collection[str] = (),
    provider: str = "",
    **where: Any,
) -> tuple[Section, ...]:
    """A section for each row of a board that `where` selects, in the order of its tables.

    `where` has values of `numbers.ROW`; `folder` is how commands name the board, `in_print` its
    values in print, `checked` the names of its records that held when they were measured again.
    `provider` is the distribution that has the method.
    """
    shown = flagged(on_one_scale(board, on_board(board, records)))
    held = _held(in_print, tidy(board, shown))
    chosen = [r for r in shown if all(getattr(r, name) == v for name, v in where.items())]
    place = place_in(board)
    groups = groupby(sorted(chosen, key=lambda r: (place(row_of(r)), r.seed)), row_of)
    found = []
    for spot, group in groups:
        rest = [*group]
        known = {
            "in print": "; ".join(held.get(spot, ())) or "nothing that is known here",
            "tier": _tier(rest, checked),
            "provider": provider,
        }
        found.append(section(board, rest, folder, known))
    return tuple(found)


def _tier(records: Sequence[Result], checked: Collection[str]) -> str:
    """Who vouches for a row: those who submitted it, or a recomputation, too."""
    measured = [record for record in records if record.ok]
    held = sum(name_of(record) in checked for record in measured)
    rest = f"; the others are {CLAIMED}" if held < len(measured) else ""
    if not held:
        return f"{CLAIMED} by those who measured it" if measured else ""
    return f"{CHECKED}: {held} of {len(measured)} records were measured again, and held{rest}"


def _held(
    in_print: Iterable[Printed], table: pd.DataFrame
) -> Mapping[tuple[Any, ...], Sequence[str]]:
    """What is in print of each row, and whether it is what was measured."""
    found: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for one, measured in pairs(tuple(in_print), table):
        for pair in measured:
            value = " ± ".join(f"{100 * number:.1f}" for number in pair.printed)
            place = (one.dataset, one.architecture, one.labels, pair.ipc, pair.method)
            tier = f", {one.tier}" if one.tier else ""
            found[place].append(f"{one.metric} {value} ({one.source}{tier}): {pair.verdict}")
    return found


def section(
    board: Board, records: Sequence[Result], folder: str, known: Mapping[str, str]
) -> Section:
    """What is known of one row, whose records are given: some, of one place of `numbers.ROW`.

    `known` is what they do not say, by name.
    """
    one = records[0]
    labels = f", {one.labels} labels" if TRACKS[board.track].labels else ""
    title = f"{one.method}, {budget_named(one.ipc)}: {one.dataset}, {one.architecture}{labels}"
    about = [*dict.fromkeys(r.about["method"] for r in records if r.about.get("method"))]
    every = (*_facts(board, records), *known.items())
    facts = tuple((Span(name, "strong"), f": {said}") for name, said in every if said)
    return Section(
        title,
        (
            *(Paragraph((text,)) for text in about),
            *_figures(board, records),
            Items(facts),
            *_flags(records),
            Paragraph((_again(board),)),
            Code(command(board, one, folder), "sh"),
        ),
    )


def command(board: Board, one: Result, folder: str) -> str:
    """What makes the row of a record again."""
    several = {
        "ipc": len(board.ipc) > 1 and one.ipc > 0,
        "dataset": len(board.datasets) > 1,
        "architecture": len(board.architectures) > 1,
        "labels": len(board.labels) > 1,
    }
    only = [f"--only {name}={getattr(one, name)}" for name, named in several.items() if named]
    return " ".join(["bench run", shlex.quote(folder), f"--methods {one.method}", *only])


def _again(board: Board) -> str:
    if board.frozen:
        return (
            f"The board is frozen ({board.frozen}); in a copy without that line, with what is "
            "installed, this makes the row anew:"
        )
    return "What makes it again:"


def _facts(board: Board, records: Sequence[Result]) -> Iterator[tuple[str, str]]:
    """What is said of a row, by name; what differs between its records is listed."""
    measured = [r for r in records if r.ok]
    seeds = sorted({r.seed for r in measured})
    yield "role", board.role(records[0].method)
    yield "seeds", ", ".join(map(str, seeds)) if seeds else "none was measured"
    for reason in sorted({r.reason for r in records if r.reason}):
        yield "declined", reason
    if measured:
        yield "images", _each(measured, lambda r: f"{r.size:,}")
        yield "bytes", _each(measured, _weights)
    for role in dict.fromkeys(role for r in records for role in r.parameters):
        if role in ("attack", "sampler", "recipe"):
            continue  # of columns; and what a recipe is stands below, whole
        set_fields = [_pairs(r.parameters[role]) for r in records if role in r.parameters]
        yield f"settings of the {role}", _alternatives(set_fields)
    recipe = recipe_of(typical(map(Known().shared_by, measured))) if measured else ""
    if recipe:
        yield "recipe", f"{recipe}; all else is the default"
    yield "versions", _versions(records)
    yield "protocol", _each(records, lambda r: str(r.protocol))
    if measured:
        yield "machine", _each(measured, lambda r: _pairs(r.environment, " "))
        yield "cost of the set, in passes", _each(measured, _cost)
    yield from _hashes(records)


def _hashes(records: Sequence[Result]) -> Iterator[tuple[str, str]]:
    yield "data", _each(records, lambda r: _pairs(r.data, " "))
    for role in (*MADE, "student"):
        found = {(r.seed, r.content[role]) for r in records if role in r.content}
        if len({content for _, content in found}) == 1:
            yield f"content of the {role}", found.pop()[1]
        elif found:
            yield f"content of the {role}", "; ".join(f"{c} (seed {s})" for s, c in sorted(found))
    code = {role: digest for r in records for role, digest in sorted(r.code.items())}
    several = {role for r in records for role, c in r.code.items() if c != code[role]}
    if code:
        of_row = {role: c for role, c in code.items() if role not in ("attack", "sampler")}
        yield "code", _pairs(of_row | dict.fromkeys(several & of_row.keys(), "several"), " ")


def _figures(board: Board, records: Sequence[Result]) -> tuple[Block, ...]:
    """Mean and spread of each column and metric."""
    table, scale = tidy(board, records), scales(board, records)
    if table.empty:
        return ()
    of_probe = {m for r in records for m, read in r.scales.items() if read.of == "probe"}
    seen: set[str] = set()
    lines: list[tuple[Cell, ...]] = []
    for line in table.to_dict("records"):
        metric, n = line["metric"], line["n"]
        if metric in seen and metric not in of_probe:
            continue  # of the set or the student: the same in all columns
        seen.add(metric)
        column = line["column"] if metric in of_probe else ""
        form = PERCENT if scale[metric].rate else PLAIN
        figure = Value(line["mean"], line["sd"] if n > 1 else None, n, form)
        lines.append((Name(metric), Name(column), figure, Value(n, form=COUNT)))
    heads = (
        Column("Metric", key=True, left=True, merged=True),
        Column("Column", key=True, left=True),
        *(Column("Figure"), Column("Seeds")),
    )
    return (Table(heads, tuple(lines)),)


def _flags(records: Sequence[Result]) -> tuple[Block, ...]:
    """What is to be known before a figure is trusted: broken relations, declined metrics."""
    said = [f"{r.column}, flag: {flag}" for r in records for flag in r.flags]
    said += [f"{r.column}, {m} declined: {why}" for r in records for m, why in r.refused.items()]
    return (Items(tuple((one,) for one in dict.fromkeys(said))),) if said else ()


def _each(records: Iterable[Result], say: Callable[[Result], str]) -> str:
    """What records say, once where all say the same."""
    return _alternatives(map(say, records)) or "not recorded"


def _alternatives(texts: Iterable[str]) -> str:
    return "; or ".join(dict.fromkeys(filter(None, texts)))


def _pairs(values: Mapping[str, Any], joint: str = " = ") -> str:
    return ", ".join(
        f"{name}{joint}{value if isinstance(value, str) else _plain(value)}"
        for name, value in sorted(values.items())
    )


def _versions(records: Iterable[Result]) -> str:
    """Every distribution with the versions that its stages have seen."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for name, version in record.versions.items():
            found[name].add(version)
    return ", ".join(f"{name} {' or '.join(sorted(found[name]))}" for name in sorted(found))


def _plain(value: Any) -> str:
    return canonical(value) if isinstance(value, dict | list) else json.dumps(value)


def _weights(record: Result) -> str:
    parts = [f"{name} {count:,}" for name, count in record.bytes.items() if count]
    return f"{sum(record.bytes.values()):,} ({', '.join(parts)})"


def _cost(record: Result) -> str:
    found = {what: record.passes.get(role) for what, role in (("", "set"), ("survey ", "survey"))}
    return "; ".join(
        f"{what}{one.forward:,} forward, {one.backward:,} backward"
        for what, one in found.items()
        if one
    )
