"""The whole line on a small generated data set, in a checkout of its own, through DVC as a user would."""

import shutil
from pathlib import Path

import pytest
import yaml

from pipelines.params import compose_params
from tests.helpers.line_checkout import SMALL, WEEK, checkout, dvc
from watchline.overview.rebuild import rebuild


@pytest.fixture(scope="module")
def line(tmp_path_factory) -> Path:
    root = checkout(tmp_path_factory.mktemp("line"))
    compose_params(root, [*WEEK, *(f"{key}={value}" for key, value in SMALL.items())])
    dvc(root, "repro")
    return root


def recorded_outputs(root: Path) -> dict[str, str]:
    """Path -> hash of every output in dvc.lock."""
    stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_second_run_has_nothing_to_do(line):
    assert "Running stage" not in dvc(line, "repro")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_stage_leaves_its_page_and_metrics(line):
    dag = yaml.safe_load((line / "dvc.yaml").read_text())["stages"]
    pages = {path.relative_to(line / "reports").parts[0] for path in (line / "reports").rglob("index.html")}
    assert {"index.html", *dag} - {"report"} == pages
    assert (line / "reports/report/metrics.json").is_file()
    own = [path for path in (line / "reports").rglob("*.html") if path.name != "evidently.html"]
    assert (line / "reports/index.html").stat().st_size < 300_000
    assert not [path for path in own if path.stat().st_size > 1_500_000]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pages_made_anew_leave_nothing_to_do(line):
    """Every page is what its stored content gives: rendering changes no output of the line."""
    assert rebuild(line).changed == [line / "reports/run/index.html"]
    assert "up to date" in dvc(line, "status")


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_the_same_params_give_the_same_bytes(line):
    before = recorded_outputs(line)
    shutil.rmtree(line / "runs", ignore_errors=True)
    dvc(line, "repro", "--force", "--no-run-cache")
    assert recorded_outputs(line) == before
