"""Pages as HTML that reads without scripts and from a disk.

The page is a tree of elements, and the library that writes it out escapes every text and every
attribute: no string of a board becomes markup.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element, tostring

from bench.report.model import (
    Block,
    Cell,
    Code,
    Column,
    Frame,
    Items,
    Name,
    Names,
    Page,
    Paragraph,
    Passes,
    Picture,
    Plot,
    Section,
    Span,
    Table,
    Value,
    Words,
    piece_of,
    plain,
)

FIGURES, WIDE = "figures.js", 24  # a text of so many characters may take several lines
TAGS = {"strong": "strong", "emphasis": "em", "code": "code"}
LEFT = {True: "left", False: None}  # the class of what is aligned to the left
SAFE = re.compile(r"https?://|#|[^:?#]*([/?#]|$)", re.IGNORECASE)  # links that run nothing


@dataclass(frozen=True)
class Around:
    """What lies about a page: the folder of the assets, the way up, which plots are drawn."""

    assets: str = "../assets/"
    up: str = ""
    drawn: bool = False


def rendered(page: Page, around: Around = Around()) -> str:
    """A whole page as a document."""
    writer = _Writer(Names("main", "figures"), around)
    opening, first, after = _around_first(page)
    later = (*page.results, *page.rest)
    parts = [
        *(writer.section(section, 2, folded=False) for section in first),
        *(writer.section(s, 2, _folds(s) and (n > 0 or bool(first))) for n, s in enumerate(later)),
    ]
    notes = [piece for block in after for piece in writer.block(block, 2, page.title)]
    titles = [plain(section.title) for section in (*first, *later)]
    entries = list(zip((part.get("id", "") for part in parts), titles, strict=True))
    if page.figures.rows:
        parts.append(_all_figures())
        entries.append(("figures", "All figures"))
    intro = [piece for block in opening for piece in writer.block(block, 2, page.title)]
    up = [element("p", element("a", "All boards", href=around.up))] if around.up else []
    main = element("main", element("h1", plain(page.title)), *intro, id="main")
    if entries:
        main.append(_contents(entries))
    main.extend([*parts[: len(first)], *notes, *parts[len(first) :]])
    to = f"#{entries[0][0] if entries else 'main'}"
    skip = element("a", "Skip to the results", href=to, class_="skip")
    body = element("body", skip, *([element("header", *up)] if up else []), main)
    html = element("html", _head(page.title, around), body, lang="en")
    return "<!DOCTYPE html>\n" + tostring(html, encoding="unicode", method="html") + "\n"


def _folds(section: Section) -> bool:
    """Plots are what people look at; all else below the first tables unfolds on demand."""
    return not any(isinstance(block, Plot) for block in section.blocks)


def _around_first(page: Page) -> tuple[list[Block], list[Section], list[Block]]:
    """What stands before the tables of the first screen, these, and what stands below them.

    How the page is made comes last; a page without a first screen begins with it.
    """
    first = [block for block in page.summary if isinstance(block, Section)]
    others: list[Block] = [block for block in page.summary if not isinstance(block, Section)]
    if not first:
        return [*others, *page.introduction], first, []
    before = page.summary.index(first[0])
    return others[:before], first, [*others[before:], *page.introduction]


def figures_script(frame: Frame) -> str:
    """All figures as a script, which also a page on a disk may load."""
    rows = [[_finite(value) for value in row] for row in frame.rows]
    text = json.dumps({"columns": frame.columns, "rows": rows}, separators=(",", ":"))
    return f"window.benchFigures={text};\n"


def plot_file(plot: Plot) -> str:
    """The name of a plot's file, which follows from what it shows."""
    text = json.dumps(plot.spec, sort_keys=True)
    return f"plot-{hashlib.sha256(text.encode()).hexdigest()[:12]}.svg"


def element(tag: str, *children: str | Element, **attributes: str | None) -> Element:
    """An element with texts and elements in it, in order; an attribute that is None is none.

    `class_` is the attribute "class", and `aria_label` is "aria-label".
    """
    named = {name.rstrip("_").replace("_", "-"): v for name, v in attributes.items()}
    made = Element(tag, {name: value for name, value in named.items() if value is not None})
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _head(title: str, around: Around) -> Element:
    view = "width=device-width, initial-scale=1"
    assets = around.assets
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content=view),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),  # else a browser asks for one
        element("title", plain(title)),
        element("link", rel="stylesheet", href=f"{assets}site.css"),
        element("script", src=f"{assets}datatables.js", defer="defer"),
        element("script", src=f"{assets}site.js", defer="defer"),
    )


def _contents(entries: list[tuple[str, str]]) -> Element:
    links = (element("li", element("a", title, href=f"#{name}")) for name, title in entries)
    summary = element("summary", element("h2", "Contents"))
    details = element("details", summary, element("ul", *links))  # the tables are nearer then
    return element("nav", details, aria_label="Contents")


def _all_figures() -> Element:
    """The place of the long table, which a script fills when it is unfolded."""
    said = "This table needs JavaScript; table.csv beside the board's records holds the same."
    place = element(
        *("div", element("noscript", element("p", said))),
        id="figures-table",
        data_source=FIGURES,
        aria_live="polite",
    )
    summary = element("summary", element("h2", "All figures"))
    return element("section", element("details", summary, place), id="figures")


@dataclass(frozen=True)
class _Writer:
    """Blocks as elements of one page, whose ids it gives."""

    ids: Names
    around: Around

    def section(self, section: Section, level: int, folded: bool = False) -> Element:
        title = plain(section.title)
        heading = element(f"h{min(level, 6)}", title)
        inner = [p for block in section.blocks for p in self.block(block, level + 1, title)]
        name = self.ids.fresh(title, "part")
        if not folded:
            return element("section", heading, *inner, id=name)
        details = element("details", element("summary", heading), *inner)
        return element("section", details, id=name)

    def block(self, block: Block, level: int, title: str) -> Iterator[Element]:
        match block:
            case Section():
                yield self.section(block, level)
            case Paragraph(words):
                yield element("p", *_words(words))
            case Items(items):
                yield element("ul", *(element("li", *_words(words)) for words in items))
            case Code(text):
                yield element("pre", element("code", text), tabindex="0")
            case Picture(file, instead, caption):
                image = element("img", src=_link(file), alt=plain(instead), loading="lazy")
                yield _figure(image, caption or (instead,), folded=True)
            case Plot(_, instead, caption) if self.around.drawn:
                image = element(
                    "img", src=plot_file(block), alt=plain(instead), class_="plot", loading="lazy"
                )
                yield _figure(image, caption)
            case Plot(_, instead, caption):
                lacks = " (not drawn here: install condensation-bench[pages] to build plots)"
                yield _figure(element("p", plain(instead), lacks), caption)
            case Table():
                yield from self.table(block, title)

    def table(self, table: Table, title: str) -> Iterator[Element]:
        notes, name = table.footnotes, self.ids.fresh("table", "part")
        lines = [piece for words in table.caption for piece in (*_words(words), element("br"))][:-1]
        caption = element("caption", *lines)
        if not lines:
            caption = element("caption", title, class_="hidden")

        def marked(made: Element, texts: tuple[str, ...]) -> Element:
            for text in texts:
                n = notes[text]
                link = element("a", str(n), href=f"#{name}-{n}", aria_label=f"Note {n}")
                made.append(element("sup", link))
            return made

        heads = [
            marked(element("th", plain(c.name), scope="col", class_=LEFT[c.left]), c.notes)
            for c in table.columns
        ]
        rows = [
            element("tr", *(marked(_cell(c, x), x.notes) for c, x in pairs))
            for pairs in (zip(table.columns, row, strict=True) for row in table.rows)
        ]
        made = element(
            *("table", caption, element("thead", element("tr", *heads))),
            element("tbody", *rows),
            data_sortable="",
        )
        label = " ".join("".join(caption.itertext()).split()) or title
        of_box = {"role": "region", "tabindex": "0", "class_": "scroll", "aria_label": label}
        yield element("div", made, **of_box)
        if notes:
            items = (element("li", plain(t), id=f"{name}-{n}") for t, n in notes.items())
            yield element("ol", *items, class_="notes")


def _figure(shown: Element, caption: Words, folded: bool = False) -> Element:
    if folded:
        summary = element("summary", *_words(caption))
        return element("figure", element("details", summary, shown))
    said = [element("figcaption", *_words(caption))] if caption else []
    return element("figure", shown, *said)


def _cell(column: Column, cell: Cell) -> Element:
    [shown] = _words((piece_of(cell),))
    wide = None
    if isinstance(cell, Name):
        wide = "wide" if len(plain(cell.text).strip()) > WIDE else None
        if cell.url and isinstance(shown, str):
            shown = element("a", shown, href=_link(cell.url))
    left = column.left and not column.key  # a key without an order is left, says the style
    return element(
        *("th" if column.key else "td", shown),
        scope="row" if column.key else None,
        data_order=None if column.left else _order(cell),
        class_=" ".join(filter(None, (LEFT[left], wide))) or None,
    )


def _order(cell: Cell) -> str:
    """By what a cell of a column of numbers is sorted; what is no number has nothing."""
    match cell:
        case Value(mean=mean) if mean is not None and math.isfinite(mean):
            return format(mean, ".6g")
        case Passes(forward, backward) if math.isfinite(forward + backward):
            return format(forward + backward, ".12g")
    return ""


def _words(words: Words) -> Iterator[str | Element]:
    for piece in words:
        match piece:
            case str():
                yield plain(piece)
            case Span(text, "link", url):
                yield element("a", plain(text), href=_link(url))
            case Span(text, style):
                yield element(TAGS[style], plain(text))


def _link(url: str) -> str:
    """Where a link leads, unless a browser would run it."""
    return url if SAFE.match(url) else "#"
