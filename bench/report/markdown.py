"""Pages as Markdown whose tables also line up as plain text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from bench.report.model import (
    Block,
    Cell,
    Code,
    Column,
    Items,
    Page,
    Paragraph,
    Picture,
    Plot,
    Section,
    Span,
    Table,
    Words,
    piece_of,
    plain,
    unrepeated,
)

LINES = 150  # of a page in a repository


def rendered(page: Page, lines: int = LINES) -> str:
    """The first screen, and of the further sections those that fit; the page names the others."""
    blocks = (*page.summary, *page.introduction)
    chunks = [*_chunks(Section(page.title, blocks), 1)]
    room = lines - _height(chunks) - 2
    left = []
    for section in (*page.results, *page.rest):
        if found := _fitting(section, room):
            chunks += found
            room -= _height(found)
        else:
            left.append(section.title)
    if left:
        said = ("Not on this page: ", "; ".join(left), ". ", Span("table.csv", "code"))
        whole = (" has every figure; ", Span("bench site OUT .", "code"), " builds a page of all.")
        chunks.append(line((*said, *whole)))
    return "\n\n".join(chunks) + "\n"


def _fitting(section: Section, room: int) -> list[str]:
    """The chunks of a section; none, and as few as possible made, where it takes more lines."""
    found: list[str] = []
    for chunk in _chunks(section, 2):
        found.append(chunk)
        if _height([chunk]) > room:
            return []
        room -= _height([chunk])
    return found


def _height(chunks: Sequence[str]) -> int:
    """Lines, each chunk with an empty one after it."""
    return sum(chunk.count("\n") + 2 for chunk in chunks)


SPECIAL = r"[\\<*`~$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|!(?=\[)"
OPENING = re.compile(r"\d{0,9}(?=[.)](\s|$))|(?=[-+>|=#])")
"""What a line begins with that would be a list, a heading, a quotation or a table."""


def escaped(text: str) -> str:
    """Foreign text as one line of Markdown that means itself."""
    return re.sub(rf"{SPECIAL}|\](?=[(\[:])", r"\\\g<0>", plain(text))


def line(words: Words) -> str:
    said = "".join(map(_piece, words)).strip()
    opening = OPENING.match(said) if words and isinstance(words[0], str) else None
    return f"{opening[0]}\\{said[opening.end() :]}" if opening else said


def _fence(text: str, least: int) -> str:
    """More backticks than any row of them in a text."""
    return "`" * max(least, *(len(row) + 1 for row in re.findall("`+", text) or [""]))


def cell_text(cell: Cell) -> str:
    """A cell without its footnotes."""
    return _piece(piece_of(cell))


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _piece(piece: str | Span) -> str:
    match piece:
        case str():
            return escaped(piece)
        case Span(text, "strong"):
            return f"**{escaped(text)}**"
        case Span(text, "emphasis"):
            return f"*{escaped(text)}*"
        case Span(text, "code"):
            fence = _fence(text, 1)
            space = " " if "`" in text else ""
            return f"{fence}{space}{plain(text)}{space}{fence}"
        case Span(text, _, url):
            return f"[{_in_brackets(text)}]({url})"


def _in_brackets(text: str) -> str:
    return re.sub(rf"{SPECIAL}|[\[\]]", r"\\\g<0>", plain(text))


def _chunks(block: Block, level: int) -> Iterator[str]:
    """The parts of a block that an empty line separates; headings in it begin at a level."""
    match block:
        case Section(title, blocks):
            yield f"{'#' * level} {escaped(title).strip()}"
            if block.folded and (links := _links(blocks)):
                yield links
                blocks = tuple(inner for inner in blocks if not isinstance(inner, Picture))
            for inner in blocks:
                yield from _chunks(inner, level + 1)
        case Paragraph(words):
            yield line(words)
        case Items(items):
            yield "\n".join(f"- {line(words)}" for words in items)
        case Code(text, language):
            fence = _fence(text, 3)
            yield f"{fence}{language}\n{text}\n{fence}"
        case Picture(file, instead, caption):
            yield from [line(caption)] if caption else []
            yield f"![{_in_brackets(instead)}]({file})"
        case Plot(caption=caption):
            yield from [line(caption)] if caption else []
        case Table():
            yield from _table(block)


def _links(blocks: Sequence[Block]) -> str:
    """The pictures of a folded section, as links in one paragraph."""
    shown = (block for block in blocks if isinstance(block, Picture))
    return " · ".join(f"[{_in_brackets(one.instead).strip()}]({one.file})" for one in shown)


def _table(table: Table) -> Iterator[str]:
    numbers = table.footnotes

    def marked(text: str, notes: Sequence[str]) -> str:
        return text + "".join(f" [{numbers[note]}]" for note in notes)

    head = [marked(escaped(c.name).strip(), c.notes) for c in table.columns]
    rows = ([marked(cell_text(c), c.notes) if c else "" for c in row] for row in unrepeated(table))
    if table.caption:
        yield "\n".join(map(line, table.caption))
    yield "\n".join(_aligned(table.columns, [head, *rows]))
    if numbers:
        yield "\n".join(f"- [{n}] {escaped(text).strip()}" for text, n in numbers.items())


def _aligned(columns: Sequence[Column], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table, the first its head, in columns that line up in plain text."""
    barred = [[text.replace("|", "\\|") for text in texts] for texts in lines]
    widths = [max(3, *map(width_of, column)) for column in zip(*barred, strict=True)]
    rules = ["-" * (width - 1) for width in widths]
    rule = [f":{r}" if c.left else f"{r}:" for c, r in zip(columns, rules, strict=True)]
    for texts in (barred[0], rule, *barred[1:]):
        cells = []
        for column, width, text in zip(columns, widths, texts, strict=True):
            space = " " * (width - width_of(text))
            cells.append(text + space if column.left else space + text)
        yield f"| {' | '.join(cells)} |"
