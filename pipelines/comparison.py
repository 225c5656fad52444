"""What the gate judges: candidate and reference on the same rows and in the same simulated test, and its verdict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from pipelines.commands import PromotionError, Workspace

COMPARISON, REPORT = "runs/promote", "reports/promote"
JUDGED_BY = "drift"  # the last stage that the gate reads; everything before it is up to date when it is


def check_fresh(place: Workspace) -> None:
    """Raise PromotionError naming the stages whose outputs are not those of the present code, parameters and data."""
    lines = "\n".join(place.dvc("status", "--json", "--with-deps", JUDGED_BY))
    status = json.loads(lines[lines.index("{") :] if "{" in lines else "{}")  # warnings come first
    if status:
        raise PromotionError(
            f"not up to date: {', '.join(sorted(status))}; the gate judges what the reports are of, so run the line "
            "first (`dvc repro`, `dvc exp apply NAME` of a recorded run, or `dvc checkout` where files were removed)"
        )


def compare(place: Workspace, candidate: str | None, against: str, again: bool = True) -> dict[str, Any]:
    """Evaluate and test candidate and reference on the window's rows, in `runs/promote`; returns arms.json.

    Nothing runs where the candidate is in production already, or without `again` was taken out of it, and no test where
    there is nothing to hold it against.
    """
    folder = place.root / COMPARISON
    shutil.rmtree(folder, ignore_errors=True)
    words = ["--against", against, "--again" if again else "--no-again"]
    place.library("registry", "arms", *words, *(["--candidate", candidate] if candidate else []))
    arms: dict[str, Any] = json.loads((folder / "arms.json").read_text())
    if arms["unchanged"] or arms["taken_back"]:
        return arms
    params = _params(place.root, arms)
    (folder / "models").mkdir()
    (folder / "models/candidate").symlink_to(place.root / "models" / arms["candidate"])
    if arms["reference"]:
        (folder / "models/reference").symlink_to(place.root / arms["reference"])
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    data, features = place.root / "data", ["--features", str(place.root / "data/features")]
    shared = ["--models", "models", *features, "--report"]
    try:
        place.library("stages.evaluate", *shared, "reports/evaluate", "--out", "data", cwd=folder)
        if arms["reference"]:
            repo = place.root / "features" / params["features"]["store"]
            tables = ["--tables", str(data / "ingest"), "--repo", str(repo), "--predictions", "data"]
            place.library("stages.abtest", *shared, "reports/abtest", *tables, cwd=folder)
    except PromotionError as error:
        advice = "where production cannot read these features any more, hold the candidate against the baseline"
        raise PromotionError(f"{error}\n{advice} (--against baseline)") from None
    return arms


def _params(root: Path, arms: dict[str, Any]) -> dict[str, Any]:
    """The line's parameters with the two models in the places of its own.

    Raises PromotionError where the two would be replayed: first videos of a random log say what is worth a test.
    """
    params: dict[str, Any] = yaml.safe_load((root / "params.yaml").read_text())
    if arms["reference"] and params["abtest"].get("environment") == "replay":
        raise PromotionError(
            "abtest.environment is replay, which has no users and sessions: it says which model is worth a test "
            "online, not which one to promote. Run the line with another one (`dvc exp run -S "
            "abtest.environment=model`), then promote again"
        )
    params["models"] = ["candidate", *(["reference"] if arms["reference"] else [])]
    params["evaluate"]["baseline"] = "reference"
    # The two alone, neither exploring: the gate is about models.
    alone = {"treatments": [], "treatment_epsilon": 0.0, "treatment_temperature": 0.0, "sweep_runs": 0}
    params["abtest"] |= {"control": "reference", "treatment": "candidate", **alone}
    if arms["statistic"]:
        params["abtest"]["control_statistic"] = arms["statistic"]
    return params


def judge(place: Workspace) -> dict[str, Any]:
    """The gate's verdict on what `compare` left: verdict.json and the page in reports/promote."""
    statistic = yaml.safe_load((place.root / "params.yaml").read_text())["abtest"]["treatment_statistic"]
    place.library("registry", "judge", "--statistic", statistic)
    verdict: dict[str, Any] = json.loads((place.root / REPORT / "verdict.json").read_text())
    return verdict
