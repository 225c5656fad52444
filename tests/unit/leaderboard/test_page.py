"""The page stands alone, escapes what it is given, sorts, and keeps published numbers apart."""

import re

import pytest

from tests.helpers.leaderboard_runs import noisy, write_runs
from watchline.leaderboard.build import build
from watchline.leaderboard.page import build_page

PUBLISHED = [
    {
        "block": "Z",
        "data": "a <split>",
        "source": "table 4",
        "caution": "Other rows.",
        "rows": [{"method": "GR", "mae_s": 98.765, "xauc": 0.614}, {"method": "GoR", "mae_s": 7.0}],
    }
]


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> str:
    folder = write_runs(
        tmp_path_factory.mktemp("runs"),
        {"gr": noisy(9), "lightgbm": noisy(12), "vr": noisy(4)},
        title="<b>bold</b> & more.",
        search_budget="Nothing <i>at all</i>.",
        published=PUBLISHED,
        seeds=[1, 2],
        beside={"vr": "not one method"},
    )
    path = folder / "reports/leaderboard/index.html"
    build_page(build(folder, folder)).write(path)
    return path.read_text()


def test_nothing_is_loaded_from_elsewhere(html):
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", html)
    assert "default-src 'none'" in html


def test_text_of_the_plan_is_escaped(html):
    assert "<b>bold" not in html and "&lt;b&gt;bold" in html and "<i>at all" not in html and "a &lt;split&gt;" in html


def test_tables_have_sort_keys_and_the_script_that_sorts(html):
    assert "aria-sort" in html and html.count("data-sort=") > 50


def test_published_numbers_stand_in_columns_of_their_own_and_nowhere_else(html):
    assert "MAE s, as published" in html
    before, after = html.split('id="as-published"')
    assert "98.765" not in before and "98.765" in after


def test_every_part_of_the_story_has_its_section(html):
    titles = re.findall(r"<h2[^>]*>([^<]+)</h2>", html)
    assert titles == [
        "Which method wins", "Accuracy", "Intervals and calibration", "Cost", "Accuracy against cost",
        "Differences from lightgbm", "Differences from the best", "Video duration", "User activity", "As published",
        "How this was measured",
    ]  # fmt: skip


def test_charts_of_cost_name_every_model_in_words_too(html):
    assert re.search(r"MAE s over training seconds\. vr: [\d.]+ at [\d.]+; gr", html)


def test_the_search_budget_and_what_does_not_compete_are_stated(html):
    assert "Search budget. Nothing" in html and "<code>vr</code>: not one method" in html


def test_the_footer_says_that_seconds_are_of_a_machine_and_links_lead_to_the_line(html):
    assert "Made by <code>make leaderboard</code>" in html and 'href="../evaluate/index.html"' in html
