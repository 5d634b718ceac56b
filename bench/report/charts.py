"""What all charts share, as Vega-Lite descriptions by altair: data, panels, colours and shapes.

Colours are those of Okabe and Ito (2008), which the colour-blind tell apart; shapes and dashes say
the same again, so that a plot can be read in grey.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import cycle, islice
from typing import Any

from bench.report.model import Plot

alt: Any = import_module("altair") if find_spec("altair") else None  # the extra `pages` has it

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LOOKS: Mapping[str, Sequence[Any]] = {
    "Color": COLOURS,
    "Shape": ("circle", "triangle-right", "triangle-up", "diamond", "cross", "triangle-down"),
    "StrokeDash": ([1, 0], [6, 2], [2, 2], [8, 2, 2, 2], [4, 4]),
}
"""What tells methods apart, by the channel of altair."""
DIGITS = 4  # significant ones, of the figures in a chart
APART = 0.06  # of the height of a panel: what two texts need
LETTER = 5.5  # pixels of a small text
WIDTH, HEIGHT, LINE = 300, 220, 18  # pixels of a panel, and of one line of a list


def data(rows: Iterable[Mapping[str, Any]], wanted: Sequence[str]) -> Any:
    values = [{name: rounded(row[name]) for name in wanted} for row in rows]
    return alt.Data(values=values)


def rounded(value: Any) -> Any:
    """A figure with `DIGITS` significant digits: the last ones differ between machines."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def panels(
    layers: Any, rows: Sequence[Mapping[str, Any]], wanted: Sequence[str], sized: bool = True
) -> Any:
    """A panel for each `place` of rows, two beside each other."""
    places = list(dict.fromkeys(row["place"] for row in rows))
    chart = layers.properties(width=WIDTH, height=HEIGHT) if sized else layers
    header = alt.Header(labelFontWeight="bold")
    facet = alt.Facet("place:N", title=None, sort=places, header=header)
    chart = chart.properties(data=data(rows, wanted)).facet(facet, columns=2)
    return chart.resolve_scale(y="independent") if sized else chart


def by_method(names: Sequence[str], *channels: str) -> list[Any]:
    """The encodings that tell methods apart by some channels of `LOOKS`."""
    return [
        getattr(alt, channel)("method:N", title="method").scale(
            domain=names, range=list(islice(cycle(LOOKS[channel]), len(names)))
        )
        for channel in channels
    ]


def points(base: Any, names: Sequence[str], size: int) -> Any:
    dots = base.mark_point(size=size, filled=True, opacity=1)
    return dots.encode(*by_method(names, "Color", "Shape"))


def curves(base: Any, names: Sequence[str]) -> tuple[Any, Any]:
    """A line for each method, and its points; `base` says what stands on the axes."""
    lines = base.mark_line(strokeWidth=1.5).encode(*by_method(names, "Color", "StrokeDash"))
    return lines, points(base, names, 45)


def labels(rows: Sequence[Mapping[str, Any]], cost: str) -> list[dict[str, Any]]:
    """Rows with the text that stands at each, and its side: no two texts lie on each other.

    Of the rows on a front (`front`, by ascending `cost` ever better), each has a `label`. Above a
    front and left of it there is nothing, so that texts stand there, unless the axis is too near.
    Rows of a `place` that are hardly apart share the text of the last.
    """
    logs = [math.log(row[cost]) for row in rows]
    least, span = min(logs), max(logs) - min(logs) or 1.0
    x = [(one - least) / span * WIDTH for one in logs]
    said: dict[str, list[tuple[int, str]]] = defaultdict(list)  # by place: which row says what

    def right(at: int, text: str) -> bool:
        return x[at] < LETTER * len(text)

    for at in sorted((at for at, row in enumerate(rows) if row["front"]), key=lambda at: x[at]):
        of_panel = [row["mean"] for row in rows if row["place"] == rows[at]["place"]]
        near = APART * (max(of_panel) - min(of_panel))
        text, before = rows[at]["label"], said[rows[at]["place"]]
        while before and abs(rows[before[-1][0]]["mean"] - rows[at]["mean"]) < near:
            last, other = before[-1]
            if x[at] - x[last] > LETTER * (len(text) + (len(other) if right(last, other) else 0)):
                break
            text = f"{other}, {text}"
            before.pop()
        before.append((at, text))
    texts = dict(pair for found in said.values() for pair in found)
    return [
        {
            **row,
            "text": (text := texts.get(at, "")),
            "side": "right" if right(at, text) else "left",
        }
        for at, row in enumerate(rows)
    ]


def front_texts(base: Any) -> list[Any]:
    """The texts of `labels`, with a rim of paper around them that parts them from lines."""
    left = {"align": "right", "dx": -4, "dy": -9}
    right = {"align": "left", "dx": 2, "dy": -10}
    return [
        base.transform_filter(f"datum.text && datum.side == '{side}'")
        .mark_text(fontSize=9, **where, **rim)
        .encode(text="text:N")
        for side, where in (("left", left), ("right", right))
        for rim in ({"stroke": "white", "strokeWidth": 3}, {})
    ]


def plot(chart: Any, instead: str, caption: str) -> Plot:
    spec = chart.configure_view(stroke="#cccccc").to_dict()
    return Plot(spec, instead, (caption,))
