"""One method's search: an Optuna study whose trials are fits of the train stage, each composed by Hydra."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from pipelines.params import compose_params
from pipelines.process import CommandTimeoutError, run_lines
from pipelines.search_config import SearchConfig

OBJECTIVE = "mae_s"  # of the median, on the validation rows


@dataclass(frozen=True)
class Bench:
    """Where trials run: the project, a folder for the study, the features of the protocol, its Hydra overrides."""

    root: Path
    folder: Path
    features: Path
    overrides: list[str]
    commit: str

    @property
    def storage(self) -> str:
        """The database of all studies."""
        return f"sqlite:///{self.folder / 'studies.db'}"


def search_method(bench: Bench, config: SearchConfig, method: str, on_line: Callable[[str], None]) -> optuna.Study:
    """Bring the study of `method` to `config.trials` finished fits; those that are there already count.

    The first trial is the setting of conf/train. A fit that fails is stored as failed, with its last line, and uses up
    its trial. A trial that was cut off runs again with the same setting. The sampler is seeded by how many fits have
    ended, so that an interrupted search goes on as an undisturbed one would have.
    """
    space = {key: each.distribution() for key, each in config.space(method).items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=bench.storage, study_name=method, direction="minimize", load_if_exists=True)
    _repeat_cut_off(study)
    _start_with(study, _present(bench, method, list(space)))
    while (number := len(_ended(study))) < config.trials:
        startup = min(config.startup, config.trials)
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=config.seed + number)
        trial = study.ask(space)
        trial.set_user_attr("commit", bench.commit)
        try:
            value, seconds = _fit(bench, config, method, trial.params, bench.folder / f"{method}-{trial.number}")
        except FitError as error:
            trial.set_user_attr("error", str(error))
            study.tell(trial, state=TrialState.FAIL)
            on_line(f"{method} trial {number + 1} of {config.trials} failed: {error}")
        else:
            trial.set_user_attr("seconds", seconds)
            study.tell(trial, value)
            on_line(f"{method} trial {number + 1} of {config.trials}: {value:.4f} s with {trial.params}")
    return study


class FitError(RuntimeError):
    """A fit that ended with an error or ran past its time; the message is its last line."""


def _fit(bench: Bench, config: SearchConfig, method: str, params: dict[str, Any], place: Path) -> tuple[float, float]:
    """Validation MAE of one setting, and its seconds; nothing but the study keeps it."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    settings = [f"train.{method}.{key}={json.dumps(value)}" for key, value in params.items()]
    compose_params(bench.root, [*bench.overrides, f"train.common.seed={config.seed}", *settings], place / "params.yaml")
    command = [sys.executable, "-m", "watchline.stages.train", "--model", method, "--features", str(bench.features)]
    paths = ["--out", str(place / "model"), "--report", str(place / "report"), "--runs", str(place / "runs")]
    environment = ["env", f"PYTHONPATH={bench.root / 'src'}"]
    try:
        done = run_lines([*environment, *command, *paths], place, lambda line: None, config.timeout_s)
        if done.returncode:
            raise FitError(done.lines[-1] if done.lines else f"exit status {done.returncode}")
        metrics = json.loads((place / "report/metrics.json").read_text())
        return float(metrics["valid"][OBJECTIVE]), done.seconds
    except CommandTimeoutError as error:
        raise FitError(str(error)) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))


def _repeat_cut_off(study: optuna.Study) -> None:
    """Whatever still counts as running belongs to a process that is gone: queue its setting again, drop the trial."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.enqueue_trial(trial.params)
        study.tell(trial.number, state=TrialState.PRUNED)


def _start_with(study: optuna.Study, setting: dict[str, Any]) -> None:
    if not study.trials:
        study.enqueue_trial(setting)


def _present(bench: Bench, method: str, keys: list[str]) -> dict[str, Any]:
    """The setting that conf/ has now, of the keys that are searched."""
    place = bench.folder / f"{method}-present.yaml"
    try:
        compose_params(bench.root, bench.overrides, place)
        section = yaml.safe_load(place.read_text(encoding="utf-8"))["train"][method]
    finally:
        place.unlink(missing_ok=True)
    missing = [key for key in keys if key not in section]
    if missing:
        raise ValueError(f"conf/search.yaml: train.{method} has no key {', '.join(missing)}")
    return {key: section[key] for key in keys}
