"""`bench leaderboard`: pages are written from records, or held against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contract.errors import BenchError


@dataclass(frozen=True)
class Asked:
    """What the user wants of boards. Raises BenchError for what does not go together."""

    boards: Sequence[Path]
    check: bool
    against: str  # a commit; "": none
    remeasured: Sequence[str]  # methods whose records may change and vanish
    review: Path | None

    def __post_init__(self) -> None:
        if self.against and not self.check:
            raise BenchError("--against goes with --check")
        if (self.remeasured or self.review) and not self.against:
            raise BenchError("--remeasured and --review go with --against")


def leaderboard(asked: Asked) -> int:
    """Do it; the exit code. Raises BenchError for bad input."""
    from bench import display
    from bench.report.folder import stale, write_tables

    if not asked.check:
        for board in asked.boards:
            for name in write_tables(board):
                display.console.print(f"wrote {board / name}")
        return 0
    if asked.against:
        wrong = held(asked.boards, asked.against, asked.remeasured, asked.review)
    else:
        wrong = [one for board in asked.boards for one in stale(board)]
    display.show_list(wrong, "every table is up to date")
    return 1 if wrong else 0


def held(
    boards: Sequence[Path], commit: str, remeasured: Sequence[str], review: Path | None = None
) -> list[str]:
    """What is wrong with boards, seen beside those of a commit; shows what they change."""
    from bench.commands import against
    from bench.contract.files import write_text
    from bench.display import console
    from bench.report.console import show
    from bench.report.folder import stale

    found = against.held(boards, commit, remeasured)
    wrong = [*found.wrong, *(one for board in found.readable for one in stale(board))]
    show(console, found.changes)
    if review:
        write_text(review, against.review_of(found, wrong, commit))
        console.print(f"wrote {review}")
    return wrong
