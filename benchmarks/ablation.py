"""GR taken apart on real data: vocabulary (3) x curriculum (off, sample, mixup) x decoding, several seeds.

    python benchmarks/ablation.py --raw ../shared/data/kuairand-pure-10d --out docs/ablation.md

Builds the features (or takes --features DIR of an earlier run), fits every combination for every seed on one thread,
--jobs of them at a time, and writes the page. Train to 2022-05-01, weights kept by 05-02, test on 05-03 and 05-04. The
test days choose nothing. `--set` passes Hydra overrides. About 40 s a fit on one core.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

if __name__ in ("__main__", "__mp_main__"):
    for variable in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ.setdefault(variable, "1")
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / "src")]

import numpy as np

from benchmarks import excerpt
from benchmarks.quality import METRICS
from watchline.config import parse
from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.data.tables import read_days
from watchline.models import gr
from watchline.models.base import FitContext
from watchline.models.common import CommonConfig
from watchline.training.seeding import seed_everything

MANUAL_S = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 600, 900, 1800, 3600)
VOCABULARIES = {
    "dynamic_quantile": {"kind": "dynamic_quantile", "values_s": []},
    "binary": {"kind": "binary", "values_s": []},
    "manual": {"kind": "manual", "values_s": MANUAL_S},
}
CURRICULA = ("off", "sample", "mixup")
STATISTICS = ("median", "mean", "expected_rank", "mean_log", "window", "argmax")
SECONDS = ("median", "mean", "window", "argmax")
Metrics = dict[str, float]


@dataclass(frozen=True)
class Trial:
    """One fit: its settings, the negative log-likelihood of a validation label, metrics by statistic of both days."""

    vocabulary: str
    curriculum: str
    seed: int
    valid_nll: float
    valid: dict[str, Metrics]
    test: dict[str, Metrics]


def main() -> None:
    """Fit everything, write the page, print the trials as lines of JSON."""
    parser = excerpt.parser(__doc__, overrides=["features.freshness=event"])
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    with excerpt.prepared(arguments) as (params, features):
        trials = run(params, features, arguments.seeds, arguments.jobs)
    arguments.out.write_text(page(trials, params, arguments.overrides))


def run(params: dict[str, Any], features: Path, num_seeds: int, num_jobs: int) -> list[Trial]:
    """Every combination, in the order of the page."""
    grid = list(itertools.product(VOCABULARIES, CURRICULA, range(1, num_seeds + 1)))
    trials = []
    with multiprocessing.get_context("spawn").Pool(num_jobs, maxtasksperchild=1) as pool:
        for trial in pool.imap(partial(fit_one, params, features), grid):
            print(json.dumps(asdict(trial)), flush=True)
            trials.append(trial)
    return trials


def fit_one(params: dict[str, Any], features: Path, setting: tuple[str, str, int]) -> Trial:
    """Fit GR once and measure every decoding."""
    vocabulary, curriculum, seed = setting
    window, columns = parse(Window, params["window"], "window"), Columns.read(features / "schema.json")
    train, valid, test = (read_days(features / "table", window.split_days(s)) for s in ("train", "valid", "eval"))
    common = parse(CommonConfig, {**params["train"]["common"], "seed": seed, "num_threads": 1}, "train.common")
    values = params["train"]["gr"]
    values = {
        **values,
        "vocabulary": {**values["vocabulary"], **VOCABULARIES[vocabulary]},
        "curriculum": {**values["curriculum"], "kind": curriculum},
    }
    seed_everything(seed, 1)
    fit = gr.fit(
        parse(gr.CONFIG, values, "train.gr"), common, train, valid, columns, FitContext(progress=lambda line: None)
    )
    below_N, upto_N = fit.model.cumulative(valid)
    nll = float(-np.log(np.maximum(upto_N - below_N, np.finfo(float).eps)).mean())
    return Trial(*setting, nll, *(measure(fit.model, table, columns.label) for table in (valid, test)))


def measure(model: gr.GRModel, table: Any, label: str) -> dict[str, Metrics]:
    """Each statistic's metrics on labelled rows; errors only of those that are watch times."""
    predicted, truth = model.predict(table, STATISTICS), table[label].to_numpy()
    return {
        name: {
            key: metric(truth, predicted[name]) for key, metric in METRICS.items() if key == "xauc" or name in SECONDS
        }
        for name in STATISTICS
    }


# -- the page ---------------------------------------------------------------------------------------------------------


def page(trials: Sequence[Trial], params: dict[str, Any], overrides: Sequence[str]) -> str:
    """The whole Markdown file."""
    seeds = len({trial.seed for trial in trials})
    curriculum = {key: value for key, value in params["train"]["gr"]["curriculum"].items() if key != "kind"}
    shown = ", ".join(f"`{key}: {value}`" for key, value in curriculum.items())
    lines = [
        "# GR taken apart: vocabulary x curriculum x decoding",
        "",
        f"Written by `python benchmarks/ablation.py` ({' '.join(overrides)}). KuaiRand-Pure, ten-day excerpt: trained",
        "to 2022-05-01, weights kept by 05-02, test on 05-03 and 05-04; one thread; settings that are not shown are",
        f"those of `conf/train`. Mean of {seeds} seeds, in brackets the distance from lowest to highest. Curricula run",
        f"with {shown}.",
        "",
        "## Vocabulary and curriculum",
        "",
        "NLL: the negative log-likelihood of a label in whole units, the same quantity for every vocabulary.",
        "",
        *table(
            ["vocabulary", "curriculum", "valid NLL", "valid MAE s", "test MAE s", "test RMSE s", "test XAUC"],
            [[*key, *overview(group)] for key, group in by_setting(trials).items()],
        ),
        "",
        "MAE of the median, RMSE of the mean, XAUC of the expected rank.",
        "",
        "## Decoding, on the test days",
        "",
        *table(
            ["vocabulary", "curriculum", "decoding", "MAE s", "RMSE s", "XAUC"],
            [[*key, name, *decoding(group, name)] for key, group in by_setting(trials).items() for name in STATISTICS],
        ),
        "",
    ]
    return "\n".join(lines)


def by_setting(trials: Sequence[Trial]) -> dict[tuple[str, str], list[Trial]]:
    """Trials of all seeds by vocabulary and curriculum."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.vocabulary, trial.curriculum), []).append(trial)
    return groups


def overview(group: Sequence[Trial]) -> list[str]:
    """Cells of one row of the first table."""
    return [
        spread([trial.valid_nll for trial in group], ".4f"),
        spread([trial.valid["median"]["mae_s"] for trial in group], ".3f"),
        spread([trial.test["median"]["mae_s"] for trial in group], ".3f"),
        spread([trial.test["mean"]["rmse_s"] for trial in group], ".2f"),
        spread([trial.test["expected_rank"]["xauc"] for trial in group], ".4f"),
    ]


def decoding(group: Sequence[Trial], name: str) -> list[str]:
    """Cells of one row of the second table."""
    formats = {"mae_s": ".3f", "rmse_s": ".2f", "xauc": ".4f"}
    return [
        spread([trial.test[name][key] for trial in group], form) if key in group[0].test[name] else ""
        for key, form in formats.items()
    ]


def spread(values: Sequence[float], form: str) -> str:
    """Mean and range."""
    return f"{np.mean(values):{form}} ({max(values) - min(values):{form}})"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    main()
