"""Parts of a page on a terminal: tables that fit its width, in characters that it can show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from bench.report.model import (
    Block,
    Cell,
    Code,
    Items,
    Name,
    Paragraph,
    Picture,
    Plot,
    Section,
    Span,
    Table,
    Value,
    Words,
    flat,
    text_of,
    unrepeated,
)

GAP = 2  # spaces between columns
INSTEAD = str.maketrans({"±": "+-", "–": "-", "·": "-"})
CONTROL = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if chr(n) not in "\t\n"}
STYLES = {"strong": "bold", "emphasis": "italic", "code": "", "link": ""}


def show(console: Console, blocks: Sequence[Block]) -> None:
    """Print blocks of a page, an empty line after each."""
    say = partial(console.print, soft_wrap=False)
    for block in blocks:
        match block:
            case Section(title, inner):
                say(_line(console, (Span(title, "strong"),)), end="\n\n")
                show(console, inner)
                continue
            case Table():
                _show_table(console, block)
            case Items(items):
                for words in items:
                    say(Text("- ").append_text(_line(console, words)))
            case Paragraph(words):
                say(_line(console, words))
            case Picture(file, _, caption):
                say(_line(console, (*caption, f" ({file})")))
            case Plot(_, instead, caption):
                say(_line(console, caption or (instead,)))
            case Code(text):
                console.print(_text(console, text))
        say()


def encodable(text: str, encoding: str) -> str:
    """A text in the characters of an encoding: "+-" for "±", and escapes of what has no like.

    Characters that would steer the terminal are escaped, too.
    """
    text = text.translate(CONTROL)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(INSTEAD).encode(encoding, "backslashreplace").decode(encoding)
    return text


def _text(console: Console, text: str, style: str = "") -> Text:
    return Text(encodable(text, console.encoding), style)


def _line(console: Console, words: Words) -> Text:
    line = Text()
    for piece in words:
        if isinstance(piece, Span):
            said = f"{piece.text} ({piece.url})" if piece.url else piece.text
            line.append_text(_text(console, flat(said), STYLES[piece.style]))
        else:
            line.append_text(_text(console, flat(piece)))
    return line


def _show_table(console: Console, table: Table) -> None:
    """A table, cut by columns into several where it is too wide; each repeats its keys."""
    numbers = table.footnotes

    def marked(text: Text, notes: Sequence[str]) -> Text:
        return text.append("".join(f" [{numbers[note]}]" for note in notes), "not bold not italic")

    heads = [marked(_text(console, flat(c.name), "bold"), c.notes) for c in table.columns]
    rows = [
        [marked(_cell(console, cell), cell.notes) if cell else Text() for cell in row]
        for row in unrepeated(table)
    ]
    for words in table.caption:
        console.print(_line(console, words), soft_wrap=False)
    columns = [*zip(heads, *rows, strict=True)]
    widths = [max(text.cell_len for text in column) for column in columns]
    keys = [k for k, column in enumerate(table.columns) if column.key]
    for part in _parts(widths, keys, console.width):
        grid = Grid(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
        for k in part:
            grid.add_column(
                heads[k],
                justify="left" if table.columns[k].left else "right",
                overflow="fold",  # an ellipsis is no ASCII
            )
        for row in rows:
            grid.add_row(*(row[k] for k in part))
        console.print()
        console.print(grid, soft_wrap=False)
    if numbers:
        console.print()
    for note, number in numbers.items():
        console.print(_text(console, f"[{number}] {flat(note)}"), soft_wrap=False)


def _cell(console: Console, cell: Cell) -> Text:
    """Emphasis is a style where there is a terminal, and marks where there is none."""
    best = isinstance(cell, Value) and cell.best
    control = isinstance(cell, Name) and cell.role == "control"
    text = flat(text_of(cell))
    if not console.is_terminal:
        text = f"**{text}**" if best else f"*{text}*" if control else text
    return _text(console, text, "bold" if best else "italic" if control else "")


def _parts(widths: Sequence[int], keys: Sequence[int], width: int) -> Iterator[list[int]]:
    """The columns of each part of a table, so that none is wider than `width` if it can be."""
    named = sum(widths[k] + GAP for k in keys)
    part, taken = [*keys], named
    for k in (k for k in range(len(widths)) if k not in keys):
        if taken + widths[k] > width and len(part) > len(keys):
            yield part
            part, taken = [*keys], named
        part.append(k)
        taken += widths[k] + GAP
    yield part
