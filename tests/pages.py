"""Hand-made pages, and any page at all, for the tests of the renderers."""

from __future__ import annotations

from hypothesis import strategies as st

from bench.report.model import (
    COUNT,
    PERCENT,
    PLAIN,
    Block,
    Code,
    Column,
    Form,
    Frame,
    Items,
    Name,
    Page,
    Paragraph,
    Passes,
    Picture,
    Plot,
    Section,
    Span,
    Table,
    Value,
    budget,
)

TABLE = Table(
    columns=(
        Column("IPC", key=True, merged=True),
        Column("Method", key=True, left=True),
        Column("clean"),
        Column("pgd|20", notes=("linf 8/255",)),
    ),
    rows=(
        (budget(1), Name("one"), Value(0.5, 0.01, 3, PERCENT, best=True), Value()),
        (
            budget(1),
            Name("two\n<x>", "control", ("lam = 3",)),
            Value(0.5, None, 1, PERCENT, best=True, notes=("1 of 3 seeds",)),
            Value(declined=True, notes=("needs\n<BatchNorm> | *",)),
        ),
        (
            budget(0),
            Name("full", "ceiling"),
            Value(0.9, 0.0, 3, PERCENT),
            Value(0.25, form=PERCENT, notes=("lam = 3", "linf 8/255")),
        ),
    ),
    caption=(("n = 3 seeds.",), ("From ", Span("Doe [1]", "link", "https://example.org/1"), ".")),
)


def page_of(*blocks: Block, title: str = "Board") -> Page:
    return Page(title, blocks, (), (), Frame((), ()))


TEXTS = st.text(max_size=12)
NOTES = st.lists(TEXTS, max_size=2).map(tuple)
NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**9), 10**9)
FORMS = st.sampled_from([PLAIN, PERCENT, COUNT, Form(".2f", ".2f", percent=True)])
VALUES = st.builds(
    Value,
    st.none() | NUMBERS,
    st.none() | NUMBERS,
    st.integers(0, 9),
    FORMS,
    best=st.booleans(),
    declined=st.booleans(),
    notes=NOTES,
)
CELLS = (
    VALUES
    | st.builds(Name, TEXTS, st.sampled_from(["", "method", "control", "ceiling"]), NOTES)
    | st.builds(Passes, NUMBERS, NUMBERS, NOTES)
)
WORDS = st.lists(
    TEXTS | st.builds(Span, TEXTS, st.sampled_from(["strong", "emphasis", "code"])),
    max_size=3,
).map(tuple)
COLUMNS = st.builds(Column, TEXTS, left=st.booleans(), merged=st.booleans(), notes=NOTES)


@st.composite
def any_table(draw: st.DrawFn) -> Table:
    columns = draw(st.lists(COLUMNS, min_size=1, max_size=4))
    row = st.tuples(*(CELLS for _ in columns))
    rows = draw(st.lists(row, max_size=3))
    return Table(tuple(columns), tuple(rows), tuple(draw(st.lists(WORDS, max_size=2))))


BLOCKS = st.deferred(
    lambda: (
        any_table()
        | st.builds(Paragraph, WORDS)
        | st.builds(Items, st.lists(WORDS, max_size=2).map(tuple))
        | st.builds(Code, TEXTS)
        | st.builds(Picture, TEXTS, TEXTS, WORDS)
        | st.builds(Plot, st.just({"mark": "point"}), TEXTS, WORDS)
        | st.builds(Section, TEXTS, st.lists(BLOCKS, max_size=2).map(tuple), st.booleans())
    )
)
