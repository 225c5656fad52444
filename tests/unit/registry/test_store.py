"""From a verdict to a model that predicts, and back: real models on the disk, without DVC."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.helpers.feature_table import write_feature_table
from tests.helpers.small_models import WINDOW, fit_trees
from watchline.data.tables import read_days
from watchline.models import load_model
from watchline.registry import RegistryError, find, load, read_history
from watchline.registry.arms import choose_arms
from watchline.registry.history import taken_back
from watchline.registry.page import history_page
from watchline.registry.store import keep, previous_version, read_verdict, record, roll_back

MODELS = {"lightgbm": 2, "gr_finetuned": 10, "third": 20}  # name -> boosting rounds: three that predict differently


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    write_feature_table(root / "features", rows_per_day=200)
    for name, rounds in MODELS.items():
        fit_trees(root / "features", root / "models" / name, num_rounds=rounds)
    (root / "params.yaml").write_text("models: [lightgbm]\n")
    outs = [{"path": "models/lightgbm", "md5": "ab.dir"}, {"path": "reports/evaluate/index.html", "md5": "cd"}]
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"train@lightgbm": {"outs": outs}}}))
    return root


@pytest.fixture
def root(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "root")


def verdict_of(root: Path, name: str, **changes) -> dict:
    """A verdict that promotes a model, as the gate writes it."""
    arms = choose_arms(root / "models", name, "lightgbm", root / "registry", "production")
    check = {"name": "MAE", "status": "pass", "found": "-0.1 s | fine", "rule": "at most +0.2 s"}
    verdict = {
        "status": "pass",
        "text": f"Promote {name}: all hold.",
        "checks": [check],
        "candidate": name,
        "statistic": "mean",
        "window": {"eval_first": "2024-03-06", "eval_last": "2024-03-06"},
        "metrics": {"mae_s": 18.0, "rmse_s": 30.0, "xauc": 0.7, "calibration": 0.9, "lift_low": -0.001},
    }
    return verdict | {"method": arms.method, "digest": arms.digest, "events": arms.events} | changes


def promote(root: Path, name: str, reason: str = ""):
    verdict = verdict_of(root, name)
    version = keep(verdict, root / "models", root / "registry")
    return record(verdict, root / "registry", version, reason, "c0ffee", root)


def predictions(model, root: Path) -> np.ndarray:
    return model.predict(read_days(root / "features/table", WINDOW.split_days("eval")), ["mean"])["mean"]


def test_what_was_promoted_is_what_predicts_even_when_models_has_moved_on(root):
    promote(root, "gr_finetuned", "the first one")
    expected = predictions(load_model(root / "models/gr_finetuned"), root)
    shutil.rmtree(root / "models")
    assert np.array_equal(predictions(load("production", root / "registry"), root), expected)
    entry = find(registry=root / "registry")
    assert (entry.version, entry.model, entry.method) == (1, "gr_finetuned", "lightgbm")
    assert entry.lock.outputs == {"models/lightgbm": "ab.dir"} and entry.reason == "the first one"
    card = (root / "registry" / entry.card).read_text()
    assert entry.digest in card and "-0.1 s \\| fine" in card and "the first one" in card


def test_a_rollback_restores_the_one_before_and_another_goes_further_back(root):
    registry = root / "registry"
    for name in MODELS:
        promote(root, name)
    models = [predictions(load_model(root / "models" / name), root) for name in MODELS]
    assert not np.array_equal(models[0], models[1])
    for version in (2, 1):
        assert previous_version(registry).version == version
        entry = roll_back(registry, "", None)
        assert (entry.action, entry.version) == ("rollback", version)
        assert np.array_equal(predictions(load(registry=registry), root), models[version - 1])
    with pytest.raises(RegistryError, match=r"v1 \(lightgbm\) is in production and nothing came before it"):
        roll_back(registry, "", None)
    assert promote(root, "third").version == 4
    assert (find(registry=registry).predecessor, roll_back(registry, "", None).version) == (1, 1)
    assert [entry.version for entry in read_history(registry)] == [1, 2, 3, 2, 1, 4, 1]
    page = history_page(read_history(registry)).render("..")
    assert "v1 (lightgbm) is in production since" in page and "v4 is taken back" in page


def test_files_that_are_not_those_promoted_are_named_and_never_loaded(root):
    registry = root / "registry"
    promote(root, "lightgbm")
    folder = registry / "models/v1"
    (folder / "mean.txt").write_text("other trees")
    (folder / "median.txt").unlink()
    (folder / "extra").touch()
    with pytest.raises(RegistryError, match=r"mean.txt is changed; median.txt is missing; extra is none .*--force"):
        load("production", registry)
    shutil.rmtree(folder)
    with pytest.raises(RegistryError, match=r"not here; `dvc checkout .*v1.dvc` .* `dvc pull .*v1.dvc`"):
        load("v1", registry)


def test_a_rollback_to_changed_files_is_refused_and_production_stays(root):
    registry = root / "registry"
    for name in ("lightgbm", "third"):
        promote(root, name)
    (registry / "models/v1/mean.txt").write_text("other trees")
    with pytest.raises(RegistryError, match=r"mean.txt is changed"):
        roll_back(registry, "", None)
    assert find(registry=registry).version == 2


def test_a_model_that_changed_since_it_was_judged_is_not_promoted(root):
    verdict = verdict_of(root, "lightgbm")
    version = keep(verdict, root / "models", root / "registry")
    (root / "registry/models/v1/model.json").write_text("{}")
    with pytest.raises(RegistryError, match="not the files that were judged"):
        record(verdict, root / "registry", version, "", None, root)
    (root / "models/lightgbm/model.json").write_text("{}")
    with pytest.raises(RegistryError, match="is not what was judged; judge it again"):
        keep(verdict, root / "models", root / "registry")
    assert read_history(root / "registry") == []


def test_a_version_that_was_kept_but_never_recorded_is_written_over(root):
    keep(verdict_of(root, "lightgbm"), root / "models", root / "registry")
    assert promote(root, "third").version == 1
    assert np.array_equal(
        predictions(load(registry=root / "registry"), root), predictions(load_model(root / "models/third"), root)
    )


def test_of_two_promotions_the_second_leaves_the_card_of_the_first(root):
    registry = root / "registry"
    late = verdict_of(root, "third")
    promote(root, "third", "the first one")
    card = (registry / "cards/v1.md").read_text()
    with pytest.raises(RegistryError, match="another promotion or rollback came between"):
        record(late, registry, 1, "the second one", None, root)
    assert (registry / "cards/v1.md").read_text() == card and len(read_history(registry)) == 1


def test_a_verdict_that_does_not_pass_is_never_recorded(root):
    path = root / "verdict.json"
    path.write_text(json.dumps(verdict_of(root, "lightgbm", status="fail", text="Do not promote lightgbm: MAE.")))
    with pytest.raises(RegistryError, match="Do not promote lightgbm: MAE"):
        read_verdict(path)


def test_the_candidate_is_held_against_production_the_baseline_or_nothing(root):
    registry = root / "registry"

    def choose(candidate, against="production"):
        return choose_arms(root / "models", candidate, "lightgbm", registry, against)

    assert choose("lightgbm").reference is None and not choose("lightgbm").unchanged
    assert choose("third").reference == str(root / "models/lightgbm")
    promote(root, "third")
    assert choose("third").unchanged and choose("third").reference is None
    chosen = choose("lightgbm")
    assert (chosen.reference, chosen.statistic) == (str(registry / "models/v1"), "mean")
    assert chosen.judged_until == "2024-03-06"
    assert chosen.label == "v1 (third), in production"
    assert choose("gr_finetuned", "baseline").reference == str(root / "models/lightgbm")
    promote(root, "gr_finetuned")
    roll_back(registry, "worse in the evening", None)
    assert choose("gr_finetuned").reference == str(registry / "models/v1")  # asked for by hand
    refused = choose_arms(root / "models", "gr_finetuned", "lightgbm", registry, "production", again=False)
    assert refused.reference is None and refused.label == "v2"
    assert refused.taken_back.startswith("which a rollback took out of production on 20")
    assert refused.taken_back.endswith(": worse in the evening")
    with pytest.raises(RegistryError, match=r"cread: not a trained model; there are gr_finetuned, lightgbm, third"):
        choose("cread")


def test_what_is_promoted_again_after_a_rollback_is_not_taken_back_any_more(root):
    registry = root / "registry"
    for name in ("third", "gr_finetuned"):
        promote(root, name)
    roll_back(registry, "", None)
    (digest,) = taken_back(read_history(registry))
    assert digest == find("v2", registry).digest
    promote(root, "gr_finetuned")
    assert not taken_back(read_history(registry))
