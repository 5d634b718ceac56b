"""What a user is told: three kinds of error, each shown without a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


class BenchError(Exception):
    """Bad input: what was wrong, what was expected, what to do. Shown without a traceback."""


class Missing(BenchError):
    """Files that must be had from elsewhere first: what, where to put them, how to get them."""


class Unsupported(Exception):
    """Raised by a component to decline a cell; the table prints the reason as a footnote.

    Not an error: `raise Unsupported("needs BatchNorm; convnet-in has none")`.
    """
