"""Who vouches for the records of a board: those who submitted them, or a recomputation, too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.records.checked import CHECKED, CLAIMED, tiers
from bench.records.result import Result
from bench.report import matched
from bench.report.model import Items, Paragraph, Section, Span, Words
from bench.report.numbers import Board


def sections(folder: Path, board: Board, records: Sequence[Result]) -> tuple[Section, ...]:
    """How many records of each method were measured again; nothing where none was."""
    measured = [one for one in records if one.ok]
    found = tiers(folder, measured)
    if CHECKED not in found:
        return ()
    every = Counter(one.method for one in measured)
    held = Counter(one.method for one, t in zip(measured, found, strict=True) if t == CHECKED)
    said: Words = (
        f"{found.count(CHECKED)} of {len(found)} records are ",
        Span(CHECKED, "strong"),
        ": measured again by the nightly check, they held within their intervals. All others are ",
        Span(CLAIMED, "strong"),
        f". What is {matched.MATCHED} stands under '{matched.TITLE}'.",
    )
    rows: tuple[Words, ...] = tuple(
        (f"{name}: {held[name]} of {every[name]}",) for name in board.every_method if held[name]
    )
    return (Section("Tiers", (Paragraph(said), Items(rows))),)
