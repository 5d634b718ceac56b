"""The site in a browser: it opens from disk, sorts, filters, folds, and fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, opened

from bench.report.site import build

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
PAGES = ("index.html", "demo/index.html", "fashion-guard/index.html")
FIRST = 1000  # milliseconds until the first table is on the screen


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened() as one:
        yield one


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    boards = [ROOT / "leaderboards" / name for name in ("demo", "fashion-guard")]
    return build(tmp_path_factory.mktemp("site"), boards).parent


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_nothing_on_the_console_and_asks_for_nothing_but_the_disk(
    site: Path, browser: Browser, page: str
) -> None:
    browser.console()
    browser.requests()
    browser.go(site / page)
    browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
    if page != "index.html":
        browser.until("return document.querySelector('#figures tbody tr')")
    asked = browser.requests()
    assert any(url.endswith("site.js") for url in asked)
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:"))] == []
    assert browser.console() == []


def test_a_request_that_leaves_the_disk_would_be_seen(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<script src='http://127.0.0.1:9/tracker.js'></script>", "utf-8")
    browser.go(page)
    assert any("tracker.js" in url for url in browser.requests())
    assert any("tracker.js" in str(line) for line in browser.console())


@pytest.mark.parametrize("page", PAGES)
def test_the_first_table_is_on_the_screen_within_a_second(
    site: Path, browser: Browser, page: str
) -> None:
    def seen() -> float:
        browser.go(site / page)
        painted = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        at = browser.until(f"return {painted}")
        top = browser.run("return document.querySelector('table').getBoundingClientRect().top")
        assert 0 < top < 1000, "the first table is below the first screen"
        return float(at)

    assert min(seen() for _ in range(3)) < FIRST


def test_all_figures_are_filtered_by_every_axis_that_has_a_choice(
    site: Path, browser: Browser
) -> None:
    browser.go(site / "demo" / "index.html")
    browser.click("#figures summary")
    names = browser.until(
        "const all = [...document.querySelectorAll('#figures .filters select')];"
        "return all.length && all.map((one) => one.name)"
    )
    assert {"ipc", "column", "metric"} <= {*names}
    browser.run(
        "const one = document.querySelector('#figures select[name=ipc]');"
        "one.selectedIndex = 1; one.dispatchEvent(new Event('change'))"
    )
    shown = (
        "const heads = [...document.querySelectorAll('#figures thead th')];"
        "const at = heads.findIndex((one) => one.innerText.trim() === 'ipc');"
        "return [...document.querySelectorAll('#figures tbody tr')].map(r => r.cells[at].innerText)"
    )
    assert len({*browser.until(shown)}) == 1
    heads = "return document.querySelector('#figures thead').innerText"
    assert "dataset" not in browser.run(heads)  # the same in all rows


def test_a_column_sorts_by_its_numbers_and_then_the_other_way(site: Path, browser: Browser) -> None:
    browser.go(site / "demo" / "index.html")
    heads = "[...document.querySelector('table[data-sortable]').tHead.rows[0].cells]"
    at = browser.run(f"return {heads}.findIndex((one) => one.innerText.startsWith('accuracy'))")
    assert at > 0
    browser.until("return document.querySelector('table th.dt-orderable-asc')")
    for before in ("<=", ">="):
        browser.click(f"table[data-sortable] thead th:nth-child({at + 1})")
        browser.until(
            "const rows = [...document.querySelector('table[data-sortable]').tBodies[0].rows];"
            f"const found = rows.map((row) => Number(row.cells[{at}].dataset.order));"
            "return new Set(found).size > 5"
            f" && found.every((one, i) => i === 0 || found[i - 1] {before} one)"
        )


def test_a_part_folds_and_unfolds_and_a_link_to_it_unfolds_it(site: Path, browser: Browser) -> None:
    page = site / "demo" / "index.html"
    browser.go(page)
    folded = "return [...document.querySelectorAll('section[id] > details')].map((d) => d.open)"
    assert browser.run(folded)
    assert not any(browser.run(folded))
    name = browser.run("return document.querySelector('section[id] > details').parentElement.id")
    opened = f"return document.querySelector('#{name} > details').open"
    browser.click(f"#{name} > details > summary")
    assert browser.run(opened)
    browser.click(f"#{name} > details > summary")
    assert not browser.run(opened)
    browser.go(page, f"#{name}")
    assert browser.until(opened)
    assert (
        abs(browser.run(f"return document.querySelector('#{name}').getBoundingClientRect().top"))
        < 50
    )


def test_the_keyboard_alone_skips_to_the_results_sorts_and_unfolds(
    site: Path, browser: Browser
) -> None:
    browser.go(site / "demo" / "index.html")
    active = "return document.activeElement"
    browser.press("tab")
    assert browser.run(f"{active}.className") == "skip"
    browser.press("enter")
    first = browser.run("return document.querySelector('main section').id")
    assert browser.until("return location.hash") == f"#{first}"
    browser.until("return document.querySelector('table .dt-column-order')")
    for _ in range(4):
        browser.press("tab")
        if browser.run(f"{active}.closest('th') !== null"):
            break
    browser.press("enter")
    assert browser.until("return document.querySelector('th.dt-ordering-asc, th.dt-ordering-desc')")
    browser.run("document.querySelector('#figures summary').focus()")
    browser.press("enter")
    assert browser.until("return document.querySelector('#figures tbody tr')")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.run(f"return {outline}") != "none"  # one sees where one is


@pytest.mark.parametrize("page", PAGES)
def test_a_phone_never_scrolls_sideways(site: Path, browser: Browser, page: str) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.chrome("Emulation.setDeviceMetricsOverride", **size)
    try:
        browser.go(site / page)
        browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
        assert browser.run("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.chrome("Emulation.clearDeviceMetricsOverride")
