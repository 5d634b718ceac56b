"""The site in a browser: it opens from disk, sorts, filters and fits a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.report.site import build

ROOT = Path(__file__).parents[2]
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with a chromedriver"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site"), [ROOT / "leaderboards" / "demo"]).parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless=new", "--no-sandbox", "--window-size=1200,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def test_all_figures_filter_and_nothing_leaves_the_disk(site: Path, browser: Any) -> None:
    browser.get((site / "demo" / "index.html").as_uri())
    browser.find_element("css selector", "#figures summary").click()
    browser.implicitly_wait(5)
    select = browser.find_element("css selector", "#figures select[name=ipc]")
    select.find_elements("tag name", "option")[1].click()
    rows = browser.find_elements("css selector", "#figures tbody tr")
    assert len({row.find_elements("tag name", "td")[3].text for row in rows}) == 1
    assert browser.get_log("browser") == []
    asked = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert [u for u in browser.execute_script(asked) if not u.startswith(("file:", "data:"))] == []


def test_a_column_sorts_by_its_numbers(site: Path, browser: Any) -> None:
    browser.get((site / "demo" / "index.html").as_uri())
    browser.implicitly_wait(5)
    heads = browser.find_elements("css selector", "table th.dt-orderable-asc:not(.left)")
    heads[1].click()
    cells = "return [...document.querySelectorAll('table tbody tr')].length"
    assert browser.execute_script(cells) > 0
    column = (
        "const t = document.querySelector('table[data-sortable]'); const i = "
        "t.querySelector('.dt-ordering-asc, .dt-ordering-desc').cellIndex;"
        "return [...t.tBodies[0].rows].map(r => r.cells[i].dataset.order)"
    )
    found = [float(text) for text in browser.execute_script(column) if text]
    assert found in (sorted(found), sorted(found, reverse=True))


def test_a_phone_never_scrolls_sideways(site: Path, browser: Any) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for page in ("index.html", "demo/index.html"):
        browser.get((site / page).as_uri())
        wide = "return document.documentElement.scrollWidth"
        assert browser.execute_script(wide) <= 390
