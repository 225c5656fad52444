"""Damaged models: what is spoiled is spoiled, and nothing else."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import kstest

from tests.helpers.feature_table import write_feature_table
from tests.helpers.small_models import WINDOW, fit_trees
from watchline.data.tables import read_split
from watchline.experiment.damaged import (
    LongerModel,
    NoisyModel,
    OneNumberModel,
    RoundedModel,
    ScaledModel,
    ShuffledModel,
    damaged_models,
    hash_normal,
    splitmix64,
)
from watchline.experiment.group_model import POINTS, GroupModel
from watchline.experiment.remembering import RememberingModel
from watchline.models import load_model


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """A small saved model, training rows and eval rows."""
    root = tmp_path_factory.mktemp("trees")
    write_feature_table(root / "features", rows_per_day=200)
    fit_trees(root / "features", root / "model", num_rounds=5)
    train, evaluated = (read_split(root / "features/table", WINDOW, split) for split in ("train", "eval"))
    return load_model(root / "model"), train, evaluated


def test_hashed_noise_is_standard_normal_and_the_same_for_the_same_pair():
    user, video = np.divmod(np.arange(20_000), 100)
    noise = hash_normal(user, video)
    assert kstest(noise, "norm").pvalue > 0.001
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.03
    assert hash_normal(user[::-1], video[::-1]).tobytes() == noise[::-1].tobytes()
    assert splitmix64(np.zeros(1, np.uint64))[0] == 0xE220A8397B1DCDAF  # of the reference implementation, seed 0


def test_every_damage_does_what_it_says(trees):
    base, _, rows = trees
    right = base.predict(rows, POINTS)
    user = rows["user_id"].to_numpy()

    def damaged(kind, *settings):
        return kind(base, *settings).predict(rows, ["mean", "median"])

    assert damaged(ScaledModel, 2.0)["mean"] == pytest.approx(2 * right["mean"])
    assert damaged(NoisyModel, 0.0)["median"] == pytest.approx(right["median"])
    ratio = np.log(damaged(NoisyModel, 0.5)["mean"] / right["mean"])
    assert ratio.std() == pytest.approx(0.5, rel=0.2)
    assert set(np.mod(damaged(RoundedModel, 10.0)["mean"], 10.0)) == {0.0}
    only = damaged(OneNumberModel, "median")
    assert np.array_equal(only["mean"], right["median"]) and np.array_equal(only["median"], right["median"])
    shuffled = damaged(ShuffledModel)["mean"]
    assert not np.array_equal(shuffled, right["mean"])
    for one in np.unique(user)[:20]:
        assert sorted(shuffled[user == one]) == sorted(right["mean"][user == one])
    longer = damaged(LongerModel, 1.0)["mean"] / right["mean"]
    assert longer == pytest.approx(np.maximum(rows["duration_s"].fill_null(30.0).to_numpy() / 30, 1e-3))


def test_a_group_has_the_mean_and_the_median_of_its_training_rows():
    train = pl.DataFrame({"surface": [1, 1, 1, 2], "label": [1.0, 2.0, 6.0, 10.0]})
    model = GroupModel.fit(train, "surface", "label")
    found = model.predict(pl.DataFrame({"surface": [2, 1, 7, None]}), POINTS)
    assert found["mean"].tolist() == [10.0, 3.0, 4.75, 4.75]
    assert found["median"].tolist() == [10.0, 2.0, 4.0, 4.0]
    with pytest.raises(ValueError, match="no training rows"):
        GroupModel.fit(train[:0], "surface", "label")


def test_rows_without_a_group_count_among_all_rows(tmp_path):
    train = pl.DataFrame({"surface": [None, None, None, 1], "label": [1.0, 2.0, 3.0, 4.0]})
    found = GroupModel.fit(train, "surface", "label").predict(pl.DataFrame({"surface": [1, None, 7]}), POINTS)
    assert found["mean"].tolist() == found["median"].tolist() == [4.0, 2.5, 2.5]
    nowhere = train.with_columns(surface=pl.lit(None, pl.Int64))
    model = GroupModel.fit(nowhere, "surface", "label")
    model.save(tmp_path)
    for same in (model, GroupModel.load(tmp_path)):
        assert same.predict(nowhere, POINTS)["mean"].tolist() == [2.5] * 4
    with pytest.raises(ValueError, match="no training rows"):
        GroupModel.fit(train.with_columns(label=pl.lit(None, pl.Float64)), "surface", "label")


def test_all_but_the_groups_are_saved_and_loaded_with_their_base(trees, tmp_path):
    base, train, rows = trees
    for number, model in enumerate(damaged_models(base, train, "watch_time_s").values()):
        model.save(tmp_path / str(number))
        again = type(model).load(tmp_path / str(number))
        for point in POINTS:
            assert np.array_equal(again.predict(rows, [point])[point], model.predict(rows, [point])[point])
        other = ScaledModel if not isinstance(model, ScaledModel) else NoisyModel
        with pytest.raises(ValueError, match=f"model.json: not a saved {other.name} model"):
            other.load(tmp_path / str(number))


def test_a_remembering_model_asks_once_for_each_table(trees):
    base, _, rows = trees
    asked = []

    class Counting(type(base)):
        def predict(self, table, statistics):
            asked.append(tuple(statistics))
            return super().predict(table, statistics)

    counting = object.__new__(Counting)
    counting.__dict__.update(base.__dict__)
    model = RememberingModel(counting)
    for _ in range(3):
        assert np.array_equal(model.predict(rows, ["mean"])["mean"], base.predict(rows, ["mean"])["mean"])
    model.predict(rows, ["median", "mean"])
    assert asked == [("mean",), ("median",)]
    model.predict(rows[:10], ["median"])
    assert len(asked) == 3
    model.remember(rows, {"mean": np.zeros(len(rows))})
    assert not model.predict(rows, ["mean"])["mean"].any()
