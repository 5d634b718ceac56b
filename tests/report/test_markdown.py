"""Pages as Markdown: what stands in a cell means itself, and columns line up."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pages import BLOCKS, TABLE, any_table, page_of

from bench.report.markdown import escaped, rendered, width_of
from bench.report.model import (
    Block,
    Code,
    Column,
    Items,
    Name,
    Paragraph,
    Picture,
    Plot,
    Section,
    Span,
    Table,
    plain,
)


def test_a_table_stands_with_its_caption_and_its_footnotes() -> None:
    assert rendered(page_of(TABLE)) == (
        """\
# Board

n = 3 seeds.
From [Doe \\[1\\]](https://example.org/1).

|      IPC | Method         |          clean |  pgd\\|20 [1] |
| -------: | :------------- | -------------: | -----------: |
|        1 | one            | **50.0 ± 1.0** |            – |
|          | *two \\<x>* [2] |   **50.0** [3] |      n/a [4] |
| full set | full           |     90.0 ± 0.0 | 25.0 [2] [1] |

- [1] linf 8/255
- [2] lam = 3
- [3] 1 of 3 seeds
- [4] needs \\<BatchNorm> | \\*
"""
    )


def test_blocks_stand_apart_and_sections_nest() -> None:
    page = page_of(
        Paragraph(("See ", Span("matrix.toml", "code"), " *now*.")),
        Code("bench run .", "sh"),
        Items(((Span("Bold", "strong"), ": best"), (Span("Italics", "emphasis"),))),
        Section("One", (Section("Two\nlines", (Picture("a.png", "x [y]", ("said",)),)),)),
        title="A <b>",
    )
    assert rendered(page) == (
        """\
# A \\<b>

See `matrix.toml` \\*now\\*.

```sh
bench run .
```

- **Bold**: best
- *Italics*

## One

### Two lines

said

![x \\[y\\]](a.png)
"""
    )


def test_a_folded_section_is_a_line_of_links_and_a_plot_its_caption() -> None:
    pictures = (Picture("a.png", "one [1]", ("said",)), Picture("b.png", "two"))
    page = page_of(
        Section("Sets", (Paragraph(("A grid each.",)), *pictures), folded=True),
        Plot({"mark": "line"}, "rises", ("Accuracy.",)),
        Plot({"mark": "line"}, "rises"),
    )
    assert rendered(page) == (
        "# Board\n\n## Sets\n\n[one \\[1\\]](a.png) · [two](b.png)\n\nA grid each.\n\nAccuracy.\n"
    )


@given(BLOCKS)
def test_any_block_is_rendered(block: Block) -> None:
    assert rendered(page_of(block)).startswith("# Board\n")


@given(any_table())
def test_every_line_of_any_table_has_all_its_columns_and_one_width(table: Table) -> None:
    columns, rows = table.columns, table.rows
    text = rendered(page_of(Table(columns, rows)))
    lines = [line for line in text.split("\n") if line.startswith("| ")]
    assert len(lines) == 2 + len(rows)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(columns) + 1}
    assert len({width_of(line) for line in lines}) == 1


def test_foreign_text_is_one_line_that_means_itself() -> None:
    assert escaped("a\n <b>  *c* \\d") == "a \\<b> \\*c\\* \\\\d"


MARKS = st.text(st.sampled_from("<>&[]()!*_~`|\\\\#-+=.1:;$ \nab/"), max_size=24)


@settings(deadline=None)
@given(MARKS)
@example("[a](javascript:alert(1))")
@example("![x](http://example.org/pixel.png)")
@example("[a]: http://example.org")
@example("<img src=x onerror=alert(1)>")
@example("&lt;b> `code` **b** __b__ ~~s~~")
@example("# heading")
@example("1. list")
@example("- list")
@example("> said")
def test_foreign_text_is_text_wherever_it_stands(text: str) -> None:
    """A reader of Markdown that is not ours finds nothing in it but text."""
    reader = (
        pytest.importorskip("markdown_it")
        .MarkdownIt("commonmark")
        .enable(["table", "strikethrough"])
    )
    row = ((Name(text, notes=(text,)),),)
    page = page_of(
        Paragraph((text, Span(text, "strong"), Span(text, "link", "https://example.org/1"))),
        Items(((text,),)),
        Section(text, (Paragraph((text,)),)),
        Table((Column(text, key=True),), row, ((text,), (text,))),
        title=f"A {text}",
    )
    tokens = [t for token in reader.parse(rendered(page)) for t in (token, *(token.children or ()))]
    kinds = [token.type for token in tokens]
    assert not {"html_inline", "html_block", "image", "code_inline", "fence", "em_open"} & {*kinds}
    assert kinds.count("heading_open") == 2
    assert kinds.count("bullet_list_open") == 2
    assert not {"ordered_list_open", "blockquote_open", "s_open", "hr", "code_block"} & {*kinds}
    assert kinds.count("table_open") == 1
    hrefs = [token.attrGet("href") for token in tokens if token.type == "link_open"]
    assert {*hrefs} <= {"https://example.org/1"}


def test_code_is_fenced_by_more_backticks_than_it_holds() -> None:
    page = page_of(Code("a\n```\n# b", "diff"), Paragraph((Span("a`b", "code"),)))
    assert rendered(page) == "# Board\n\n````diff\na\n```\n# b\n````\n\n`` a`b ``\n"


def test_what_cannot_be_seen_is_seen_to_be_there() -> None:
    assert plain("a\u202eb\x00c\ud800d\n e") == "a\ufffdb\ufffdc\ufffdd e"
