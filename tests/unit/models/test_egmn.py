"""EGMN: a mixture whose distribution function is exact."""

from __future__ import annotations

import pytest

from tests.helpers import head_checks
from watchline.models import egmn


@pytest.fixture(scope="module")
def model():
    return head_checks.fit(egmn)


def test_it_recovers_median_mean_and_upper_quantile(model):
    found = head_checks.relative_errors(model, ("median", "mean", "quantile:0.9"))
    assert found["median"] < 0.1 and found["mean"] < 0.08 and found["quantile:0.9"] < 0.08


def test_its_distribution_is_the_laws(model):
    head_checks.check_distribution(model)


def test_another_statistic_is_an_error_that_names_those_there_are(model):
    head_checks.check_unknown_statistic(model, "mode")


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    head_checks.check_gradient(egmn, num_gaussians=2, w_entropy=0.3, w_value=0.3)


def test_odd_tables_give_finite_statistics():
    head_checks.check_odd_tables(egmn)


def test_a_saved_model_is_the_same_and_so_is_a_repeated_fit(tmp_path):
    head_checks.check_files(egmn, tmp_path)
