"""Numbers in print, as `published.toml` of a board states them, and their part of its page.

They are never mixed with measured ones: they stand in tables of their own, each with its source.
The relations of robust numbers are applied to them as to measured ones.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contract.errors import BenchError
from bench.contract.fields import expect, suggest
from bench.contract.kinds import NORMS, SEARCHES
from bench.report import model
from bench.report.model import Column, Form, Name, Paragraph, Section, Span
from bench.report.relations import TOLERANCE, Attacked, broken

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
    _known(document, ("table",), "the file")
    found = document.get("table", [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BenchError("`table` is not an array of tables; expected entries [[table]]")
    return tuple(_table(one, f"[[table]] number {n}") for n, one in enumerate(found, 1))


FIELDS = {  # name: kind, whether it must be there, what is expected
    "source": (str, True, "text: the article, and which of its tables"),
    "url": (str, True, "the address of the source, http(s)://..."),
    "title": (str, True, "text: data set, network, budget"),
    "metric": (str, True, "text"),
    "note": (str, False, "text"),
    "columns": (list, True, "an array of names"),
    "rows": (dict, True, "a table [table.rows]"),
    "rate": (bool, False, "true or false"),
    "natural": (str, False, "the name of a column"),
    "attacks": (dict, False, "tables [table.attacks.NAME]"),
}
ATTACK_FIELDS = ("search", "norm", "eps", "family")
URL = re.compile(r"https?://[^\s()<>]+")


def _table(given: Mapping[str, Any], place: str) -> Table:
    place = f"{place} ({given['title']!r})" if given.get("title") else place
    _known(given, tuple(FIELDS), place)
    for name, (kind, required, expected) in FIELDS.items():
        if name not in given and not required:
            continue
        value = given.get(name)
        empty = not (value.strip() if isinstance(value, str) else value)
        if not isinstance(value, kind) or (required and empty):
            said = f"is {value!r}" if name in given else "is missing"
            raise BenchError(f"{place}: `{name}` {said}; expected {expected}")
    expect(bool(URL.fullmatch(given["url"])), f"{place}: `url`", given["url"], FIELDS["url"][2])
    columns, rate = tuple(given["columns"]), given.get("rate", True)
    if not all(isinstance(c, str) and c.strip() for c in columns) or len({*columns}) < len(columns):
        raise BenchError(f"{place}: columns are {[*columns]}; expected names, each once")
    rows = {
        name: _row(row, columns, rate, f"{place}, row {name!r}")
        for name, row in given["rows"].items()
    }
    attacks, natural = given.get("attacks", {}), given.get("natural", "")
    if attacks and not natural:
        raise BenchError(f"{place}: there are attacks; expected `natural`, the column without one")
    for name in filter(None, (natural, *attacks)):
        if name not in columns:
            raise BenchError(f"{place}: no column is {name!r}{suggest(name, columns)}")
    for name, attack in attacks.items():
        _check_attack(attack, f"{place}, attack {name!r}")
    return Table(**{**given, "columns": columns, "rows": rows})


def _check_attack(attack: Any, place: str) -> None:
    """What an attack is called does not say what it is: all that relations go by must be given."""
    if not isinstance(attack, dict):
        raise BenchError(f"{place}: {attack!r}; expected a table")
    _known(attack, ATTACK_FIELDS, place)
    for name, choices in (("search", SEARCHES), ("norm", NORMS)):
        if attack.get(name) not in choices:
            said = f"is {attack[name]!r}" if name in attack else "is missing"
            raise BenchError(
                f"{place}: {name} {said}; expected one of {', '.join(map(repr, choices))}"
            )
    eps: Any = attack.get("eps")
    expect(_is_number(eps) and eps >= 0, f"{place}: eps", eps, "a number, as 0.03137 for 8/255")
    family = attack.get("family", "")
    expect(isinstance(family, str), f"{place}: family", family, "text")


def _row(given: Any, columns: tuple[str, ...], rate: bool, place: str) -> tuple[Value, ...]:
    if not isinstance(given, list) or len(given) != len(columns):
        raise BenchError(
            f"{place}: {given!r}; expected {len(columns)} values, one a column, each [], [mean] "
            "or [mean, spread]"
        )
    for value in given:
        numbers = isinstance(value, list) and all(map(_is_number, value))
        if not numbers or len(value) > 2 or any(spread < 0 for spread in value[1:]):
            raise BenchError(f"{place}: {value!r}; expected [], [mean] or [mean, spread]")
        if rate and not all(0 <= v <= 1 for v in value):
            raise BenchError(
                f"{place}: {value!r}; expected fractions in [0, 1]; divide percents by 100, or "
                "set rate = false"
            )
    return tuple(tuple(map(float, value)) for value in given)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _known(given: Mapping[str, Any], names: tuple[str, ...], place: str) -> None:
    for name in given:
        if name not in names:
            raise BenchError(f"{place}: unknown key {name!r}{suggest(name, names)}")


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
    decimals = f".{max([1, *map(_decimals, printed)])}f"
    form = Form(decimals, decimals, percent=True) if table.rate else Form(".6g", ".6g")
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
    return model.Table(
        (Column("Row", key=True, left=True), *map(Column, table.columns)),
        tuple(rows),
        (source, (table.note,)) if table.note else (source,),
    )


def _both(value: Value) -> tuple[float | None, float | None]:
    """Mean and spread; None is not given."""
    return value[0] if value else None, value[1] if len(value) > 1 else None


def _decimals(fraction: float) -> int:
    """How many decimals a rate is printed with, in percent: 0.2387 has two."""
    percent = f"{100 * fraction:.4f}".rstrip("0")
    return len(percent.partition(".")[2])


def flags(table: Table, values: tuple[Value, ...]) -> dict[str, list[str]]:
    """What is inconsistent in a row, by column."""
    means = {c: v[0] for c, v in zip(table.columns, values, strict=True) if v}
    attacked = {
        name: Attacked(
            search=attack["search"],
            norm=attack["norm"],
            eps=float(attack["eps"]),
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
