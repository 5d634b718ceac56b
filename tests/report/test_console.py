"""Pages on a terminal: they fit its width, in characters that it can show."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import BLOCKS, TABLE
from rich.console import Console

from bench.report.console import encodable, show
from bench.report.model import (
    PERCENT,
    Block,
    Code,
    Column,
    Items,
    Name,
    Paragraph,
    Picture,
    Section,
    Table,
    Value,
    budget,
)


def shown(*blocks: Block, width: int = 80, encoding: str = "utf-8", terminal: bool = False) -> str:
    """What is written to a file or a terminal, without the blanks at the ends of lines."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding, newline="\n")
    options = {"highlight": False, "soft_wrap": True, "emoji": False, "markup": False}
    show(Console(file=file, width=width, force_terminal=terminal, **options), blocks)
    file.flush()
    lines = raw.getvalue().decode(encoding).split("\n")
    return "\n".join(line.rstrip() for line in lines)


WIDE = Table(
    (
        Column("IPC", key=True, merged=True),
        Column("Method", key=True, left=True),
        *(Column(f"attack-{k}") for k in range(12)),
    ),
    tuple(
        (budget(1), Name(f"method-{m}"), *(Value(k / 100, 0.1, 3, PERCENT) for k in range(12)))
        for m in range(3)
    ),
)


def test_a_table_stands_with_its_caption_and_its_footnotes() -> None:
    assert shown(Section("Metric", (TABLE,))) == (
        """\
Metric

n = 3 seeds.
From Doe [1] (https://example.org/1).

     IPC  Method                  clean    pgd|20 [1]
       1  one            **50.0 ± 1.0**             –
          *two <x>* [2]    **50.0** [3]       n/a [4]
full set  full               90.0 ± 0.0  25.0 [2] [1]

[1] linf 8/255
[2] lam = 3
[3] 1 of 3 seeds
[4] needs <BatchNorm> | *

"""
    )


def test_emphasis_on_a_terminal_is_a_style_and_no_mark() -> None:
    text = shown(TABLE, terminal=True)
    assert "**" not in text
    assert "*two" not in text
    assert "\x1b[1m50.0 ± 1.0\x1b[0m" in text
    assert "\x1b[3mtwo <x>\x1b[0m" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_wide_table_is_cut_into_several_that_fit_and_repeat_the_names_of_rows(width: int) -> None:
    text = shown(WIDE, width=width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    heads = [line for line in lines if line.lstrip().startswith("IPC")]
    assert len(heads) > (width < 200)
    assert all("Method" in head for head in heads)
    assert [word for head in heads for word in head.split()[2:]] == [
        f"attack-{k}" for k in range(12)
    ]
    assert text.count("± 10.0") == 36


def test_a_wide_file_folds_nothing() -> None:
    lines = shown(WIDE, Paragraph(("word " * 60,)), width=10_000).splitlines()
    assert len([line for line in lines if line]) == 1 + 3 + 1


def test_a_terminal_without_unicode_gets_likenesses_and_escapes() -> None:
    table = Table((Column("Größe", key=True),), ((Name("方法"),), (Value(0.5, 0.1),), (Value(),)))
    text = shown(Section("digits · small", (table,)), encoding="ascii")
    assert text.split() == [
        *("digits", "-", "small"),
        *("Gr\\xf6\\xdfe", "\\u65b9\\u6cd5", "0.5", "+-", "0.1", "-"),
    ]


def test_foreign_text_does_not_steer_the_terminal() -> None:
    table = Table((Column("a\x1b[2J"),), ((Name("b\x07", notes=("c\x9b1m\nd",)),),))
    text = shown(table, terminal=True)
    assert "\\x1b[2J" in text
    assert "b\\x07" in text
    assert "[1] c\\x9b1m d" in text


def test_markup_in_a_name_is_text() -> None:
    assert "[bold]x[/bold] :smile:" in shown(Paragraph(("[bold]x[/bold] :smile:",)))


def test_every_kind_of_block_is_shown() -> None:
    text = shown(
        Items((("one",), ("two",))), Code("run .", "sh"), Picture("a.png", "alt", ("drawn",))
    )
    assert text == "- one\n- two\n\nrun .\n\ndrawn (a.png)\n\n"


@given(BLOCKS, st.sampled_from(["utf-8", "ascii", "latin-1", "cp1252"]), st.integers(10, 120))
def test_any_block_is_shown_in_any_encoding_at_any_width(
    block: Block, encoding: str, width: int
) -> None:
    shown(block, encoding=encoding, width=width)


@given(st.text(), st.sampled_from(["utf-8", "ascii", "latin-1", "cp1252"]))
def test_what_is_encodable_is_encoded(text: str, encoding: str) -> None:
    encodable(text, encoding).encode(encoding)
