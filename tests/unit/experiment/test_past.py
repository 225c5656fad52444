"""What users watched before the test, and nothing of the eval days."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.helpers.feature_table import write_feature_table
from tests.helpers.small_models import WINDOW
from watchline.data.tables import read_days
from watchline.experiment.config import AbtestConfig
from watchline.experiment.past import expected_watch_s, pre_period, read_past, watch_by_user


def test_users_expect_what_they_watched_before_drawn_to_what_all_watched():
    log = pl.DataFrame({"user_id": [1] * 10 + [2] * 10, "watch_time_s": [4.0] * 10 + [8.0] * 10})
    everyone = np.log([5.0, 9.0]).mean()  # of 1 + watch time
    expected = np.exp([(everyone + np.log(9)) / 2, (everyone + np.log(5)) / 2, everyone]) - 1
    assert expected_watch_s(np.array([2, 1, 3]), log) == pytest.approx(expected)


def test_watch_time_of_the_eval_days_never_enters_cuped(tmp_path):
    write_feature_table(tmp_path)
    config = AbtestConfig(pre_period_days=2, catalogue_days=3)
    past = read_past(tmp_path / "table", WINDOW, config)
    assert past["date"].max() == WINDOW.end and past["date"].n_unique() == 4
    table = read_days(tmp_path / "table", WINDOW.split_days("valid", "finetune"))
    users = np.array([1, 2, 10**6])
    expected = [table.filter(pl.col("user_id") == user)["watch_time_s"].sum() for user in users]
    assert watch_by_user(users, pre_period(past, WINDOW, config)) == pytest.approx(expected)
    assert expected[-1] == 0 < expected[0]
