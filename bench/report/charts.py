"""What all charts share, as Vega-Lite descriptions by altair: data, panels, colours and shapes.

Colours are those of Okabe and Ito (2008), which the colour-blind tell apart; shapes and dashes say
the same again, so that a plot can be read in grey.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.report.model import Plot

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SHAPES = ("circle", "triangle-right", "triangle-up", "diamond", "cross", "triangle-down")
DASHES = ([1, 0], [6, 2], [2, 2], [8, 2, 2, 2], [4, 4])
DIGITS = 4  # significant ones, of the figures in a chart
WIDTH, HEIGHT, LINE = 300, 220, 18  # pixels of a panel, and of one line of a list


def data(rows: Iterable[Mapping[str, Any]], wanted: Sequence[str]) -> Any:
    import altair as alt

    values = [{name: rounded(row[name]) for name in wanted} for row in rows]
    return alt.Data(values=values)  # type: ignore[no-untyped-call]


def rounded(value: Any) -> Any:
    """A figure with `DIGITS` significant digits: the last ones differ between machines."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def panels(
    layers: Any, rows: Sequence[Mapping[str, Any]], wanted: Sequence[str], sized: bool = True
) -> Any:
    """A panel for each `place` of rows, two beside each other."""
    import altair as alt

    places = list(dict.fromkeys(row["place"] for row in rows))
    chart = layers.properties(width=WIDTH, height=HEIGHT) if sized else layers
    header = alt.Header(labelFontWeight="bold")
    facet = alt.Facet("place:N", title=None, sort=places, header=header)
    chart = chart.properties(data=data(rows, wanted)).facet(facet, columns=2)
    return chart.resolve_scale(y="independent") if sized else chart


def colour(names: Sequence[str]) -> tuple[Any]:
    import altair as alt

    return (alt.Color("method:N", title="method").scale(domain=names, range=cycle(COLOURS, names)),)


def shape(names: Sequence[str]) -> Any:
    import altair as alt

    return alt.Shape("method:N", title="method").scale(domain=names, range=cycle(SHAPES, names))


def dash(names: Sequence[str]) -> Any:
    import altair as alt

    dashes = cycle(DASHES, names)
    return alt.StrokeDash("method:N", title="method").scale(domain=names, range=dashes)


def cycle(values: Sequence[Any], names: Sequence[str]) -> list[Any]:
    return [values[k % len(values)] for k in range(len(names))]


def plot(chart: Any, instead: str, caption: str) -> Plot:
    spec = chart.configure_view(stroke="#cccccc").to_dict()
    return Plot(spec, instead, (caption,))


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
