"""What plots show: the rows of a board's main metric, by place, method and radius."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench.records.record import Scale
from bench.records.result import Result
from bench.report import costs
from bench.report.charts import alt
from bench.report.numbers import ROW, Board, ball, row_of

LINES = 20  # in one chart, at most

Row = dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """Rows of the main metric; `low` and `high` of each are ends of what `interval` says."""

    board: Board
    scale: Scale
    rows: list[Row]
    interval: bool

    @property
    def metric(self) -> str:
        return self.board.metrics[0]

    @property
    def column(self) -> str:
        """The first attack, or the first sampler at the end of the training."""
        return (self.board.attacks or self.board.samplers)[0]

    def merit(self, row: Row) -> float:
        """The figure, more of which is better."""
        return float(-row["mean"] if self.scale.better == "lower" else row["mean"])

    @property
    def of_column(self) -> list[Row]:
        return [row for row in self.rows if row["column"] == self.column]

    @property
    def title(self) -> str:
        return f"{self.metric} (%)" if self.scale.rate else self.metric

    @property
    def whiskers(self) -> str:
        return "95 % intervals" if self.interval else "± one standard deviation over seeds"

    def y(self, title: str = "") -> Any:
        axis = alt.Axis(format="%") if self.scale.rate else alt.Axis()
        ends = [end for row in self.of_column for end in (row["low"], row["high"])]
        far = not self.scale.rate and ends and 0 < 5 * min(ends) < max(ends)
        scale = alt.Scale(type="log", nice=False) if far else alt.Scale(zero=False)
        return alt.Y("mean:Q", title=title or self.title, axis=axis, scale=scale)


def main_rows(board: Board, table: pd.DataFrame) -> Iterator[Row]:
    """The rows of the main metric, with `place`, `low` and `high`, in the order of the board."""
    for row in table[table["metric"] == board.metrics[0]].to_dict("records"):
        low, high = row.get("low", math.nan), row.get("high", math.nan)
        if pd.isna(low) or pd.isna(high):
            spread = 0.0 if pd.isna(row["sd"]) else row["sd"]
            low, high = row["mean"] - spread, row["mean"] + spread
        place = board.heading(row["dataset"], row["architecture"], row["labels"])
        yield {str(k): v for k, v in row.items()} | {"place": place, "low": low, "high": high}


def by_place(rows: Iterable[Row]) -> Iterable[tuple[str, list[Row]]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["place"]].append(row)
    return found.items()


def best_few(shown: Figures, rows: list[Row]) -> tuple[list[Row], list[str]]:
    """The rows of the `LINES` methods whose best figures are best, and these methods."""
    best: dict[str, float] = {}
    for row in rows:
        best[row["method"]] = max(best.get(row["method"], -math.inf), shown.merit(row))
    kept = sorted(best, key=lambda name: (-best[name], name))[:LINES]
    rows = [row for row in rows if row["method"] in kept]
    return rows, methods_of(shown, rows)


def methods_of(shown: Figures, rows: Iterable[Row]) -> list[str]:
    """The methods of rows, in the order of the board."""
    found = {row["method"] for row in rows}
    return [method for method in shown.board.every_method if method in found]


def front_of(shown: Figures, rows: Iterable[Row], cost: str) -> set[int]:
    """Of each place, the rows (by `id`) that are better than all that cost no more."""
    found, best = set(), defaultdict[str, float](lambda: -math.inf)
    for row in sorted(rows, key=lambda row: (row[cost], -shown.merit(row))):
        if shown.merit(row) > best[row["place"]]:
            best[row["place"]] = shown.merit(row)
            found.add(id(row))
    return found


def radii_of(records: Iterable[Result]) -> tuple[str, dict[tuple[str, str], float]]:
    """The norm of most radii, and the radius in it of each column, robust ones too."""
    found: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for record in records:
        if record.ok and record.norm and record.eps:
            for column in (record.column, f"robust {ball(record)}"):
                found[record.norm][record.dataset, column] = record.eps
    norm = max(sorted(found), key=lambda name: len({*found[name].values()}), default="")
    return norm, found.get(norm, {})


def with_passes(shown: Figures, records: Iterable[Result]) -> Figures:
    """The rows with the passes, forward and back, of a set, what it is made of and a student."""
    groups: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
    for record in records:
        if record.ok and not record.step:
            groups[row_of(record)].append(record)
    rows = []
    for row in shown.rows:
        group = groups[tuple(row[name] for name in ROW)]
        spent = [costs.mean(group, role) for role in (*costs.MADE, "student")]
        rows.append({**row, "passes": sum(one.forward + one.backward for one in spent if one)})
    return replace(shown, rows=rows)
