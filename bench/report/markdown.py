"""Markdown that also lines up as plain text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def escaped(text: str) -> str:
    """Foreign text as one line of Markdown that means itself."""
    return "".join(f"\\{c}" if c in "\\<*" else c for c in " ".join(text.split()))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """A table whose columns line up in plain text too; all but the `left` one are right-aligned."""
    lines = [[text.replace("|", "\\|") for text in line] for line in (header, *rows)]
    widths = [max(3, *map(width_of, column)) for column in zip(*lines, strict=True)]
    rule = [
        f":{'-' * (width - 1)}" if k == left else f"{'-' * (width - 1)}:"
        for k, width in enumerate(widths)
    ]

    def pad(text: str, k: int) -> str:
        space = " " * (widths[k] - width_of(text))
        return text + space if k == left else space + text

    return [
        f"| {' | '.join(pad(text, k) for k, text in enumerate(line))} |"
        for line in (lines[0], rule, *lines[1:])
    ]


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)
