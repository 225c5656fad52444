"""A small git and DVC project whose line has run: real small models, features and reports, and the gate of conf/.

Its data have no law, so the simulated test answers by a reward model of the same rows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.helpers.feature_table import write_feature_table
from tests.helpers.small_models import WINDOW, fit_trees, write_params
from watchline.report import write_json

ROOT = Path(__file__).resolve().parents[2]
MODELS = {"lightgbm": 2, "gr_finetuned": 60}  # name -> boosting rounds
ABTEST = {"requests": 300, "candidates": 6, "top_k": 2, "false_positive_runs": 50, "treatment_statistic": "mean"}
# The line's last stages, as far as the gate is concerned: what they would compute lies in made/.
DVC_YAML = """
stages:
  train:
    cmd: cp -r made/models models
    deps: [made/models]
    outs: [models]
  drift:
    cmd: cp -r made/reports/. reports
    deps: [models, made/reports]
    outs: [reports/drift/metrics.json, reports/evaluate/metrics.json, reports/validate/metrics.json]
"""
# Programs of the project's own code start with this: its abtest joins features without a feature store.
SITE = """
import sys, types

module = types.ModuleType("watchline.feature_store.join")


def historical_features(*arguments):
    sys.path.append({root!r})
    from tests.helpers.feature_join import joined

    return joined(*arguments)


module.historical_features = historical_features
sys.modules[module.__name__] = module
"""


def make_project(root: Path, remote: Path) -> Path:
    """The project, committed, its line run; `remote` is DVC's."""
    write_feature_table(root / "data/features", rows_per_day=400)
    for name, rounds in MODELS.items():
        fit_trees(root / "data/features", root / "made/models" / name, num_rounds=rounds)
    sections = {"models": list(MODELS), "evaluate": {"replicates": 100}, "abtest": ABTEST}
    write_params(root / "params.yaml", features={"store": "feature_store.yaml"}, **sections)
    write_reports(root)
    (root / "conf").mkdir()
    gate = yaml.safe_load((ROOT / "conf/promote.yaml").read_text()) | {
        "slice_min_rows": 50,
        "replicates": 200,
        "min_lift": -0.3,
    }
    (root / "conf/promote.yaml").write_text(yaml.safe_dump(gate))
    (root / "dvc.yaml").write_text(DVC_YAML)
    shutil.copy(ROOT / ".gitignore", root)
    with (root / ".gitignore").open("a") as file:
        file.write("/made/\n/data/\n/src/\n")
    (root / "src").mkdir()
    (root / "src/watchline").symlink_to(ROOT / "src/watchline")
    (root / "src/sitecustomize.py").write_text(SITE.format(root=str(ROOT)))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        ["dvc", "config", "core.autostage", "true"],
        ["dvc", "remote", "add", "-q", "-d", "local", str(remote)],
        ["dvc", "repro", "-q"],
        ["git", "add", "-A"],
        [*git, "commit", "-qm", "start"],
    ):
        subprocess.run(command, cwd=root, check=True)
    return root


def write_reports(root: Path) -> None:
    """made/reports: what evaluate measures of the models, and verdicts of validate and drift on the same days."""
    program = ["env", f"PYTHONPATH={ROOT / 'src'}", sys.executable, "-m", "watchline.stages.evaluate"]
    paths = ["--models", "made/models", "--features", "data/features", "--out", "data/evaluate"]
    report = ["--report", "made/reports/evaluate"]
    subprocess.run([*program, *paths, *report], cwd=root, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    verdict, last = {"status": "pass", "text": "all hold"}, WINDOW.end.isoformat()
    days = {"eval": {"first": last, "last": last}}
    write_json(root / "made/reports/drift/metrics.json", {"verdict": verdict, "window": days})
    window = {"start": WINDOW.start.isoformat(), "end": last}
    write_json(root / "made/reports/validate/metrics.json", {"verdict": verdict, "window": window})
