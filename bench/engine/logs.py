"""What stages print: a file each, which is cut where it is long, and goes where it is empty."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

LOG, KEPT = 10_000_000, 1_000_000  # bytes: of a log, and of both its ends once it is longer


def cut(log: Path) -> None:
    """Keep both ends of a log that is too long, and a line on what is missing between them."""
    with suppress(OSError):
        size = log.stat().st_size
        if size <= LOG:
            return
        with open(log, "r+b") as file:
            file.seek(size - KEPT)
            tail = file.read()
            file.truncate(KEPT)
        with open(log, "ab") as file:
            line = f"\n[bench: {size - 2 * KEPT} bytes are cut here: a log holds {LOG}]\n"
            file.write(line.encode() + tail)


def delete_if_empty(log: Path | None) -> None:
    """Leave no log of a stage that has printed nothing."""
    with suppress(OSError):
        if log and not log.stat().st_size:
            log.unlink()
