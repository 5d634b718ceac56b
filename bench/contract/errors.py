"""What a user is told: three kinds of error, each shown without a traceback."""

from __future__ import annotations

import unicodedata

LONGEST = 2000  # characters of a text of a plugin: more is no sentence


class BenchError(Exception):
    """Bad input: what was wrong, what was expected, what to do. Shown without a traceback."""


class Missing(BenchError):
    """Files that must be had from elsewhere first: what, where to put them, how to get them."""


class Unsupported(Exception):
    """Raised by a component to decline a cell; the table prints the reason as a footnote.

    Not an error: `raise Unsupported("needs BatchNorm; convnet-in has none")`.
    """


def said(text: object, longest: int = LONGEST) -> str:
    """What a plugin says, fit for a page, a record and a terminal: one line, clean, cut.

    Control and format characters go (ESC colours a terminal, U+202E turns a page round), half
    of a surrogate pair becomes U+FFFD, since UTF-8 cannot say it, and white space is one space.
    `text` may be an exception, also one whose `__str__` raises.
    """
    try:
        raw = str(text)
    except Exception as error:
        raw = f"({type(text).__name__} that cannot be shown: {type(error).__name__})"
    raw = raw[: 8 * longest]  # megabytes are not worth a look
    clean = " ".join("".join(map(_clean, raw)).split())
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def _clean(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    if category in ("Cc", "Cf"):
        return " " if character.isspace() else ""
    return character
