"""The search: spaces that are checked, a study that survives a stop, and settings frozen where they are used."""

from pathlib import Path

import optuna
import pytest
import yaml

from pipelines import search_trials
from pipelines.leaderboard_config import plan_of, read_config, searched_protocols
from pipelines.params import compose_params
from pipelines.search_config import SearchConfig, read_search
from pipelines.search_results import freeze, summarise
from pipelines.search_trials import Bench, FitError, search_method
from watchline.models import model_module

ROOT = Path(__file__).resolve().parents[3]
CONFIG = {
    "protocol": "p", "trials": 5, "startup": 2, "seed": 1, "timeout_s": 60,
    "networks": {"lr": {"low": 0.001, "high": 0.1, "log": True}},
    "methods": {"vr": {"width": {"choices": [32, 64]}}}, "trees": {},
}  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(ROOT, tmp_path, tmp_path / "features", [], "0" * 40)


def bowl(bench: Bench, config: SearchConfig, method: str, params: dict, place: Path) -> tuple[float, float]:
    """In place of a fit: least at lr .01 and width 64."""
    return abs(params["lr"] - 0.01) + (params["width"] == 32), 1.0


def trials(bench: Bench) -> list[dict]:
    return [trial.params for trial in optuna.load_study(study_name="vr", storage=bench.storage).trials if trial.value]


def test_the_first_trial_is_the_present_setting_and_a_stop_changes_no_later_one(bench, tmp_path, monkeypatch):
    config = SearchConfig.model_validate(CONFIG)
    monkeypatch.setattr(search_trials, "_fit", bowl)
    search_method(bench, config, "vr", print)
    undisturbed = trials(bench)
    present = yaml.safe_load((ROOT / "conf/train/vr.yaml").read_text())
    assert undisturbed[0] == {"lr": present["lr"], "width": present["width"]} and len(undisturbed) == 5

    def stopped(*arguments):
        if len(trials(other)) == 3:
            raise KeyboardInterrupt
        return bowl(*arguments)

    other = Bench(ROOT, tmp_path / "other", tmp_path, [], "1" * 40)
    other.folder.mkdir()
    monkeypatch.setattr(search_trials, "_fit", stopped)
    optuna.create_study(storage=other.storage, study_name="vr", direction="minimize")
    with pytest.raises(KeyboardInterrupt):
        search_method(other, config, "vr", print)
    monkeypatch.setattr(search_trials, "_fit", bowl)
    search_method(other, config, "vr", print)
    assert trials(other) == undisturbed


def test_a_failed_fit_uses_up_its_trial_and_is_stored(bench, monkeypatch):
    def unlucky(bench, config, method, params, place):
        if params["width"] == 32:
            raise FitError("no such luck")
        return params["lr"], 1.0

    monkeypatch.setattr(search_trials, "_fit", unlucky)
    config = SearchConfig.model_validate(CONFIG)
    search_method(bench, config, "vr", print)
    found = summarise(bench, config, "p")["methods"]["vr"]
    assert found["fits"] == 5 and 0 < found["failed"] < 5
    assert [trial["valid_mae_s"] is None for trial in found["trials"]] == [t["width"] == 32 for t in found["trials"]]


def test_a_fit_that_breaks_says_its_last_line(bench):
    with pytest.raises(FitError, match="features"):
        search_trials._fit(bench, SearchConfig.model_validate(CONFIG), "vr", {"width": 32}, bench.folder / "one")
    assert list(bench.folder.iterdir()) == []


def test_freezing_writes_the_best_setting_and_every_trial(bench, tmp_path, monkeypatch):
    from pipelines.search import methods_of

    monkeypatch.setattr(search_trials, "_fit", bowl)
    config = SearchConfig.model_validate(CONFIG)
    search_method(bench, config, "vr", print)
    (tmp_path / "project/conf/experiment").mkdir(parents=True)
    found = tmp_path / "found.yaml"
    found.write_text(yaml.safe_dump(summarise(bench, config, "p")))
    chosen = freeze(tmp_path / "project", found)
    record = searched_protocols(tmp_path / "project")["p"]["methods"]["vr"]
    best = min(record["trials"], key=lambda trial: trial["valid_mae_s"])
    assert record["setting"] == {"lr": best["lr"], "width": best["width"]} and record["valid_mae_s"]["after"] < 0.01
    assert yaml.safe_load(chosen.read_text()) == {"train": {"vr": record["setting"]}}
    assert chosen.name == "p_searched.yaml" and len(record["trials"]) == 5
    (row,) = methods_of(searched_protocols(tmp_path / "project")["p"])
    assert (row["method"], row["fits"], row["failed"]) == ("vr", 5, 0)
    assert row["after_mae_s"] == best["valid_mae_s"] < row["before_mae_s"] == record["trials"][0]["valid_mae_s"]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"low": 1.0}, "either choices, or low and high"),
        ({"low": 2.0, "high": 1.0}, "must be below high"),
        ({"low": 0.0, "high": 1.0, "log": True}, "low above 0"),
        ({"choices": [1]}, "at least 2"),
    ],
)
def test_a_mistake_in_a_space_names_file_and_key(tmp_path, space, message):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/search.yaml").write_text(yaml.safe_dump({**CONFIG, "networks": {"lr": space}}))
    with pytest.raises(ValueError, match=rf"(?s)conf/search.yaml: networks.lr.*{message}"):
        read_search(tmp_path)


def test_every_searched_key_is_one_of_its_method(tmp_path):
    config = read_search(ROOT)
    params = yaml.safe_load(compose_params(ROOT, [], tmp_path / "params.yaml").read_text())
    for method in config.all_methods:
        assert set(config.space(method)) <= set(params["train"][method]), method
        for key, each in config.space(method).items():
            for value in each.choices or [each.low, each.high]:
                model_module(method).CONFIG.model_validate(params["train"][method] | {key: value})


def test_a_leaderboard_shows_only_settings_that_its_runs_have():
    config = read_config(ROOT)
    found = searched_protocols(ROOT)["kuairand_time"]["methods"]
    shown = plan_of(ROOT, config, "kuairand_time", ["train.vr.lr=0.5"])["searched"]
    assert set(shown) == (set(found) & set(config.models)) - {"vr"}
    assert shown["gr"]["setting"] == found["gr"]["setting"]


@pytest.mark.parametrize("protocol", searched_protocols(ROOT))
def test_what_was_searched_is_what_its_protocol_composes(protocol, tmp_path):
    record = searched_protocols(ROOT)[protocol]
    overrides = read_config(ROOT).protocols[protocol].overrides
    params = yaml.safe_load(compose_params(ROOT, overrides, tmp_path / "params.yaml").read_text())
    assert list(record["methods"]) == read_search(ROOT).all_methods
    for method, found in record["methods"].items():
        section = params["train"][method]
        assert {key: section[key] for key in found["setting"]} == found["setting"], method
        assert found["fits"] == len(found["trials"]) == record["trials"]


def test_a_later_search_keeps_other_methods_and_protocols(tmp_path):
    (tmp_path / "conf/experiment").mkdir(parents=True)
    found = tmp_path / "found.yaml"
    for protocol, method, lr in (("p", "vr", 0.1), ("q", "vr", 0.2), ("p", "wlr", 0.3)):
        found.write_text(yaml.safe_dump({"protocol": protocol, "methods": {method: {"setting": {"lr": lr}}}}))
        chosen = freeze(tmp_path, found)
    assert yaml.safe_load(chosen.read_text()) == {"train": {"vr": {"lr": 0.1}, "wlr": {"lr": 0.3}}}
    assert searched_protocols(tmp_path)["q"]["methods"] == {"vr": {"setting": {"lr": 0.2}}}
