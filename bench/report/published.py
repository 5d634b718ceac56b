"""Numbers in print, as `published.toml` of a board states them, and their part of its page.

They are never mixed with measured ones: they stand in tables of their own, each with its source.
The relations of robust numbers are applied to them as to measured ones. Those that name a cell of
the board are held against it: see `bench.report.matched`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from bench.contract.errors import BenchError
from bench.contract.fields import shown, suggest
from bench.contract.kinds import NORMS, SEARCHES
from bench.contract.typed import Text, fault, known, toml, unique
from bench.contract.typed import read as typed
from bench.report import matched, model
from bench.report.matched import Address, Printed, Runs, Source, as_printed
from bench.report.model import Column, Form, Name, Paragraph, Section, Span
from bench.report.numbers import Board
from bench.report.relations import TOLERANCE, Attacked, broken

Value = tuple[float, ...]  # (), (mean,) or (mean, spread)
ASSUMED = 5  # runs behind ± where the source does not say, for `bench audit`


@dataclass(frozen=True, kw_only=True)
class Attack:
    """What a column that is an attack is: all that relations go by, since its name is no fact."""

    search: Literal[SEARCHES]  # type: ignore[valid-type]
    norm: Literal[NORMS]  # type: ignore[valid-type]
    eps: Annotated[float, Meta(ge=0, description="a number, as 0.03137 for 8/255")]
    family: str = ""  # "": its column


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table in print.

    `columns` are its heads, `rows` a value for each; a rate is a fraction. `attacks` says of
    columns that are attacks what they are, and `natural` is the column without one. `spread` is
    what ± is, over `n` runs, where the source says so: a standard deviation or error ("sd", "se").
    """

    source: Source
    url: Address
    title: Text
    columns: Annotated[tuple[Text, ...], Meta(min_length=1)]
    rows: Annotated[
        Mapping[str, tuple[Value, ...]], Meta(min_length=1, description="a table [table.rows]")
    ]
    metric: Text
    rate: bool = True
    n: Runs = None
    assumed_n: Annotated[int, Meta(ge=2)] = ASSUMED
    spread: Literal["", "sd", "se"] = ""
    second_hand: bool = False  # read elsewhere than in the source
    note: str = ""
    natural: str = ""
    attacks: Mapping[str, Attack] = field(default_factory=dict)


@dataclass(frozen=True)
class InPrint:
    """What `published.toml` holds: tables, and values of cells of the board."""

    tables: tuple[Table, ...] = ()
    values: tuple[Printed, ...] = ()


def read(folder: Path, board: Board) -> InPrint:
    """What `published.toml` in a board's folder holds; nothing without that file.

    Raises BenchError, with the file's name, for whatever is wrong with it.
    """
    path = folder / "published.toml"
    if not path.is_file():
        return InPrint()
    document = toml(path, "expected TOML with [[table]] or [[value]] entries")
    try:
        return parse(document, board)
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None


def parse(document: Mapping[str, Any], board: Board) -> InPrint:
    """What a TOML document holds. Raises BenchError for what is wrong with it."""
    known(document, ("table", "value"), "the file")
    return InPrint(
        parse_tables(document.get("table", [])), matched.parse(document.get("value", []), board)
    )


def read_tables(path: Path) -> tuple[Table, ...]:
    """The tables of a file that belongs to no board, so that it holds [[table]] entries alone.

    Raises BenchError, with the file's name, for whatever is wrong with it.
    """
    document = toml(path, "expected TOML with [[table]] entries")
    try:
        known(document, ("table",), "the file")
        return parse_tables(document.get("table", []))
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None


def parse_tables(found: Any) -> tuple[Table, ...]:
    """The entries [[table]] of a file. Raises BenchError for what is wrong with them."""
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BenchError("`table` is not an array of tables; expected entries [[table]]")
    return tuple(_table(one, f"[[table]] number {n}") for n, one in enumerate(found, 1))


def _table(given: Mapping[str, Any], place: str) -> Table:
    place = f"{place} ({given['title']!r})" if given.get("title") else place
    rows = given.get("rows")
    if isinstance(rows, Mapping) and rows:  # what is said of rows needs columns and rate
        given = {**given, "rows": {"": []}}
    table = Table(**typed(Table, given, place))
    unique(table.columns, f"{place}: columns")
    if table.attacks and not table.natural:
        raise BenchError(f"{place}: there are attacks; expected `natural`, the column without one")
    for name in filter(None, (table.natural, *table.attacks)):
        if name not in table.columns:
            raise BenchError(f"{place}: no column is {name!r}{suggest(name, table.columns)}")
    assert isinstance(rows, Mapping)
    read_rows = {name: _row(row, table, f"{place}, row {name!r}") for name, row in rows.items()}
    return replace(table, rows=read_rows)


def _row(given: Any, table: Table, place: str) -> tuple[Value, ...]:
    if not isinstance(given, list) or len(given) != len(table.columns):
        raise BenchError(
            f"{place}: {shown(given)}; expected {len(table.columns)} values, one a column, each "
            "[], [mean] or [mean, spread]"
        )
    for value in given:
        fine = isinstance(value, list) and len(value) <= 2 and not fault(value, Value, "")
        if not fine or any(spread < 0 for spread in value[1:]):
            raise BenchError(f"{place}: {shown(value)}; expected [], [mean] or [mean, spread]")
        if table.rate and not all(0 <= v <= 1 for v in value):
            raise BenchError(
                f"{place}: {shown(value)}; expected fractions in [0, 1]; divide percents by 100, "
                "or set rate = false"
            )
    return tuple(tuple(map(float, value)) for value in given)


# ---- the page


def sections(tables: tuple[Table, ...]) -> tuple[Section, ...]:
    """The part of a board's page with numbers in print; none if there are none."""
    if not tables:
        return ()
    said = Paragraph(
        (
            "Numbers in print, as their authors give them. ",
            Span("Nothing here was measured by this board", "strong"),
            "; students, labels, augmentation and attacks are those of the sources.",
        )
    )
    parts = (Section(table.title, (_shown(table),)) for table in tables)
    return (Section("Published elsewhere", (said, *parts)),)


def _shown(table: Table) -> model.Table:
    printed = [v for values in table.rows.values() for value in values for v in value]
    form = as_printed(printed) if table.rate else Form(".6g", ".6g")
    rows: list[tuple[model.Cell, ...]] = []
    for name, values in table.rows.items():
        found = flags(table, values)
        cells = (
            model.Value(*_both(value), form=form, notes=tuple(found.get(column, ())))
            for column, value in zip(table.columns, values, strict=True)
        )
        rows.append((Name(name), *cells))
    unit = ", in percent" if table.rate else ""
    source = (f"{table.metric}{unit}. Source: ", Span(table.source, "link", table.url), ".")
    said = " ".join(filter(None, (spread_said(table.spread, table.n), table.note)))
    return model.Table(
        (Column("Row", key=True, left=True), *map(Column, table.columns)),
        tuple(rows),
        (source, (said,)) if said else (source,),
    )


def spread_said(spread: str, n: int | None) -> str:
    """What a source says of its ±, as a sentence; "" if it says nothing."""
    words = {"sd": "the standard deviation", "se": "the standard error", "": "not explained"}
    runs = f", over {n} runs" if n else ""
    return f"± is {words[spread]}{runs}." if spread or n else ""


def _both(value: Value) -> tuple[float | None, float | None]:
    """Mean and spread; None is not given."""
    return value[0] if value else None, value[1] if len(value) > 1 else None


def flags(table: Table, values: tuple[Value, ...]) -> dict[str, list[str]]:
    """What is inconsistent in a row, by column."""
    means = {c: v[0] for c, v in zip(table.columns, values, strict=True) if v}
    attacked = {
        name: Attacked(
            search=attack.search,
            norm=attack.norm,
            eps=attack.eps,
            family=attack.family or name,
            standing=means[name],
        )
        for name, attack in table.attacks.items()
        if name in means
    }
    found = broken(attacked)
    clean = means.get(table.natural, math.inf)
    for name, one in attacked.items():
        if one.standing > clean + TOLERANCE:
            found[name].append(f"above the clean images ({one.standing:.1%} against {clean:.1%})")
    return {column: [f"flag: {said}" for said in texts] for column, texts in found.items()}
