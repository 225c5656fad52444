"""A page is one file, says what it was given and nothing else, and can be read by everyone."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from watchline.report import Best, Callout, Facts, Link, Page, Table, Text, Verdict, charts

PLANTED = '"><script>alert(1)</script><img src=x onerror=alert(2)>&<b>'
CSS = Path(__file__).parents[3] / "src/watchline/report/assets/page.css"


class Elements(HTMLParser):
    """Tags with attributes, in order, and the text of what is shown."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def named(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def make_page(word: str = "gr") -> Page:
    page = Page("evaluate", f"Models {word}", f"Lead {word}", Verdict("warn", f"Judgement {word}"))
    page.key_figures({f"Rows {word}": 1234, "MAE": 12.345}, {"MAE": ".1f"})
    page.section(
        f"Metrics {word}",
        Table([f"model {word}", "MAE"], [[word, 1.5], [Link("../x.html", word), Best(1.25)]], f"Caption {word}"),
        Facts({f"fact {word}": word, "verdict": Verdict("pass", word)}),
        Callout("fail", f"Callout {word}"),
        Text(f"First {word}.\n\nSecond `code {word}`."),
        note=f"Note {word}",
    )  # fmt: skip
    days = ["2024-03-01", "2024-03-02"]
    page.section(
        "Charts",
        charts.line_chart({word: (days, [1.0, 2.0]), "b": (days, [2.0, 1.0])}, word, word, word),
        charts.bar_chart([word, "b"], [1.0, None], word, word),
        charts.interval_chart([word], [0.1], [0.0], [0.2], word, word),
        charts.histogram_chart({word: ([0, 1, 2], [3, 4]), "b": ([0, 1, 2], [4, 3])}, word, word),
    )
    return page


def test_planted_markup_is_text_wherever_a_string_can_go():
    clean, planted = Elements(make_page().render("..")), Elements(make_page(PLANTED).render(".."))
    shapes = {"g", "path", "text", "tspan", "use", "defs", "clippath", "rect"}  # longer labels are drawn differently
    assert [tag for tag, _ in planted.tags if tag not in shapes] == [tag for tag, _ in clean.tags if tag not in shapes]
    assert not any("onerror" in attributes for _, attributes in planted.tags)


def test_a_page_asks_for_nothing_from_outside():
    html = make_page().render("..")
    elements = Elements(html)
    assert not any(a.get("src") for _, a in elements.tags)
    assert all(a["href"].startswith(("../", "#", "data:")) for _, a in elements.tags if "href" in a)
    assert "default-src 'none'" in elements.named("meta")[1]["content"]
    assert not re.search(r"url\((?!#)|@import|https?://", html)


def test_the_same_content_is_the_same_bytes():
    assert make_page().render("..") == make_page().render("..")


def test_ids_are_unique_and_every_reference_to_one_resolves():
    html = make_page().render("..")
    elements = Elements(html)
    ids = [a["id"] for _, a in elements.tags if "id" in a]
    assert len(ids) == len(set(ids))
    references = [i for _, a in elements.tags for i in a.get("aria-labelledby", "").split()]
    references += re.findall(r"url\(#([^)]+)\)", html)
    references += [a["href"][1:] for _, a in elements.tags if a.get("href", "").startswith("#")]
    assert references and set(references) <= set(ids)


def test_tables_have_scopes_and_captions_and_charts_have_names():
    elements = Elements(make_page().render(".."))
    assert len(elements.named("caption")) == len(elements.named("table")) == 1 + 4  # one of its own, one of each chart
    assert {a.get("scope") for a in elements.named("th")} == {"col", "row"}
    drawn = [a for a in elements.named("svg") if a.get("role") == "img"]
    assert len(drawn) == len(elements.named("figure")) == 4 == len(elements.named("desc"))
    assert [a["href"] for a in elements.named("a") if a.get("class") == "skip"] == ["#main"]


@pytest.mark.parametrize(
    ("stage", "path", "home", "ingest"),
    [
        ("evaluate", "reports/evaluate/index.html", "../index.html", "../ingest/index.html"),
        ("train", "reports/train/gr/index.html", "../../index.html", "../../ingest/index.html"),
        ("report", "reports/index.html", "index.html", "ingest/index.html"),
        ("drift", "out/index.html", "../index.html", "../ingest/index.html"),
    ],
)
def test_navigation_leads_to_the_other_stages_from_every_depth(tmp_path, stage, path, home, ingest):
    Page(stage, "Title").write(tmp_path / path)
    links = [a["href"] for a in Elements((tmp_path / path).read_text()).named("a")]
    assert links[1] == home
    assert ingest in links


def test_the_stage_is_marked_in_the_navigation():
    current = [a for a in Elements(make_page().render("..")).named("a") if a.get("aria-current") == "page"]
    assert [a["href"] for a in current] == ["../evaluate/index.html"]


def test_sections_of_one_title_have_anchors_of_their_own():
    page = Page("train", "Title")
    page.section("Loss")
    page.section("Loss")
    assert {'id="loss"', 'id="loss-2"'} <= set(re.findall(r'id="loss[^"]*"', page.render("..")))


def test_a_long_table_scrolls_in_a_box_that_the_keyboard_reaches():
    page = Page("evaluate", "Title")
    page.section("Rows", Table(["i"], [[i] for i in range(31)]), Table(["j"], [[0]]), half=True)
    boxes = [a for a in Elements(page.render("..")).named("div") if "table" in a.get("class", "").split()]
    assert [a["class"] for a in boxes] == ["table long", "table"]
    assert all(a["tabindex"] == "0" and a["aria-label"] == "Rows" for a in boxes)


def test_an_unknown_stage_is_an_error_that_lists_the_stages():
    with pytest.raises(ValueError, match=r"unknown stage 'ablation'.*ingest"):
        Page("ablation", "Title")


def _variables(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_have_enough_contrast_in_light_and_dark():
    css = CSS.read_text()
    light = _variables(css[: css.index("@media")])
    dark = _variables(css[css.index("@media") : css.index("*, *::before")])
    assert set(light) == set(dark)
    for theme in (light, dark):
        for text in ("ink", "soft", "accent"):
            for ground in ("paper", "panel", "faint"):
                assert _contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
        for status in ("pass", "warn", "fail", "info"):
            assert _contrast(theme[status], theme[f"{status}-bg"]) >= 4.5, status
        for series in ("s1", "s2", "s3", "s4", "s5", "s6"):
            assert _contrast(theme[series], theme["paper"]) >= 3, series
