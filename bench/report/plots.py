"""The plots of a board, from the figures of its tables.

Without altair (the extra `pages`) a board has no plots. A chart with fewer than two points says
nothing, and is left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from bench.records.result import Result
from bench.report import matched
from bench.report.charts import (
    COLOURS,
    LINE,
    WIDTH,
    alt,
    by_method,
    curves,
    data,
    front_texts,
    labels,
    panels,
    plot,
    points,
)
from bench.report.model import Plot, Section, budget_named, capital
from bench.report.numbers import ROW, Board, row_of, scales
from bench.report.plotted import (
    Figures,
    Row,
    best_few,
    by_place,
    front_of,
    main_rows,
    methods_of,
    radii_of,
    with_passes,
)


def sections(
    board: Board,
    records: Sequence[Result],
    table: pd.DataFrame,
    in_print: Sequence[matched.Printed] = (),
) -> tuple[Section, ...]:
    """The plots of a board, of its main metric; none without altair, or where none says something.

    `table` is that of `figures.tidy`, with the columns of `standing.with_standings` or without.
    """
    if not alt:
        return ()
    scale = scales(board, records).get(board.metrics[0])
    drawn: list[Plot | None] = []
    if scale:
        shown = Figures(board, scale, list(main_rows(board, table)), "low" in table.columns)
        drawn += [against_ipc(shown), against_passes(shown, records)]
        drawn += [rank_intervals(shown, *one) for one in by_place(shown.of_column)]
        drawn += [against_radius(shown, records), pareto(shown, "bytes", "bytes of the set")]
        drawn += [pareto(with_passes(shown, records), "passes", "images through networks")]
        drawn += [heat_map(shown, *one) for one in by_place(shown.rows)]
    drawn += [published(*one) for one in matched.pairs(in_print, table)]
    plots = tuple(plot for plot in drawn if plot)
    return (Section("Plots", plots),) if plots else ()


# ---- charts


def against_ipc(shown: Figures) -> Plot | None:
    """The main metric against images per class: one line a method, one panel a place."""
    rows = [row for row in shown.of_column if row["ipc"]]
    budgets = sorted({row["ipc"] for row in rows})
    if len(budgets) < 2:
        return None
    rows, names = best_few(shown, rows)
    x = alt.X(
        "ipc:Q",
        title="images per class",
        scale=alt.Scale(type="log", padding=16, nice=False),
        axis=alt.Axis(values=budgets, format="d", grid=False),
    )
    y = shown.y(f"{shown.column}: {shown.title}")
    chart = _with_whiskers(rows, names, (x, y), "ipc")
    what = f"{shown.metric} under {shown.column} against images per class"
    best = [max((row for row in rows if row["ipc"] == ipc), key=shown.merit) for ipc in budgets]
    said = "; ".join(
        f"IPC {ipc}: {row['method']} is first ({row['place']})"
        for ipc, row in zip(budgets, best, strict=True)
    )
    return plot(chart, f"{what}. {said}.", f"{capital(what)}; {shown.whiskers}.")


def _with_whiskers(rows: list[Row], names: list[str], axes: tuple[Any, Any], along: str) -> Any:
    """A line for each method along a field of the rows, with its intervals."""
    base = alt.Chart().encode(*axes)
    whiskers = alt.Chart().mark_rule(opacity=0.6).encode(axes[0], alt.Y("low:Q"), alt.Y2("high:Q"))
    whiskers = whiskers.encode(*by_method(names, "Color"))
    wanted = ("place", along, "method", "mean", "low", "high")
    return panels(alt.layer(whiskers, *curves(base, names)), rows, wanted)


def against_passes(shown: Figures, records: Iterable[Result]) -> Plot | None:
    """The main metric against the images that a student has been shown, checkpoint by checkpoint:
    a panel a place and budget, in each of them the students of the full set, too."""
    if not shown.board.checkpoints:
        return None
    passes: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for r in records:
        if r.sampler == shown.column and "student" in r.passes:
            passes[(*row_of(r), r.column)].append(r.passes["student"].forward)
    rows = []
    for row in shown.rows:
        if found := passes.get((*(row[name] for name in ROW), row["column"])):
            budgets = [row["ipc"]] if row["ipc"] else shown.board.ipc
            places = [f"{row['place']}, {budget_named(ipc)}" for ipc in budgets]
            rows += [{**row, "place": place, "shown": fmean(found)} for place in places]
    if len(rows) < 2:
        return None
    rows, names = best_few(shown, rows)
    said, least = shown.whiskers, min(row["mean"] for row in rows) / 2
    if far := not shown.scale.rate and 0 < 10 * least < max(row["mean"] for row in rows):
        rows = [{**row, "low": max(row["low"], least)} for row in rows]
        said = f"{said}, cut where they leave a logarithmic axis"
    x = alt.X("shown:Q", title="images shown to a student", axis=alt.Axis(format="~s", grid=False))
    scale = alt.Scale(type="log", nice=False) if far else alt.Scale(zero=False)
    y = shown.y(f"{shown.column}: {shown.title}").scale(scale)
    chart = _with_whiskers(rows, names, (x, y), "shown")
    what = f"{shown.metric} by {shown.column} against the images that a student has been shown"
    return plot(chart, f"{capital(what)}.", f"{capital(what)}; {said}.")


def rank_intervals(shown: Figures, place: str, rows: list[Row]) -> Plot | None:
    """Between which ranks each method of a place may stand: a panel for each budget."""
    rows = [row for row in rows if row["ipc"] and (row.get("rank_low") or 0) > 0]
    counts = Counter(row["ipc"] for row in rows)
    rows = [{**row, "place": f"IPC {row['ipc']}"} for row in rows if counts[row["ipc"]] > 1]
    if not rows:
        return None
    rows.sort(key=lambda row: (row["ipc"], row["rank_low"] + row["rank_high"], row["method"]))
    middle = defaultdict(list)
    for row in rows:
        middle[row["method"]].append(row["rank_low"] + row["rank_high"])
    order = sorted(middle, key=lambda name: (sum(middle[name]) / len(middle[name]), name))
    x = alt.X("rank_low:Q", title="rank (1 is the best)", scale=alt.Scale(zero=False, padding=8))
    x = x.axis(format="d", tickMinStep=1)
    base = alt.Chart().encode(alt.Y("method:N", title=None, sort=order))
    ends = base.mark_tick(thickness=2, size=12, color=COLOURS[0])
    layers = alt.layer(
        base.mark_rule(strokeWidth=4, color=COLOURS[0]).encode(x, x2="rank_high:Q"),
        ends.encode(x.copy()),
        ends.encode(alt.X("rank_high:Q")),
    ).properties(width=WIDTH, height=LINE * len(order))
    chart = panels(layers, rows, ("place", "method", "rank_low", "rank_high"), sized=False)
    said: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        said[row["place"]].append(f"{row['method']} {row['rank_low']:g} to {row['rank_high']:g}")
    instead = ". ".join(f"{panel}: {'; '.join(found)}" for panel, found in said.items())
    what = f"rank intervals by {shown.metric} under {shown.column}: {place}"
    return plot(chart, f"{capital(what)}. {instead}.", f"{capital(what)} (95 %).")


def against_radius(shown: Figures, records: Iterable[Result]) -> Plot | None:
    """The lowest figure at each radius of one norm: a line a method, a panel a place and budget."""
    norm, radii = radii_of(records)
    lowest: dict[tuple[Any, ...], Row] = {}
    for row in shown.rows:
        radius = radii.get((row["dataset"], row["column"]))
        radius = 0.0 if row["column"] == shown.column else radius
        if radius is None:
            continue
        place = f"{row['place']}, {budget_named(row['ipc'])}"
        key = (place, row["method"], radius)
        if key not in lowest or row["mean"] < lowest[key]["mean"]:
            lowest[key] = {**row, "place": place, "radius": radius}
    counts: dict[str, set[float]] = defaultdict(set)
    for place, _, radius in lowest:
        counts[place].add(radius)
    rows = [row for row in lowest.values() if len(counts[row["place"]]) > 2]
    if not rows or shown.scale.better != "higher":
        return None
    rows, names = best_few(shown, rows)
    x = alt.X("radius:Q", title=f"radius of the {norm} ball (pixels of 0 to 1)")
    layers = alt.layer(*curves(alt.Chart().encode(x, shown.y(f"lowest {shown.title}")), names))
    chart = panels(layers, rows, ("place", "radius", "method", "mean"))
    what = f"the lowest {shown.metric} under the attacks of a radius, against that radius"
    return plot(chart, f"{capital(what)}.", f"{capital(what)} ({norm}; 0: {shown.column}).")


def pareto(shown: Figures, cost: str, said: str) -> Plot | None:
    """The main metric against a cost: what nothing cheaper beats is joined by a line."""
    rows = [row for row in shown.of_column if row.get(cost) and row["ipc"]]
    if len(rows) < 2 or len({row[cost] for row in rows}) < 2 or shown.scale.better == "neither":
        return None
    rows, names = best_few(shown, rows)
    front = front_of(shown, rows, cost)
    rows = [
        {**row, "front": id(row) in front, "label": f"{row['method']} {row['ipc']}"} for row in rows
    ]
    x = alt.X(f"{cost}:Q", title=said, scale=alt.Scale(type="log", padding=16, nice=False))
    x = x.axis(format="~s", grid=False, labelOverlap=True)
    base = alt.Chart().encode(x, shown.y(f"{shown.column}: {shown.title}"))
    line = base.transform_filter("datum.front").mark_line(
        interpolate="step-after", color="#888888", strokeWidth=1
    )
    wanted = ("place", cost, "method", "mean", "front", "text", "side")
    layers = alt.layer(line, points(base, names, 55), *front_texts(base))
    chart = panels(layers, labels(rows, cost), wanted)
    what = f"{shown.metric} under {shown.column} against {said}"
    first = ", ".join(dict.fromkeys(row["label"] for row in rows if row["front"]))
    words = "the grey line joins what nothing cheaper beats, by method and images per class"
    return plot(chart, f"{what}. Not beaten: {first}.", f"{capital(what)}; {words}.")


def heat_map(shown: Figures, place: str, rows: list[Row]) -> Plot | None:
    """Methods by columns at a place: a panel for each budget."""
    columns = list(dict.fromkeys(row["column"] for row in rows))
    rows = [row for row in rows if row["ipc"]]
    names = methods_of(shown, rows)
    if len(columns) < 2 or len(names) < 2 or not shown.scale.rate:
        return None
    columns.sort(key=lambda name: (name not in shown.board.columns,))
    rows = [{**row, "place": f"IPC {row['ipc']}", "light": row["mean"] < 0.5} for row in rows]
    base = alt.Chart().encode(
        alt.X("column:N", title=None, sort=columns, axis=alt.Axis(labelAngle=-40)),
        alt.Y("method:N", title=None, sort=names),
    )
    heat = alt.Color("mean:Q", legend=None)
    heat = heat.scale(scheme="viridis", domain=[0, 1])
    ink = alt.Color("light:N", legend=None).scale(domain=[True, False], range=["white", "black"])
    texts = base.mark_text(fontSize=9).encode(text=alt.Text("mean:Q", format=".0%"), color=ink)
    layers = alt.layer(base.mark_rect().encode(heat), texts).resolve_scale(color="independent")
    layers = layers.properties(width=34 * len(columns), height=LINE * len(names))
    chart = panels(layers, rows, ("place", "column", "method", "mean", "light"), sized=False)
    what = f"{shown.metric} of methods under attacks" if shown.board.attacks else shown.metric
    said = f"{capital(what)}: {place}."
    return plot(chart, said, said)


def published(entry: matched.Printed, pairs: Sequence[matched.Pair]) -> Plot | None:
    """Values in print beside those measured, with the difference in points."""
    found = [pair for pair in pairs if pair.n]
    if len(found) < 2:
        return None
    rows: list[Row] = []
    for pair in found:
        row = f"{pair.method}, {budget_named(pair.ipc)}"
        said = f"{100 * pair.difference:+.1f}"
        both = {"published": pair.printed[0], "measured": pair.mean}
        top = max(both.values())
        rows += [
            {"row": row, "which": k, "mean": v, "said": said, "top": top} for k, v in both.items()
        ]
    order = list(dict.fromkeys(row["row"] for row in rows))
    base = alt.Chart(data(rows, ("row", "which", "mean", "said", "top"))).encode(
        alt.Y("row:N", title=None, sort=order)
    )
    x = alt.X("mean:Q", title=f"{entry.metric} (%)", axis=alt.Axis(format="%"))
    x = x.scale(zero=False, padding=24)
    which = ["published", "measured"]
    by_which = alt.Color("which:N", title=None).scale(domain=which, range=[COLOURS[1], COLOURS[0]])
    shaped = alt.Shape("which:N", title=None).scale(domain=which, range=["diamond", "circle"])
    joined = base.mark_line(color="#888888").encode(x, detail="row:N")
    dots = base.mark_point(size=60, filled=True, opacity=1).encode(x, by_which, shaped)
    texts = base.transform_filter("datum.which == 'measured'").mark_text(align="left", dx=8)
    texts = texts.encode(alt.X("top:Q"), text="said:N")
    chart = alt.layer(joined, dots, texts).properties(width=WIDTH, height=LINE * len(order))
    said = "; ".join(f"{p.method} IPC {p.ipc or 'all'}: {100 * p.difference:+.1f}" for p in found)
    words = f"Published and measured {entry.metric}, with the difference in points"
    return plot(chart, f"{words}: {said}.", f"{words}: {entry.source}.")
