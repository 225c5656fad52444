"""Every page of a run in a browser without network: errors, requests, accessibility, overflow, size, and pictures.

PYTHONPATH=src:. python benchmarks/pages.py --pictures runs/pictures --axe node_modules/axe-core/axe.min.js

Needs Chromium on the path. axe-core is not among the locked tools: `npm install axe-core` anywhere and name the file;
without it accessibility is not checked, and the output says so. Exits with 1 when a page has a problem.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.helpers.browser import Tab, browser, chromium

WIDTHS = (1280, 390)
MAX_BYTES, MAX_INDEX_BYTES = 1_500_000, 300_000
NOT_OURS = "evidently.html"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OPEN_ALL = "document.querySelectorAll('details').forEach(part => part.open = true)"
AXE = """axe.run(document).then(found => found.violations.map(
    rule => rule.id + ': ' + rule.nodes.map(node => node.target[0]).slice(0, 3).join(', ')))"""


def main() -> int:
    """Check and picture every page; print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    parser.add_argument("--pictures", type=Path, help="folder for PNGs; none are made without it")
    parser.add_argument("--axe", type=Path, help="axe.min.js of axe-core")
    arguments = parser.parse_args()
    program = chromium()
    if program is None:
        print("skipped: no Chromium on the path")
        return 0
    if arguments.axe is None:
        print("accessibility not checked: no --axe")
    pages = sorted(page for page in arguments.reports.rglob("*.html") if page.name != NOT_OURS)
    failed = 0
    with browser(program) as tab:
        for page in pages:
            problems = check(tab, page, arguments)
            failed += bool(problems)
            name = page.relative_to(arguments.reports)
            print(f"{name}: {page.stat().st_size / 1000:.0f} kB; {'; '.join(problems) or 'no problem'}", flush=True)
    print(f"{len(pages)} pages, {failed} with problems")
    return int(failed > 0)


def check(tab: Tab, page: Path, arguments: argparse.Namespace) -> list[str]:
    """What is wrong with one page, in light and dark, wide and narrow."""
    limit = MAX_INDEX_BYTES if page.parent == arguments.reports else MAX_BYTES
    problems = [f"larger than {limit / 1000:.0f} kB"] if page.stat().st_size > limit else []
    for width in WIDTHS:
        for dark in (False, True):
            tab.open(page, width, dark)
            where = f"{width} px, {'dark' if dark else 'light'}"
            problems += [f"{where}: {problem}" for problem in tab.problems]
            problems += [f"{where}: asked for {url}" for url in tab.requests if not url.startswith(("file:", "data:"))]
            if arguments.pictures is not None:
                name = "_".join(page.relative_to(arguments.reports).with_suffix("").parts)
                tab.picture(arguments.pictures / f"{name}_{width}{'_dark' if dark else ''}.png")
            tab.run(OPEN_ALL)
            if over := tab.run(OVERFLOW):
                problems.append(f"{where}: {over} px wider than the window")
            if arguments.axe is not None:
                tab.run(arguments.axe.read_text() + "; undefined")
                problems += [f"{where}: {violation}" for violation in tab.run(AXE)]
    return problems


if __name__ == "__main__":
    sys.exit(main())
