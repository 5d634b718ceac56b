"""`bench audit`: which orderings in print hold, against their own ±."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contract.errors import BenchError

if TYPE_CHECKING:
    from bench.report.audit import Ranking

BOARDS, LITERATURE = Path("leaderboards"), Path("docs/literature")


def audit(places: Sequence[Path], out: Path | None) -> None:
    """Print how each column in print fares; write the page of all tables, where `out` is given.

    `places` are boards, files of tables, or folders of such files; none stands for all boards
    under `leaderboards/` and all files under `docs/literature/`. Raises BenchError where nothing
    is in print, and for what is wrong with a file.
    """
    from bench import display
    from bench.contract.files import write_text
    from bench.report import audit, markdown
    from bench.report.console import show

    found = tuple(ranking for place in places or usual() for ranking in _read(place))
    if not found:
        where = ", ".join(map(str, places)) or f"{BOARDS}/ and {LITERATURE}/"
        raise BenchError(f"nothing in print in {where}; name boards with a published.toml")
    page = audit.document(found)
    show(display.console, (audit.table(found), page.introduction[0]))
    if out:
        write_text(out, markdown.rendered(page))
        display.console.print(f"wrote {out}")


def usual() -> list[Path]:
    """All boards and all files of tables below the current folder, in the order of their names."""
    boards = sorted(path.parent for path in BOARDS.glob("*/published.toml"))
    return [*boards, *([LITERATURE] if LITERATURE.is_dir() else [])]


def _read(place: Path) -> Iterator[Ranking]:
    """What a place ranks."""
    from bench.board.matrix import read as read_board
    from bench.report import audit, published
    from bench.report.numbers import board_of

    if (place / "matrix.toml").is_file():
        yield from audit.rankings(published.read(place, board_of(read_board(place))))
        return
    files = sorted(place.glob("*.toml")) if place.is_dir() else [place]
    for path in files:
        yield from audit.rankings(published.InPrint(published.read_tables(path)))
