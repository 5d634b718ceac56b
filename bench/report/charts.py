"""What all charts share, as Vega-Lite descriptions by altair: data, panels, colours and shapes.

Colours are those of Okabe and Ito (2008), which the colour-blind tell apart; shapes and dashes say
the same again, so that a plot can be read in grey.
"""

from __future__ import annotations

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


def plot(chart: Any, instead: str, caption: str) -> Plot:
    spec = chart.configure_view(stroke="#cccccc").to_dict()
    return Plot(spec, instead, (caption,))
