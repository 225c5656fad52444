"""A small DVC project with the stages that a leaderboard runs, all short. As a program this is its evaluate stage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import yaml

from tests.helpers.git_project import start_repository
from tests.helpers.leaderboard_runs import noisy, rows, write_run

ROOT = Path(__file__).resolve().parents[2]
MODELS = ["gr", "lightgbm"]
# `$WHERE/broken-SEED` makes a seed fail and `$WHERE/slow` makes one wait; $WHERE/ran has a line for every stage that
# ran. The folder comes from the environment, so that one project can be copied for every test.
DVC_YAML = """
stages:
  train:
    matrix: {model: "${models}"}
    cmd: >-
      echo train ${item.model} ${train.common.seed} >> $WHERE/ran
      && if test -e $WHERE/slow; then sleep 611; fi
      && if test -e $WHERE/broken-${train.common.seed}; then echo no such luck; exit 3; fi
      && mkdir -p models reports/train/${item.model}
      && echo ${train.common.seed} > models/${item.model}
      && echo '{"parameters": 10, "seed": ${train.common.seed}}' > reports/train/${item.model}/metrics.json
    params: [train.common]
    outs: ["models/${item.model}"]
    metrics: ["reports/train/${item.model}/metrics.json"]
  evaluate:
    cmd: python -m tests.helpers.leaderboard_project ${train.common.seed}
    deps: [models]
    params: [train.common.seed, finetune.seed]
    outs: [data/evaluate]
    metrics: [reports/evaluate/metrics.json]
  abtest:
    cmd: echo abtest >> $WHERE/ran
    deps: [data/evaluate]
"""


def make_project(root: Path) -> Path:
    """A git repository with DVC, the toy line, the real conf/leaderboard.yaml cut to two methods and seeds."""
    (root / "conf").mkdir(parents=True)
    (root / "dvc.yaml").write_text(DVC_YAML)
    base = {"models": ["gr"], "train": {"common": {"seed": 0}}, "finetune": {"seed": 0}, "ingest": {"path": "nowhere"}}
    (root / "conf/config.yaml").write_text(yaml.safe_dump(base))
    (root / "params.yaml").write_text(yaml.safe_dump(base))
    config = yaml.safe_load((ROOT / "conf/leaderboard.yaml").read_text())
    config |= {"models": MODELS, "seeds": [1, 2], "replicates": 400}
    config["protocols"] = {name: {"title": name, "overrides": []} for name in ("generated", "kuairand_time")}
    (root / "conf/leaderboard.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(ROOT / "conf/published.yaml", root / "conf/published.yaml")
    (root / ".gitignore").write_text("/models\n/data\n/reports\n/runs\n/src\n")
    (root / "src").symlink_to(ROOT / "src")
    return start_repository(root, hydra_enabled="true")


def evaluate(seed: int) -> None:
    """Write what the evaluate stage writes, in the working directory."""
    made = Path("made")
    write_run(made, seed, {"gr": noisy(9), "lightgbm": noisy(4)}, rows())
    shutil.move(made / "data/evaluate", "data/evaluate")
    Path("reports/evaluate").mkdir(parents=True, exist_ok=True)
    result = json.loads((made / "reports/evaluate/metrics.json").read_text())
    Path("reports/evaluate/metrics.json").write_text(json.dumps(result))
    shutil.rmtree(made)


if __name__ == "__main__":
    import sys

    evaluate(int(sys.argv[1]))
