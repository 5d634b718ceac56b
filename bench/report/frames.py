"""A board in a notebook: every record and the table of its page as frames, and its plots."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from bench.board.matrix import read as read_matrix
from bench.contract.errors import BenchError
from bench.records import checked
from bench.records.files import read
from bench.records.result import Result
from bench.report import published
from bench.report.folder import page_of
from bench.report.model import Page, Plot
from bench.report.numbers import ROW, Board, board_of, on_board

COLUMNS = (
    *(*ROW, "role", "attack", "sampler", "step", "seed", "metric", "value", "unit", "better"),
    *("reason", "images", "size", "bytes", "seconds", "forward", "backward"),
    *("set_seconds", "set_forward", "set_backward", "protocol", "tier"),
)
"""Columns of `read_board`."""

NUMBERS = ("mean", "sd", "low", "high")  # of `table`: not a number where they are not known


def read_board(path: str | Path) -> pd.DataFrame:
    """Every record of a board, one row for each cell and metric: `COLUMNS`.

    `role` is "method", "control", "ceiling", or "" for what the board no longer asks for. Rates
    are fractions. `bytes` are all of the set (images, labels, weights, extras, and the teacher that
    labels views); `seconds`, `forward` and `backward` are of the whole cell: teacher, set, student
    and attack or samples; `set_*` of the condensation alone. `forward` and `backward` count images
    that went through a network, and those whose gradients came back. A cell or metric that was
    declined has its `reason`, and no value. `tier` is "checked" where the nightly check has
    measured the record again and it held, and else "claimed".

    Raises BenchError where there is no board, and for a line that is no record.
    """
    folder = Path(path)
    board = board_of(read_matrix(folder))
    results = read(folder)
    rated = zip(results, checked.tiers(folder, results), strict=True)
    rows = [row | {"tier": tier} for result, tier in rated for row in _rows(board, result)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def table(path: str | Path) -> pd.DataFrame:
    """The figures of a board's page, as in its `table.csv`: one row a cell, column and metric.

    Raises BenchError where there is no board.
    """
    return frame_of(page_of(Path(path)))


def frame_of(page: Page) -> pd.DataFrame:
    """The figures of a page."""
    frame = pd.DataFrame(page.figures.rows, columns=list(page.figures.columns))
    return frame.astype({name: float for name in NUMBERS if name in frame})


def plots(path: str | Path) -> dict[str, Any]:
    """The plots of a board's page as charts of altair, by caption; a notebook shows each.

    Raises BenchError where there is no board, or no altair.
    """
    try:
        import altair as alt
    except ModuleNotFoundError:
        raise BenchError(
            "altair is not installed, and draws the plots; pip install 'condensation-bench[pages]'"
        ) from None
    from bench.report.plots import sections

    folder = Path(path)
    board = board_of(read_matrix(folder))
    records = on_board(board, read(folder))
    in_print = published.read(folder, board).values
    drawn = [one.blocks for one in sections(board, records, table(folder), in_print)]
    return {
        "".join(map(str, plot.caption)): alt.Chart.from_dict(dict(plot.spec))
        for plot in chain.from_iterable(drawn)
        if isinstance(plot, Plot)
    }


def _rows(board: Board, result: Result) -> Iterator[dict[str, Any]]:
    """The rows of one record: one a metric; of a cell that was declined, one in all."""
    passes = result.passes.values()
    made = result.passes.get("set")
    shared = {name: getattr(result, name) for name in COLUMNS if hasattr(result, name)} | {
        "role": board.role(result.method) if result.method in board.every_method else "",
        "bytes": sum(result.bytes.values()),
        "seconds": math.fsum(result.seconds.values()),
        "forward": sum(one.forward for one in passes),
        "backward": sum(one.backward for one in passes),
        "set_seconds": result.seconds.get("condense", 0.0),
        "set_forward": made.forward if made else 0,
        "set_backward": made.backward if made else 0,
    }
    for metric in sorted({*result.metrics, *result.refused}):
        scale = result.scales.get(metric)
        yield shared | {
            "metric": metric,
            "value": result.metrics.get(metric, math.nan),
            "unit": scale.unit if scale else "",
            "better": scale.better if scale else "",
            "reason": result.refused.get(metric, ""),
        }
    if not result.ok:
        yield shared | {"metric": "", "value": math.nan, "unit": "", "better": ""}
