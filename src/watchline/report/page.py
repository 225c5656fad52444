"""One self-contained HTML page: header with the line's stages, verdict, key figures, sections, styles and script.

A page is rendered from its content as plain data (content.py), which is kept beside it as page.json: rendering that
again gives the same bytes, and `make reports` does so with templates, styles and script as they are then.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from watchline.report.blocks import Block, Facts, Figure, Verdict
from watchline.report.content import as_content, fill, verdict_from

_HERE = Path(__file__).parent
_OF_STAGE = "Stage `{}` of `dvc.yaml`. The same inputs and parameters write the same page."

# The stations of the line, in order, as the header shows them. `train` has a page per model: the index lists them.
STAGES = ("ingest", "validate", "features", "train", "finetune", "evaluate", "abtest", "drift")
INDEX = "report"
# Pages of what runs the line rather than is a stage of it, and what their footers say.
BESIDE = {
    "leaderboard": "Made by `make leaderboard` from runs of the line; seconds are those of the machine they ran on.",
    "promote": "Made by `python -m pipelines promote` and `rollback`, from runs of the line and `registry/`.",
    "run": "Made by `make reports` from git, dvc.lock and the pages that are there; no output of the line.",
}
CONTENT = "page.json"


@dataclass(frozen=True)
class Section:
    """A titled part of a page; `id` is its anchor."""

    title: str
    id: str
    note: str
    half: bool
    groups: list[list[Block]]


class Page:
    """A report page of one stage, filled section by section and written once.

    `stage` is a stage of dvc.yaml (`report` for the index) or one of BESIDE. All strings are escaped; `backticks`
    mark code.
    """

    def __init__(self, stage: str, title: str, lead: str = "", verdict: Verdict | None = None) -> None:
        if stage not in (*STAGES, INDEX, *BESIDE):
            raise ValueError(f"unknown stage {stage!r}; there are {', '.join((*STAGES, INDEX, *BESIDE))}")
        self.stage = stage
        self.title = title
        self.lead = lead
        self.verdict = verdict
        self.figures: Facts | None = None
        self.sections: list[Section] = []

    def key_figures(self, values: Mapping[str, Any], formats: Mapping[str, str] | None = None) -> None:
        """The few numbers (three to six) shown large under the title."""
        self.figures = Facts(values, formats or {})

    def section(self, title: str, *blocks: Block, note: str = "", half: bool = False) -> None:
        """Add a part with a heading, an optional muted remark, and its blocks; narrow blocks stand side by side.

        Two `half` sections in a row share the width of a wide screen.
        """
        taken = {section.id for section in self.sections}
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        anchor = next(name for name in _numbered(slug) if name not in taken)
        self.sections.append(Section(title, anchor, note, half, _grouped(blocks)))

    def render(self, root: str) -> str:
        """The page as HTML; `root` is the relative path to the reports folder, `..` for a stage's page."""
        script = _asset("page.js")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        environment = _environment()
        environment.globals["figure_svg"] = _FigureIds()
        return environment.get_template("page.html").render(
            page=self,
            key_figures=self.figures,
            sections=self.sections,
            nav=[(stage, _station(root, stage)) for stage in STAGES],
            home=f"{root}/index.html" if root != "." else "index.html",
            style=Markup(_asset("page.css")),
            script=Markup(script),
            script_digest=f"sha256-{digest}",
            origin=BESIDE.get(self.stage, _OF_STAGE.format(self.stage)),
        )

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> Page:
        """The page that `as_content` described."""
        page = cls(content["stage"], content["title"], content["lead"], verdict_from(content))
        fill(page, content)
        return page

    def write(self, path: Path) -> None:
        """Write the page to `path` (`reports/<stage>/index.html`, deeper, or `reports/index.html` for the index).

        Its content goes beside it as page.json, but for the index and its cards, which are made from metrics.json.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(as_content(self), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if self.stage != INDEX:
            path.with_name(CONTENT).write_text(text + "\n", encoding="utf-8")
        path.write_text(Page.from_content(json.loads(text)).render_at(path), encoding="utf-8")

    def stored(self) -> Page:
        """The page as it is after a round through page.json: what `write` renders."""
        return Page.from_content(json.loads(json.dumps(as_content(self), allow_nan=False)))

    def render_at(self, path: Path) -> str:
        """The page as HTML for the place `path`."""
        return self.render(self._root(path))

    def _root(self, path: Path) -> str:
        if self.stage == INDEX and path.name == "index.html":
            return "."
        folders = path.absolute().parent.parts[::-1]
        depth = folders.index(self.stage) + 1 if self.stage in folders else 1
        return "/".join([".."] * depth)


def _station(root: str, stage: str) -> str:
    if stage == "train":
        return f"{root}/index.html#training" if root != "." else "index.html#training"
    return f"{root}/{stage}/index.html" if root != "." else f"{stage}/index.html"


def _grouped(blocks: tuple[Block, ...]) -> list[list[Block]]:
    """Blocks in order, neighbouring figures together so that they share a row."""
    groups: list[list[Block]] = []
    for block in blocks:
        if isinstance(block, Figure) and groups and isinstance(groups[-1][0], Figure):
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


def _numbered(slug: str) -> Any:
    yield slug
    number = 2
    while True:
        yield f"{slug}-{number}"
        number += 1


class _FigureIds:
    """Gives each figure's SVG its own id prefix, title and description, so that ids are unique in a page."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, figure: Figure) -> Markup:
        self.count += 1
        prefix = f"figure-{self.count}"
        words = Markup('<title id="{0}-title">{1}</title><desc id="{0}-desc">{2}</desc>').format(
            prefix, figure.title, figure.description or figure.title
        )
        svg = figure.svg.replace("FIGURE_ID", prefix)
        opening, rest = svg.split(">", 1)
        label = f' role="img" aria-labelledby="{prefix}-title {prefix}-desc">'
        return Markup(opening + label) + words + Markup(rest)


def _prose(text: str) -> Markup:
    """Escape `text`; what stands between backticks becomes code."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    pieces = [Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)]
    return Markup("").join(pieces)


def _breakable(text: str) -> Markup:
    """Escape `text`, a name, which may go on to another line after each underscore."""
    return Markup("_<wbr>").join(str(text).split("_"))


def _asset(name: str) -> str:
    return (_HERE / "assets" / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["prose"] = _prose
    environment.filters["breakable"] = _breakable
    return environment
