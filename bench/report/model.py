"""A page as a value, before it is Markdown, CSV, or a table on a terminal.

Numbers stay numbers, and texts are what their authors wrote: each renderer formats, escapes and
emphasises in its own way. A cell carries the texts of its footnotes; which number each gets is
the table's order of reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import Struct

MISSING, DECLINED = "–", "n/a"  # what stands for a figure that is not there

# ---- text


@dataclass(frozen=True)
class Span:
    """A piece of text that is set apart; `url` is where a link leads."""

    text: str
    style: Literal["strong", "emphasis", "code", "link"]
    url: str = ""


Words = tuple[str | Span, ...]
"""A line of text."""


def flat(text: str) -> str:
    """A text in one line."""
    return re.sub(r"\s+", " ", text)


UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
"""Characters that steer what shows a text: controls, directions of writing, halves of pairs."""


def plain(text: str) -> str:
    """A text in one line, where what cannot be seen is seen to be there."""
    return UNSEEN.sub("\N{REPLACEMENT CHARACTER}", flat(text))


def few(names: Sequence[str]) -> str:
    """The first four names, and how many there are beside them."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


class Names:
    """Names of parts of one document, from their titles: each is given once."""

    def __init__(self, *given: str) -> None:
        self.given = {*given}

    def fresh(self, title: str, instead: str) -> str:
        """That of a title, or `instead` where it has no letter; the second has a number."""
        name = slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or instead
        number = 1
        while name in self.given:
            number += 1
            name = f"{slug}-{number}"
        self.given.add(name)
        return name


# ---- cells of tables


@dataclass(frozen=True)
class Form:
    """How a number and its spread are shown, as format specifications."""

    number: str = ".4g"
    spread: str = ".2g"
    percent: bool = False  # numbers are fractions

    def shown(self, number: float) -> str:
        return format((100 * number if self.percent else number) + 0.0, self.number)  # no "-0"

    def shown_spread(self, spread: float) -> str:
        return format(100 * spread if self.percent else spread, self.spread)


PLAIN = Form()
PERCENT = Form(".1f", ".1f", percent=True)
COUNT = Form(",.0f")


class Value(Struct, frozen=True):
    """A figure: a mean and its spread `sd` over `n` seeds (0: not known), and what is said of it.

    Without a mean it was not measured, or was `declined` for the reason in its notes.
    """

    mean: float | None = None
    sd: float | None = None
    n: int = 0
    form: Form = PLAIN
    best: bool = False  # not distinguishable from the best of those that it is compared with
    declined: bool = False
    notes: tuple[str, ...] = ()
    interval: tuple[float, float] | None = None  # 95 %


class Name(Struct, frozen=True):
    """A text in a cell; of a method, which "role" it has: "method", "control" or "ceiling".

    `url` is where it leads on a page that can be clicked.
    """

    text: str
    role: str = ""
    notes: tuple[str, ...] = ()
    url: str = ""


@dataclass(frozen=True)
class Passes:
    """Images that went forward through a network, and those whose gradients came back."""

    forward: float
    backward: float
    notes: tuple[str, ...] = ()


Cell = Value | Name | Passes


def text_of(cell: Cell) -> str:
    """What a cell says, without emphasis and footnotes."""
    match cell:
        case Name(text):
            return text
        case Passes(forward, backward):
            return f"{COUNT.shown(forward)} / {COUNT.shown(backward)}"
        case Value(mean, sd):
            if mean is None:
                return DECLINED if cell.declined else MISSING
            shown = cell.form.shown(mean)
            if sd is not None:
                return f"{shown} ± {cell.form.shown_spread(sd)}"
            if cell.interval:
                return f"{shown} [{', '.join(map(cell.form.shown, cell.interval))}]"
            return shown


def piece_of(cell: Cell) -> str | Span:
    """What a cell says, without footnotes: the best is strong, controls are emphasised."""
    text = flat(text_of(cell)).strip()
    match cell:
        case Value(best=True):
            return Span(text, "strong")
        case Name(role="control"):
            return Span(text, "emphasis")
    return text


def budget(ipc: int) -> Cell:
    """The cell of a row's images per class; 0 is the full set."""
    return Value(ipc, form=Form(".0f")) if ipc else Name("full set")


def budget_named(ipc: int) -> str:
    """A row's images per class in a sentence."""
    return f"IPC {ipc}" if ipc else "full set"


# ---- tables


@dataclass(frozen=True)
class Column:
    name: str
    key: bool = False  # one of those that name a row; they stand first
    left: bool = False  # aligned to the left
    merged: bool = False  # what is as in the row above is not repeated
    notes: tuple[str, ...] = ()


KEYS = (Column("IPC", key=True, merged=True), Column("Method", key=True, left=True))


@dataclass(frozen=True)
class Table:
    """Rows have a cell for each column; each line of the caption is a line above the table."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: tuple[Words, ...] = ()

    @property
    def footnotes(self) -> dict[str, int]:
        """Text -> number, in order of reading: columns first, then row by row."""
        noted = (*self.columns, *(cell for row in self.rows for cell in row))
        texts = dict.fromkeys(text for one in noted for text in one.notes)
        return {text: number for number, text in enumerate(texts, 1)}


def unrepeated(table: Table) -> Iterator[tuple[Cell | None, ...]]:
    """The rows; None for a cell that only repeats the one above in a merged column."""
    above: tuple[Cell, ...] = ()
    for row in table.rows:
        pairs = zip(table.columns, row, above or (None,) * len(row), strict=True)
        yield tuple(None if c.merged and cell == last else cell for c, cell, last in pairs)
        above = row


# ---- pages


@dataclass(frozen=True)
class Paragraph:
    words: Words


@dataclass(frozen=True)
class Items:
    """A list with a bullet before each."""

    items: tuple[Words, ...]


@dataclass(frozen=True)
class Code:
    text: str
    language: str = ""


@dataclass(frozen=True)
class Picture:
    """A file beside the page; `instead` is for those who do not see it."""

    file: str
    instead: str
    caption: Words = ()


@dataclass(frozen=True)
class Plot:
    """A chart as a Vega-Lite description; `instead` says in words what it shows."""

    spec: Mapping[str, Any]
    instead: str
    caption: Words = ()


@dataclass(frozen=True)
class Section:
    """A part under a heading; its level is how deep it lies in the page.

    A `folded` one is opened by those who want it: its pictures would be a wall.
    """

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


Block = Paragraph | Items | Code | Picture | Plot | Table | Section

Scalar = str | int | float | None


@dataclass(frozen=True)
class Frame:
    """Every figure of a page, one a row, unformatted; None is not known."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Scalar, ...], ...]


@dataclass(frozen=True)
class Page:
    """All that a board shows: the first screen, an introduction, `results`, the rest.

    `results` are a section for values in print, if there are any, and one for each metric.
    """

    title: str
    introduction: tuple[Block, ...]
    results: tuple[Section, ...]
    rest: tuple[Section, ...]
    figures: Frame
    summary: tuple[Block, ...] = ()


def blocks(page: Page) -> Iterator[tuple[tuple[str, ...], Block]]:
    """Every block of a page but sections, in its order, with the headings above it."""

    def walk(
        blocks: tuple[Block, ...], headings: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, ...], Block]]:
        for block in blocks:
            if isinstance(block, Section):
                yield from walk(block.blocks, (*headings, block.title))
            else:
                yield headings, block

    yield from walk((*page.summary, *page.introduction, *page.results, *page.rest), (page.title,))


def tables(page: Page) -> Iterator[tuple[tuple[str, ...], Table]]:
    """Every table of a page, in its order, with the headings above it."""
    for headings, block in blocks(page):
        if isinstance(block, Table):
            yield headings, block
