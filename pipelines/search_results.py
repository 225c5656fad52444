"""What a search found: every trial stored with the project, and the best settings as a named set of conf/experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import TrialState

from pipelines.leaderboard_config import SEARCHED, searched_protocols
from pipelines.search_config import SearchConfig
from pipelines.search_trials import Bench


def summarise(bench: Bench, config: SearchConfig, protocol: str) -> dict[str, Any]:
    """Of every study there is: its trials in order, validation MAE in seconds, and the setting of the least."""
    methods = {}
    for name in sorted(optuna.get_all_study_names(bench.storage), key=_order(config)):
        trials = optuna.load_study(study_name=name, storage=bench.storage).get_trials(
            states=(TrialState.COMPLETE, TrialState.FAIL)
        )
        done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        if not done:
            continue
        best = min(done, key=lambda trial: trial.value or 0.0)
        methods[name] = {
            "valid_mae_s": {"before": _rounded(trials[0].value), "after": _rounded(best.value)},
            "fits": len(trials),
            "failed": len(trials) - len(done),
            "setting": _plain(best.params),
            "trials": [
                {
                    "valid_mae_s": _rounded(trial.value),
                    "commit": trial.user_attrs["commit"][:12],
                    **_plain(trial.params),
                }
                for trial in trials
            ],
        }
    return {"protocol": protocol, "trials": config.trials, "seed": config.seed, "methods": methods}


def freeze(root: Path, found: Path) -> Path:
    """Add `found` to conf/searched.yaml, write its settings as a named set of overrides; returns the file of the set.

    Methods that this search left out, and other protocols, keep what an earlier one found.
    """
    record = yaml.safe_load(found.read_text(encoding="utf-8"))
    records = searched_protocols(root)
    earlier = records.get(record["protocol"], {}).get("methods", {})
    record["methods"] = {**earlier, **record["methods"]}
    settings = {"train": {method: result["setting"] for method, result in record["methods"].items()}}
    note = f"# @package _global_\n# What `make search` found on {record['protocol']}; all trials are in {SEARCHED}.\n"
    chosen = root / f"conf/experiment/{record['protocol']}_searched.yaml"
    chosen.write_text(note + yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    note = "# Written by `make search`: every trial, with the MAE of the validation rows in seconds.\n"
    records[record["protocol"]] = record
    (root / SEARCHED).write_text(note + yaml.safe_dump(records, sort_keys=False, width=120), encoding="utf-8")
    return chosen


def _order(config: SearchConfig) -> Any:
    known = config.all_methods
    return lambda name: (known.index(name) if name in known else len(known), name)


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Numbers of four digits: more would say what no trial can tell apart."""
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in params.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
