"""Value regression: each loss finds its own centre of the law."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import head_checks
from watchline.models import vr


@pytest.fixture(scope="module")
def model():
    return head_checks.fit(vr)


def test_absolute_error_recovers_the_median(model):
    assert head_checks.relative_errors(model, ("median",))["median"] < 0.08


def test_squared_error_recovers_the_mean():
    model = head_checks.fit(vr, loss="squared")
    assert head_checks.relative_errors(model, ("mean",))["mean"] < 0.08


def test_the_median_is_the_same_by_way_of_log1p():
    model = head_checks.fit(vr, target="log1p")
    assert head_checks.relative_errors(model, ("median",))["median"] < 0.12


def test_one_number_stands_for_every_statistic(model):
    _, valid, _ = head_checks.known_tables()
    found = model.predict(valid, model.statistics)
    assert np.array_equal(found["median"], found["mean"])
    assert found["expected_rank"] == pytest.approx(model.ranks(found["median"]))


def test_another_statistic_is_an_error_that_names_those_there_are(model):
    head_checks.check_unknown_statistic(model, "quantile:0.1")


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    head_checks.check_gradient(vr)
    head_checks.check_gradient(vr, loss="squared", target="log1p")
    head_checks.check_gradient(vr, loss="huber", huber_delta=0.3)


def test_odd_tables_give_finite_statistics():
    head_checks.check_odd_tables(vr)


def test_a_saved_model_is_the_same_and_so_is_a_repeated_fit(tmp_path):
    head_checks.check_files(vr, tmp_path)
