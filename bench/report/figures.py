"""Records -> figures: the mean and spread of every cell over seeds.

Pure functions, and no torch. Sums are those of `math.fsum`, which are exact, so that neither the
order of the records nor the machine can change a digit.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from bench.records.result import Result
from bench.report.numbers import ROW, Board, columns, robust, row_of

FIGURE = (*ROW, "column", "metric")  # what a figure is of
COLUMNS = (*ROW, "role", "column", "metric", "mean", "sd", "n", "images", "size", "bytes")
"""Columns of `tidy`, and of `table.csv`."""


def behind_figures(board: Board, records: Sequence[Result]) -> dict[tuple[Any, ...], list[Result]]:
    """The results behind each figure, also behind the robust ones, by what it is of: `FIGURE`."""
    cells: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
    for record in chain(records, robust(board, records)):
        if record.ok:
            cells[(*row_of(record), record.column)].append(record)
    return {
        (*cell, metric): found
        for cell, group in cells.items()
        for metric in board.metrics
        if (found := [record for record in group if metric in record.metrics])
    }


def place_in(board: Board) -> Callable[[Iterable[Any]], tuple[int, ...]]:
    """What says where a row, given by the values of `ROW`, stands in the tables of a board."""
    rows = {row: number for number, row in enumerate(board.rows)}

    def place(row: Iterable[Any]) -> tuple[int, ...]:
        dataset, architecture, labels, ipc, method = row
        return (
            board.datasets.index(dataset),
            board.architectures.index(architecture),
            board.labels.index(labels),
            rows[ipc, method],
        )

    return place


def tidy(
    board: Board,
    records: Sequence[Result],
    behind: Mapping[tuple[Any, ...], list[Result]] | None = None,
) -> pd.DataFrame:
    """One row for every cell, column and metric, with mean and sample standard deviation.

    `column` is an attack or a robust ball, `n` the number of seeds (`sd` is empty for one),
    `images` the number of test images, `size` and `bytes` those of the condensed set. `behind` is
    what `behind_figures` says, where that is known.
    """
    figures = behind_figures(board, records) if behind is None else behind
    rows = [_row(board, key, group) for key, group in figures.items()]
    positions = {name: list(found) for name, found in columns(board, records).items()}
    at = place_in(board)
    rows.sort(
        key=lambda row: (
            *at(row[axis] for axis in ROW),
            board.metrics.index(row["metric"]),
            positions[row["dataset"]].index(row["column"]),
        )
    )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(board: Board, key: tuple[Any, ...], group: list[Result]) -> dict[str, Any]:
    named = dict(zip(FIGURE, key, strict=True))
    values = [float(record.metrics[named["metric"]]) for record in group]
    n = len(values)
    mean = fmean(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return named | {
        "role": board.role(named["method"]),
        "mean": mean,
        "sd": math.sqrt(squares / (n - 1)) if n > 1 else math.nan,
        "n": n,
        "images": min([record.images for record in group]),
        "size": round(fmean([record.size for record in group])),
        "bytes": round(fmean([sum(record.bytes.values()) for record in group])),
    }


Figures = Mapping[tuple[Any, ...], Mapping[Any, Any]]
"""The rows of `tidy` by what each is of, as `FIGURE` has it."""


def by_figure(table: pd.DataFrame) -> Figures:
    """The rows of a table as `Figures`."""
    names = [*table.columns]
    rows = (dict(zip(names, row, strict=True)) for row in rows_of(table))
    return dict(zip(rows_of(table[[*FIGURE]]), rows, strict=True))


def rows_of(table: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """The rows of a table, as numbers and texts of Python; column by column, which is faster."""
    columns = (np.asarray(table[name], object).tolist() for name in table.columns)
    return zip(*columns, strict=True)
