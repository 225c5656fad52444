"""The page of the run in this folder: commit, dvc.lock, versions, and every page that is there.

What it says is of this checkout and machine, so no stage writes it; the outputs of the line stay the same bytes.
"""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from watchline.report import Callout, Facts, Link, Page, Table, Verdict

SHOWN_VERSIONS = ("dvc", "torch", "polars", "lightgbm")
BESIDE_THE_LINE = {"leaderboard": "make leaderboard"}


def build_run_page(root: Path, verdict: dict[str, str]) -> Page:
    """The page; `verdict` is that of reports/report/metrics.json."""
    lead = "Which code, parameters and data the pages in this folder are of."
    page = Page("run", "This run", lead, Verdict(**verdict))
    page.section("Code", *_code(root), half=True)
    versions = {"Python": platform.python_version(), **{name: version(name) for name in SHOWN_VERSIONS}}
    page.section("Versions", Facts(versions), half=True)
    page.section("Pages", *_pages(root / "reports"))
    page.section("Hashes", *_hashes(root), note="From dvc.lock: what each stage read and wrote.")
    return page


def _code(root: Path) -> list[Any]:
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return [Callout("warn", "This folder is no git repository, so no commit can be named.")]
    changed = [line for line in (_git(root, "status", "--porcelain") or "").splitlines() if line]
    facts = {"commit": commit, "subject": _git(root, "log", "-1", "--format=%s"), "files not committed": len(changed)}
    if not changed:
        return [Facts(facts)]
    names = ", ".join(line[3:] for line in changed[:8]) + (" and more" if len(changed) > 8 else "")
    return [Facts(facts), Callout("warn", f"The commit alone does not make this run again; not in it: {names}.")]


def _git(root: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    return done.stdout.strip("\n") if done.returncode == 0 else None


def _pages(reports: Path) -> list[Any]:
    """Every page there is, and how to make those beside the line that are not."""
    found = sorted(path for path in reports.rglob("*.html") if path.parent.name != "run")
    rows = [[Link(f"../{path.relative_to(reports)}", str(path.relative_to(reports)))] for path in found]
    missing = [
        Callout("info", f"No {name} yet: `{command}` makes it.")
        for name, command in BESIDE_THE_LINE.items()
        if not (reports / name / "index.html").is_file()
    ]
    return [*missing, Table(["page"], rows)]


def _hashes(root: Path) -> list[Any]:
    path = root / "dvc.lock"
    if not path.is_file():
        return [Callout("warn", "No dvc.lock: `dvc repro` writes it.")]
    stages = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("stages", {})
    rows = [
        [stage, part, entry["path"], entry.get("md5", ""), entry.get("size")]
        for stage, locked in stages.items()
        for part, name in (("read", "deps"), ("written", "outs"))
        for entry in locked.get(name, [])
    ]
    return [Table(["stage", "use", "path", "MD5", "bytes"], rows)]
