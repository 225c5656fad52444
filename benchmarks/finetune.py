"""Methods of fine-tuning on real data: GR trained earlier, adapted on two days, tested on the two days after.

    python benchmarks/finetune.py --raw ../shared/data/kuairand-pure-10d

Trains GR once (train to 2022-04-29, early stopping on 04-30), then fine-tunes it on 05-01 and 05-02 with every setting
of conf/experiment/finetune_methods.yaml. Each gets the learning rate of `--lrs` whose held-out loss is lowest (the last
fifth of those rows), then several seeds, and is measured on 05-03 and 05-04, which choose nothing. `--set` passes Hydra
overrides. The last line of output is one JSON object: figure -> value, target, unit, better.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / "src")]

import numpy as np
import polars as pl

from benchmarks import excerpt
from benchmarks.figures import Figure
from watchline.config import parse
from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.data.tables import read_days
from watchline.finetuning.config import FinetuneConfig, contenders_of
from watchline.finetuning.loop import Finetuner
from watchline.finetuning.rows import METRICS
from watchline.metrics import paired_bootstrap
from watchline.models import load_model, model_module
from watchline.models.base import FitContext
from watchline.models.common import CommonConfig
from watchline.stages.finetune import hold_out_last
from watchline.training.distributed import ALONE
from watchline.training.seeding import seed_everything

DAYS = {**excerpt.DAYS, "finetune_days": 2, "train_days": 5}
# METHODS, on a longer log: 18.449 s and .6899 against 18.454 s and .6880 without a fine-tune.
TARGETS = {"mae_s": -0.005, "xauc": 0.0019}
STATISTICS = tuple(statistic for statistic, _ in METRICS.values())
Predictions = dict[str, np.ndarray]


class Bench:
    """The tables, the trained model's folder, and fine-tuning runs from it."""

    def __init__(self, params: dict[str, Any], features: Path, model_dir: Path) -> None:
        window = parse(Window, params["window"], "window")
        tables = {
            split: read_days(features / "table", window.split_days(split))
            for split in ("train", "valid", "finetune", "eval")
        }
        self.test, self.model_dir = tables["eval"], model_dir
        self.adapted_on, self.held_out, _ = hold_out_last(tables["finetune"], params["finetune"]["holdout_share"])
        self._train(params, tables, Columns.read(features / "schema.json"))

    def _train(self, params: dict[str, Any], tables: dict[str, pl.DataFrame], columns: Columns) -> None:
        module = model_module("gr")
        common = parse(CommonConfig, params["train"]["common"], "train.common")
        config = parse(module.CONFIG, params["train"]["gr"], "train.gr")
        seed_everything(common.seed, common.num_threads)
        context = FitContext(progress=lambda line: print(line, file=sys.stderr))
        module.fit(config, common, tables["train"], tables["valid"], columns, context).model.save(self.model_dir)

    def predictions(self, model: Any) -> Predictions:
        """Statistics of the test rows."""
        predicted: Predictions = model.predict(self.test, STATISTICS)
        return predicted

    def tune(self, setting: FinetuneConfig) -> tuple[float, Any]:
        """Held-out loss of the weights kept, and the fine-tuned model."""
        seed_everything(setting.seed, setting.num_threads)
        model: Any = load_model(self.model_dir)
        tables = model.encoder.transform(self.adapted_on), model.encoder.transform(self.held_out)
        result = Finetuner(model.network, *tables, setting, ALONE, None, lambda line: None).run()
        return result.held_out_loss(), model


def main() -> None:
    """Train, fine-tune with every setting, compare, print."""
    parser = excerpt.parser(__doc__, overrides=["experiment=finetune_methods", "finetune.num_processes=1"])
    parser.add_argument("--lrs", nargs="+", type=float, default=[3e-4, 1e-3, 3e-3, 1e-2])
    arguments = parser.parse_args()
    with excerpt.prepared(arguments, DAYS) as (params, features), tempfile.TemporaryDirectory() as scratch:
        bench = Bench(params, features, Path(scratch) / "gr")
        config = parse(FinetuneConfig, params["finetune"], "finetune")
        figures = measure(bench, contenders_of(config), arguments.lrs, arguments.seeds)
    print(json.dumps({name: vars(figure) for name, figure in figures.items()}))


def measure(bench: Bench, settings: dict[str, FinetuneConfig], lrs: list[float], num_seeds: int) -> dict[str, Figure]:
    """A line for every setting, and its differences to the model as it was trained."""
    label, user = (bench.test[name].to_numpy() for name in ("watch_time_s", "user_id"))
    before = bench.predictions(load_model(bench.model_dir))
    print(f"rows: {len(bench.adapted_on)} adapted on, {len(bench.held_out)} held out, {len(bench.test)} tested on")
    print("as trained", json.dumps(_metrics(label, before)), flush=True)
    figures: dict[str, Figure] = {}
    for name, setting in settings.items():
        losses = {lr: bench.tune(setting.model_copy(update={"lr": lr}))[0] for lr in lrs}
        best = min(losses, key=lambda lr: losses[lr])
        seeds = [setting.model_copy(update={"lr": best, "seed": 1 + i}) for i in range(num_seeds)]
        after = [bench.predictions(bench.tune(seed)[1]) for seed in seeds]
        print(name, f"lr {best:g}", json.dumps({f"{lr:g}": round(loss, 4) for lr, loss in losses.items()}))
        print(name, json.dumps([_metrics(label, predicted) for predicted in after]), flush=True)
        for metric in METRICS:
            figures[f"{name}_{metric}_difference"] = _difference(name, metric, label, user, after, before)
    return figures


def _metrics(label: np.ndarray, predicted: Predictions) -> dict[str, float]:
    return {name: round(metric(label, predicted[of]), 4) for name, (of, metric) in METRICS.items()}


def _difference(
    name: str, metric: str, label: np.ndarray, user: np.ndarray, after: list[Predictions], before: Predictions
) -> Figure:
    """Mean over seeds of the paired difference to the model as trained; prints it with its mean interval by user."""
    statistic, _ = METRICS[metric]
    parts = [paired_bootstrap(metric, label, seed[statistic], before[statistic], user, seed=0) for seed in after]
    value, low, high = (float(np.mean([getattr(part, key) for part in parts])) for key in ("value", "low", "high"))
    print(f"{name} - as trained, {metric}: {value:+.4f} [{low:+.4f}, {high:+.4f}]", flush=True)
    target = TARGETS[metric] if name == "hd_pissa" else None
    unit, better = ("s", "lower") if metric == "mae_s" else ("share", "higher")
    return Figure(round(value, 5), target, unit, better)


if __name__ == "__main__":
    main()
