"""Ensemble: the mean of its members' quantile functions, saved as one folder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers import head_checks
from tests.helpers.known_law import COLUMNS
from watchline.config import ConfigError, parse
from watchline.metrics import mae
from watchline.models import ensemble, load_model
from watchline.models.base import FitContext
from watchline.training.seeding import seed_everything

SMALL = {"width": 16, "batch_size": 128, "epochs": 2, "lr": 0.01, "stop_on": "valid_loss"}
GR = {**SMALL, "num_heads": 2, "ffn_width": 32, "num_layers": 1}
MEMBERS = {"ordinal": {**SMALL, "num_thresholds": 20}, "cqe": {**SMALL, "num_quantiles": 20}, "gr": GR}
ASKED = ("median", "quantile:0.9", "mean", "expected_rank", "mean_log")
CONTEXT = FitContext(progress=lambda line: None)


def fit(members, context=CONTEXT):
    train, valid, _ = head_checks.known_tables()
    seed_everything(1, 1)
    config = ensemble.CONFIG(members=members)
    return ensemble.fit(config, head_checks.COMMON, train.head(3000), valid.head(500), COLUMNS, context)


@pytest.fixture(scope="module")
def fitted():
    return fit(MEMBERS)


@pytest.fixture(scope="module")
def valid():
    return head_checks.known_tables()[1].head(400)


def test_every_statistic_is_the_mean_of_the_members(fitted, valid):
    found = fitted.model.predict(valid, ASKED)
    members = [member.predict(valid, ASKED) for member in fitted.model.members.values()]
    assert list(fitted.model.members) == ["cqe", "gr", "ordinal"]
    for name in ASKED:
        assert np.array_equal(found[name], np.mean([values[name] for values in members], axis=0))


def test_cumulative_inverts_the_mean_quantiles(fitted, valid):
    label = valid["watch_time_s"].to_numpy()
    below, upto = fitted.model.cumulative(valid)
    assert (below >= 0).all() and (below <= upto).all() and (upto <= 1).all()
    for level in (0.1, 0.5, 0.83):
        quantile = fitted.model.predict(valid, [f"quantile:{level}"])[f"quantile:{level}"]
        inside = (label > 0) & (quantile > 0)
        assert (upto[inside & (label < quantile - 1e-9)] < level + 0.013).all()
        assert (upto[inside & (label > quantile + 1e-9)] > level - 0.013).all()


def test_it_is_about_as_good_as_its_members(fitted, valid):
    label = valid["watch_time_s"].to_numpy()
    errors = [mae(label, m.predict(valid, ["median"])["median"]) for m in fitted.model.members.values()]
    assert mae(label, fitted.model.predict(valid, ["median"])["median"]) <= np.mean(errors)


def test_a_saved_ensemble_is_complete_by_itself(fitted, valid, tmp_path):
    fitted.model.save(tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    before, after = (model.predict(valid, ASKED) for model in (fitted.model, loaded))
    assert all(np.array_equal(before[name], after[name]) for name in ASKED)
    assert all(np.array_equal(*parts) for parts in zip(fitted.model.cumulative(valid), loaded.cumulative(valid)))
    (tmp_path / "a/gr/config.json").unlink()
    with pytest.raises(ValueError, match=r"a/gr.*not a saved gr model"):
        load_model(tmp_path / "a")


def test_a_repeated_fit_with_checkpoints_gives_the_same_files(tmp_path):
    members = {name: {**MEMBERS[name], "epochs": 1} for name in ("ordinal", "cqe")}
    for name in ("a", "b"):
        fit(members, replace(CONTEXT, run_dir=tmp_path / "runs" / name)).model.save(tmp_path / name)
    assert (tmp_path / "runs/a/cqe").is_dir() and (tmp_path / "runs/a/ordinal").is_dir()
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) > 10
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_curves_and_facts_carry_the_members_names(fitted):
    names = {name for row in fitted.curves for name in row}
    assert {"step", "cqe_valid_mae_s", "gr_valid_mae_s", "ordinal_valid_loss"} <= names
    assert {"gr_best_step", "ordinal_parameters"} <= set(fitted.facts)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"gr": GR}, "at least 2"),
        ({"gr": GR, "vr": SMALL}, "vr cannot be a member"),
        ({"gr": GR, "ensemble": {}}, "ensemble cannot be a member"),
        ({"gr": GR, "lightgbm": {}}, "lightgbm cannot be a member"),
        ({"gr": GR, "xyz": {}}, "unknown model 'xyz'"),
        ({"gr": GR, "cqe": {"widht": 3}}, "cqe.widht: unknown parameter"),
    ],
)
def test_what_cannot_be_a_member_is_named(members, message):
    with pytest.raises(ConfigError, match=message):
        parse(ensemble.CONFIG, {"members": members}, "train.ensemble")


def test_a_member_on_ratios_is_refused_before_anything_is_fitted():
    with pytest.raises(ValueError, match=r"train\.ensemble\.members\.gr\.label_per is 'duration_s'"):
        fit({**MEMBERS, "gr": {**GR, "label_per": "duration_s"}})


def test_processes_must_divide_the_shards_of_every_member():
    shards = {"gr": {**GR, "num_shards": 4}, "cqe": {**SMALL, "num_shards": 6}}
    assert ensemble.CONFIG(members=shards).num_shards == 2


def test_another_statistic_is_an_error_that_names_those_there_are(fitted, valid):
    with pytest.raises(KeyError, match="ensemble has no statistic window; it has median, mean"):
        fitted.model.predict(valid, ["window"])


def test_an_empty_table_has_empty_results(fitted, valid):
    assert fitted.model.predict(valid.clear(), ["median"])["median"].shape == (0,)
    assert [part.shape for part in fitted.model.cumulative(valid.clear())] == [(0,), (0,)]
