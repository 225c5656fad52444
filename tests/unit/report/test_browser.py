"""In a browser without network: pages run clean, fit the window, sort, answer to keys, run nothing from the data."""

from pathlib import Path

import polars as pl
import pytest

from tests.helpers.browser import Tab, browser, chromium
from watchline.drift.compare import ColumnDrift
from watchline.drift.page import distribution
from watchline.report import Link, Page, Table, Verdict, charts
from watchline.stages.ingest import _unparsable_section

PROGRAM = chromium()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on the path")
TAG = "<img src=x onerror=document.title='ran'>"
FILE_NAME = 'log_"><script>document.title="ran"</script>.csv'


def planted_page() -> Page:
    """Markup in a tag of the videos and in a file's name, as the line's own page builders show them."""
    page = Page("ingest", f"Planted {TAG}", FILE_NAME, Verdict("warn", TAG))
    broken = pl.DataFrame({"file": [FILE_NAME] * 2, "line": [1, 2], "reason": [TAG] * 2, "text": [TAG] * 2})
    _unparsable_section(page, broken)
    tags = pl.DataFrame({"tag": [TAG, TAG, "music"]})
    drift = ColumnDrift("tag", "categorical", "jensenshannon", 0.3, 0.1, True, 0.0, 0.0)
    page.section("Tags", distribution(drift, {"train": tags, "eval": tags.head(2)}))
    figure = charts.line_chart({TAG: (["a", "b"], [1, 2]), "other": (["a", "b"], [3, 4])}, TAG, TAG, TAG)
    rows = [[Link("x.html", TAG), 2.0], [FILE_NAME, 10.0]]
    page.section("Chart", figure, Table([TAG, "seconds"], rows, FILE_NAME))
    return page


@pytest.fixture(scope="module")
def tab() -> Tab:
    with browser(PROGRAM) as tab:
        yield tab


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "ingest/index.html"
    planted_page().write(path)
    return path


@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_of_planted_markup_runs_none_of_it_asks_for_nothing_and_fits(tab, path, width):
    tab.open(path, width)
    assert tab.problems == []
    assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
    assert tab.run("document.title").startswith("Planted <img")
    assert tab.run("document.querySelectorAll('main img, main script').length") == 0
    assert tab.run("document.documentElement.scrollWidth") == width


def test_tables_sort_by_a_click_and_say_so(tab, path):
    tab.open(path)
    table = "[...document.querySelectorAll('table')].at(-1)"
    tab.run(f"{table}.querySelectorAll('button')[1].click()")
    assert tab.run(f"{table}.querySelectorAll('th')[1].getAttribute('aria-sort')") == "descending"
    assert tab.run(f"[...{table}.tBodies[0].rows].map(row => row.cells[1].textContent)") == ["10", "2"]


def test_a_chart_is_read_by_the_arrow_keys(tab, path):
    tab.open(path)
    tab.run("[...document.querySelectorAll('.plot')].at(-1).focus()")
    spoken = "[...document.querySelectorAll('.plot')].at(-1).querySelector('[role=status]').textContent"
    heard = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        tab.press(key)
        heard.append(tab.run(spoken))
    assert heard == [f"a: {TAG} 1", f"b: {TAG} 2", "b: other 4"]


def test_a_series_is_hidden_by_its_name_in_the_legend(tab, path):
    tab.open(path)
    legend = "[...document.querySelectorAll('.legend')].at(-1)"
    tab.run(f"{legend}.querySelectorAll('button')[1].click()")
    shown = f"{legend}.closest('figure').querySelectorAll('.plot .off').length"
    assert tab.run(shown) == 1 and tab.problems == []
