"""Numbers in print, as `published.toml` of a board states them, and their part of its page.

They are never mixed with measured ones: they stand in tables of their own, each with its source.
The relations of robust numbers are applied to them as to measured ones.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.markdown import escaped
from bench.markdown import table as markdown_table
from bench.registry import SEARCHES, suggest
from bench.relations import TOLERANCE, Attacked, broken
from bench.types import BenchError

MISSING = "–"
_TEXTS = ("source", "url", "title", "metric", "note")

Value = tuple[float, ...]  # (), (mean,) or (mean, spread)


@dataclass(frozen=True)
class Table:
    """One table in print.

    `columns` are its heads, `rows` a value for each; a rate is a fraction. `attacks` says of
    columns that are attacks what they are ({"search", "norm", "eps", "family"}, as in
    `relations.Attacked`), and `natural` is the column without one.
    """

    source: str
    url: str
    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Value, ...]]
    metric: str
    rate: bool = True
    note: str = ""
    natural: str = ""
    attacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read(folder: Path) -> tuple[Table, ...]:
    """The tables of `published.toml` in a board's folder; none without that file.

    Raises BenchError, with the file's name, for whatever is wrong with it.
    """
    path = folder / "published.toml"
    if not path.is_file():
        return ()
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:  # UnicodeDecodeError and TOMLDecodeError are ValueErrors
        raise BenchError(f"{path}: {error}; expected TOML with [[table]] entries") from None
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None


def parse(document: Mapping[str, Any]) -> tuple[Table, ...]:
    """Tables from a TOML document. Raises BenchError for what is wrong with it."""
    _known(document, ("table",), "published.toml")
    found = document.get("table", [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BenchError("`table` is not an array of tables; expected entries [[table]]")
    return tuple(_table(one, f"[[table]] number {n}") for n, one in enumerate(found, 1))


def _table(given: Mapping[str, Any], place: str) -> Table:
    _known(given, (*_TEXTS, "columns", "rows", "rate", "natural", "attacks"), place)
    for name in ("source", "url", "title", "metric", "columns", "rows"):
        if not given.get(name):
            raise BenchError(f"{place}: `{name}` is missing; a number in print needs its source")
    for name in filter(given.__contains__, (*_TEXTS, "natural")):
        if not isinstance(given[name], str):
            raise BenchError(f"{place}: {name} is {given[name]!r}; expected text")
    for name, kind, expected in (
        ("columns", list, "an array of names"),
        ("rows", dict, "a table [table.rows]"),
        ("attacks", dict, "tables [table.attacks.NAME]"),
        ("rate", bool, "true or false"),
    ):
        if not isinstance(given.get(name, kind()), kind):
            raise BenchError(f"{place}: {name} is {given[name]!r}; expected {expected}")
    columns = tuple(map(str, given["columns"]))
    rate = given.get("rate", True)
    rows = {
        name: _row(row, columns, rate, f"{place}, row {name!r}")
        for name, row in given["rows"].items()
    }
    attacks = given.get("attacks", {})
    for name in filter(None, (given.get("natural", ""), *attacks)):
        if name not in columns:
            raise BenchError(f"{place}: no column is {name!r}{suggest(name, columns)}")
    for name, attack in attacks.items():
        if not isinstance(attack, dict):
            raise BenchError(f"{place}: attack {name!r} is {attack!r}; expected a table")
        _known(attack, ("search", "norm", "eps", "family"), f"{place}, attack {name!r}")
        if attack.get("search", "") not in SEARCHES:
            raise BenchError(
                f"{place}, attack {name!r}: search is {attack['search']!r}; expected one of "
                f"{', '.join(map(repr, SEARCHES))}"
            )
    return Table(**{**given, "columns": columns, "rows": rows})


def _row(given: Any, columns: tuple[str, ...], rate: bool, place: str) -> tuple[Value, ...]:
    if not isinstance(given, list) or len(given) != len(columns):
        raise BenchError(
            f"{place}: {given!r}; expected {len(columns)} values, one a column, each [], [mean] "
            "or [mean, spread]"
        )
    for value in given:
        numbers = isinstance(value, list) and all(
            isinstance(v, int | float) and math.isfinite(v) for v in value
        )
        if not numbers or len(value) > 2:
            raise BenchError(f"{place}: {value!r}; expected [], [mean] or [mean, spread]")
        if rate and not all(0 <= v <= 1 for v in value):
            raise BenchError(
                f"{place}: {value!r}; expected fractions in [0, 1]; divide percents by 100, or "
                "set rate = false"
            )
    return tuple(tuple(map(float, value)) for value in given)


def _known(given: Mapping[str, Any], names: tuple[str, ...], place: str) -> None:
    for name in given:
        if name not in names:
            raise BenchError(f"{place}: unknown key {name!r}{suggest(name, names)}")


# ---- the page


def section(tables: tuple[Table, ...]) -> list[str]:
    """The part of a board's page with numbers in print; empty if there are none."""
    if not tables:
        return []
    said = (
        "Numbers in print, as their authors give them. **Nothing here was measured by this "
        "board**; students, labels, augmentation and attacks are those of the sources."
    )
    return ["## Published elsewhere", "", said, "", *(line for t in tables for line in _lines(t))]


def _lines(table: Table) -> Iterator[str]:
    notes: dict[str, int] = {}

    def mark(texts: list[str]) -> str:
        return "".join(f" [{notes.setdefault(text, len(notes) + 1)}]" for text in texts)

    rows = []
    for name, values in table.rows.items():
        found = flags(table, values)
        cells = [
            _text(value, table.rate) + mark(found.get(column, []))
            for column, value in zip(table.columns, values, strict=True)
        ]
        rows.append([escaped(name), *cells])
    unit = ", in percent" if table.rate else ""
    yield from (f"### {escaped(table.title)}", "")
    yield f"{escaped(table.metric)}{unit}. Source: [{escaped(table.source)}]({table.url})."
    yield from ([escaped(table.note)] if table.note else [])
    yield ""
    yield from markdown_table(["Row", *map(escaped, table.columns)], rows, left=0)
    yield ""
    yield from (f"- [{number}] {escaped(text)}" for text, number in notes.items())
    yield from ([""] if notes else [])


def _text(value: Value, rate: bool) -> str:
    return " ± ".join(f"{100 * v:.1f}" if rate else f"{v:.4g}" for v in value) or MISSING


def flags(table: Table, values: tuple[Value, ...]) -> dict[str, list[str]]:
    """What is inconsistent in a row, by column."""
    means = {c: v[0] for c, v in zip(table.columns, values, strict=True) if v}
    attacked = {
        name: Attacked(
            search=attack.get("search", ""),
            norm=attack.get("norm", ""),
            eps=float(attack.get("eps", 0.0)),
            family=attack.get("family", name),
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
