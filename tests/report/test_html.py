"""Pages as HTML: well formed, complete, and no text of a board is markup."""

from __future__ import annotations

import hashlib
from html.parser import HTMLParser
from importlib import resources

from hypothesis import given
from pages import BLOCKS, TABLE, page_of

from bench.report.html import Around, rendered
from bench.report.model import Block, Frame, Page, Paragraph, Plot, Section, Span

HASHES = {
    "datatables.js": "38017a5586acd9c6eb6bbfe8b6938e1a25bdc717c5acfcb07e0c9d663282c59d",
    "datatables-LICENSE.txt": "62b5fdd54371b4f6bd07a60dbc78b38814f49a8028213f540dc2733cad605382",
}
VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Tags that are opened, and whether each is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@given(BLOCKS)
def test_any_block_is_well_formed_under_one_heading_and_ids_are_given_once(block: Block) -> None:
    read = Reader(rendered(page_of(block)))
    assert read.open == []
    assert read.tags.count("h1") == 1
    assert len(read.ids) == len({*read.ids})


def test_hostile_text_is_text() -> None:
    evil = "<script>alert(1)</script>\" onload='x'"
    link = Span("here", "link", "javascript:alert(1)")
    text = rendered(page_of(Section(evil, (Paragraph((evil, link)),)), title=evil))
    assert Reader(text).tags.count("script") == 2  # those of the site
    assert "javascript:" not in text


def test_a_table_has_heads_with_a_scope_raw_numbers_and_linked_notes() -> None:
    text = rendered(page_of(TABLE))
    assert text.count('scope="col"') == 4
    assert text.count('scope="row"') == 6
    assert '<td data-order="0.5"><strong>50.0 ± 1.0</strong></td>' in text
    assert "<em>two &lt;x&gt;</em>" in text
    assert 'href="#table-1"' in text
    assert 'id="table-1"' in text
    assert text.count(">1</th>") == 2  # a merged cell is filled, so that rows can be sorted


def test_where_plots_are_not_drawn_the_page_says_what_they_show() -> None:
    text = rendered(page_of(Plot({}, "it rises")))
    assert "it rises" in text
    assert "condensation-bench[pages]" in text


def test_what_is_vendored_is_what_was_published() -> None:
    folder = resources.files("bench.report").joinpath("assets")
    for name, digest in HASHES.items():
        assert hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest() == digest


def test_plots_are_unfolded_and_what_else_is_below_the_first_tables_is_not() -> None:
    plot = Section("Plots", (Plot({}, "curves", ("Curves.",)),))
    first, more = Section("First", (TABLE,)), Section("More", (TABLE,))
    page = Page("", (), (more,), (plot,), Frame((), ()), summary=(first,))
    text = rendered(page, Around(drawn=True))
    assert '<section id="plots"><h2>Plots</h2><figure><img ' in text
    assert "<details><summary><h2>More</h2>" in text
    assert '<nav aria-label="Contents"><details><summary>' in text
    assert 'loading="lazy"' in text
