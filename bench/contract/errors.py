"""What a user is told: three kinds of error, each shown without a traceback."""

from __future__ import annotations

import errno
import os
import traceback
import unicodedata
from pathlib import Path

from bench.contract.moved import moved

LONGEST = 2000  # characters of a text of a plugin: more is no sentence
UNWORDED = 300  # of a message that was not worded for readers


class BenchError(Exception):
    """Bad input: what was wrong, what was expected, what to do. Shown without a traceback."""


class Missing(BenchError):
    """Files that must be had from elsewhere first: what, where to put them, how to get them."""


class Unsupported(Exception):
    """Raised by a component to decline a cell; the table prints the reason as a footnote.

    Not an error: `raise Unsupported("needs BatchNorm; convnet-in has none")`.
    """


def require(ok: bool, message: str) -> None:
    """Raise BenchError unless it is ok."""
    if not ok:
        raise BenchError(message)


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


IN_WORDS = {
    errno.EACCES: "this user may not read or write it; change its permissions, or name another",
    errno.EEXIST: "something is there that is no folder; expected a folder; name another",
    errno.EISDIR: "it is a folder; expected a file; name another, or move it",
    errno.ELOOP: "it is a link that leads back to itself; delete it, or name another",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
    errno.ENOENT: "it is not there; name another, or put it there",
    errno.ENOSPC: "no space is left on the disk; make some, and run the same command again",
    errno.ENOTDIR: "a part of it is a file; expected folders; name another",
    errno.EROFS: "its file system is read-only; name another",
}
"""What the operating system says of a file by number, in our words: what is wrong, what to do."""


def refusal(error: OSError) -> str:
    """What the operating system has refused, as a sentence that begins with the file."""
    told = IN_WORDS.get(error.errno or 0) or (error.strerror or "").lower() or str(error)
    place = error.filename
    place = os.fsdecode(place) if isinstance(place, bytes) else place
    return f"{place}: {told}" if place else told


def _clean(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    if category in ("Cc", "Cf"):
        return " " if character.isspace() else ""
    return character


class TimeOver(Exception):
    """The time of a run was over before its data were loaded; its text says so."""


def sentence(error: BaseException) -> str:
    """One line on an exception: what it is, what it says, and where it was raised."""
    told = traceback.TracebackException.from_exception(error)  # survives a broken __str__
    if isinstance(error, BenchError | Unsupported):
        return said(told) or type(error).__name__
    own = refusal(error) if isinstance(error, OSError) and error.filename else told
    text = moved(error) or said(own, UNWORDED)
    # The innermost frame is often torch's own; what the author can mend is further out.
    frames = [f for f in told.stack if not f.filename.startswith("<")]
    outer = [f for f in frames if f"{os.sep}torch{os.sep}" not in f.filename] or frames
    where = f" ({Path(outer[-1].filename).name}, line {outer[-1].lineno})" if outer else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"
