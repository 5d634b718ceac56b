"""The figures of a page as comma-separated values."""

from __future__ import annotations

import csv
import io

from bench.report.model import Frame, Scalar


def rendered(frame: Frame) -> str:
    """A line for the columns and one for each row: six decimals, nothing for what is not known."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(frame.columns)
    writer.writerows([text_of(value) for value in row] for row in frame.rows)
    return file.getvalue()


def text_of(value: Scalar) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)
