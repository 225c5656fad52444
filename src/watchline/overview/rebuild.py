"""All pages anew from what the line left, without running a stage: `make reports`.

Stages keep what a page says as page.json; here it is rendered with templates, styles, script and drawing as they are
now. Index and cards are built from metrics.json. When nothing of that changed, no byte changes and `dvc status` stays
clean. `reports/run/index.html`, which is no output of the line, says which commit and hashes the run has.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from watchline.overview.run_page import build_run_page
from watchline.report.page import CONTENT, Page
from watchline.stages.report import make_pages

OWN = "run"  # the folder of the page that is made here
MOST_PROCESSES = 4


@dataclass(frozen=True)
class Rebuilt:
    """Every page that was made, and those whose bytes changed."""

    pages: list[Path]
    changed: list[Path]
    seconds: float


def rebuild(root: Path) -> Rebuilt:
    """Make every page below `root`/reports; raises ValueError when a stage that the index needs has not run."""
    started = time.perf_counter()
    reports = root / "reports"
    stored = sorted(path for path in reports.rglob(CONTENT) if path.parent.name != OWN)
    changed: dict[Path, bool] = {}
    if stored:
        # Charts take most of the time, and each is drawn by itself.
        workers = min(MOST_PROCESSES, os.cpu_count() or 1, len(stored))
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            changed |= dict(pool.map(render_stored, sorted(stored, key=lambda path: -path.stat().st_size)))
    index, cards, summary = make_pages(reports, root / "params.yaml")
    made = {reports / "report/cards" / f"{name}.html": card for name, card in cards.items()}
    for path, page in {**made, reports / "index.html": index}.items():
        changed[path] = replace_text(path, page.stored().render_at(path))
    own = reports / OWN / "index.html"
    changed[own] = replace_text(own, build_run_page(root, summary["verdict"]).stored().render_at(own))
    pages = sorted(changed)
    return Rebuilt(pages, [page for page in pages if changed[page]], time.perf_counter() - started)


def render_stored(content: Path) -> tuple[Path, bool]:
    """The page beside a page.json, and whether it changed; raises ValueError naming a file that holds no page."""
    path = content.with_name("index.html")
    try:
        page = Page.from_content(json.loads(content.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{content}: not the content of a page ({error}); run its stage again") from None
    return path, replace_text(path, page.render_at(path))


def replace_text(path: Path, text: str) -> bool:
    """Write `text` as a new file (the old one may be a link into DVC's cache); False when it holds that already."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return True
