"""A small DVC project with the names of the line, whose source is a folder with a file a day. Its code is below."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.helpers.git_project import start_repository

# `$WHERE/broken` makes train fail, `$WHERE/slow` makes it wait; $WHERE/ran has a line for every stage that ran.
DVC_YAML = """
stages:
  ingest:
    cmd: python line.py ingest ${ingest.path} ${window.end}
    deps: [line.py, "${ingest.path}"]
    params: [window]
    outs: [data/ingest]
    metrics: [reports/ingest/metrics.json]
  train:
    matrix: {model: "${models}"}
    cmd: python line.py train ${item.model} ${train.scale}
    deps: [data/ingest]
    params: [train]
    outs: ["models/${item.model}"]
  evaluate:
    cmd: python line.py evaluate
    deps: [models]
    metrics: [reports/evaluate/metrics.json]
  report:
    cmd: python line.py report
    deps: [reports/evaluate/metrics.json]
    outs: [reports/index.html]
"""
LINE = """
import json, os, sys, time
from pathlib import Path

stage, arguments = sys.argv[1], sys.argv[2:]
if arguments[-1:] == ["--newest-day"]:
    print("looking")
    print(sorted(Path(arguments[0]).iterdir())[-1].name)
    sys.exit()
where = Path(os.environ["WHERE"])
with (where / "ran").open("a") as file:
    file.write(f"{stage} {arguments[-1] if arguments else ''}\\n")
for folder in ("data/ingest", "models", "reports/ingest", "reports/evaluate"):
    Path(folder).mkdir(parents=True, exist_ok=True)
if stage == "ingest":
    days = [path for path in sorted(Path(arguments[0]).iterdir()) if path.name <= arguments[1]]
    Path("data/ingest/log").write_text("".join(path.read_text() for path in days))
    Path("reports/ingest/metrics.json").write_text(json.dumps({"rows": {"exposures": len(days)}}))
elif stage == "train":
    while (where / "slow").exists():
        time.sleep(0.1)
    if (where / "broken").exists():
        sys.exit("no such luck")
    Path("models", arguments[0]).write_text(Path("data/ingest/log").read_text() * int(arguments[1]))
elif stage == "evaluate":
    models = {path.name: {"mae_s": len(path.read_text()), "decile": [1]} for path in sorted(Path("models").iterdir())}
    Path("reports/evaluate/metrics.json").write_text(json.dumps({"models": models}))
else:
    Path("reports/index.html").write_text(Path("reports/evaluate/metrics.json").read_text())
"""
CONFIG = """
window: {end: "2024-03-01"}
models: [gr]
ingest: {path: raw}
train: {scale: 1}
"""


def make_project(root: Path, *days: str) -> Path:
    """A git repository with DVC, the toy line, and a raw log of `days`."""
    write_line(root, CONFIG, DVC_YAML, LINE)
    add_days(root, *days)
    return start_repository(root, core_autostage="true")


def write_line(root: Path, config: str, dvc_yaml: str, line: str) -> None:
    """conf/, params.yaml, dvc.yaml and the stages' program, and what git leaves alone."""
    (root / "conf").mkdir(parents=True)
    (root / "conf/config.yaml").write_text(config)
    (root / "params.yaml").write_text(config)
    (root / "dvc.yaml").write_text(dvc_yaml)
    (root / "line.py").write_text(line)
    (root / ".gitignore").write_text("/data\n/models\n/reports\n/runs\n/raw\n/.prefect\n__pycache__\n")


def add_days(root: Path, *days: str) -> None:
    """The raw log grows by `days`."""
    (root / "raw").mkdir(exist_ok=True)
    for day in days:
        (root / "raw" / day).write_text(f"{day}\n")


def git_status(root: Path) -> str:
    """What git says is not as committed."""
    return subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True).stdout
