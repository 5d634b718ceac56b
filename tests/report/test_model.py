"""The page model: what cells say, how footnotes are numbered, where tables stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.model import (
    COUNT,
    PERCENT,
    PLAIN,
    Cell,
    Column,
    Form,
    Frame,
    Name,
    Page,
    Passes,
    Section,
    Table,
    Value,
    budget,
    tables,
    text_of,
    unrepeated,
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Value(), "–"),
        (Value(declined=True), "n/a"),
        (Value(0.8125, 0.08838, 2, PERCENT), "81.2 ± 8.8"),
        (Value(0.5, None, 1, PERCENT, best=True), "50.0"),
        (Value(12.8456, 0.7071), "12.85 ± 0.71"),
        (Value(-0.0), "0"),
        (Value(-0.0, form=PERCENT), "0.0"),
        (Value(1234567, form=COUNT), "1,234,567"),
        (Value(0.2387, 0.001, form=Form(".2f", ".2f", percent=True)), "23.87 ± 0.10"),
        (Passes(60000, 1000.4), "60,000 / 1,000"),
        (Name("a|b", "control"), "a|b"),
        (budget(1000), "1000"),
        (budget(0), "full set"),
    ],
)
def test_a_cell_says_its_figure_in_its_form(cell: Cell, text: str) -> None:
    assert text_of(cell) == text


def test_footnotes_are_numbered_in_the_order_of_reading_each_text_once() -> None:
    table = Table(
        (Column("a", notes=("head",)), Column("b")),
        (
            (Name("x", notes=("row",)), Value(1.0, notes=("row", "cell"))),
            (Name("y"), Value(notes=("last", "head"))),
        ),
    )
    assert table.footnotes == {"head": 1, "row": 2, "cell": 3, "last": 4}


def test_only_a_merged_column_repeats_what_stands_above() -> None:
    columns = (Column("a", merged=True), Column("b"))
    rows = tuple((budget(ipc), Name("same")) for ipc in (1, 1, 0, 0, 1))
    found = [tuple(cell is None for cell in row) for row in unrepeated(Table(columns, rows))]
    assert found == [(False, False), (True, False), (False, False), (True, False), (False, False)]


def test_the_tables_of_a_page_stand_under_their_headings() -> None:
    one, two = Table((Column("a"),), ()), Table((Column("b"),), ())
    page = Page(
        "board",
        (),
        (Section("metric", (Section("place", (one,)),)),),
        (Section("cost", (two, one)),),
        Frame((), ()),
    )
    assert [*tables(page)] == [
        (("board", "metric", "place"), one),
        (("board", "cost"), two),
        (("board", "cost"), one),
    ]


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_better_rate_is_never_shown_as_a_worse_one(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert float(PERCENT.shown(low)) <= float(PERCENT.shown(high))
    assert float(PLAIN.shown(low)) <= float(PLAIN.shown(high))
