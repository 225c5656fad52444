"""Weighted logistic regression: the odds are the conditional mean."""

from __future__ import annotations

import pytest

from tests.helpers import head_checks
from watchline.models import wlr


@pytest.fixture(scope="module")
def model():
    return head_checks.fit(wlr)


def test_it_recovers_the_mean(model):
    assert head_checks.relative_errors(model, ("mean",))["mean"] < 0.06


def test_another_statistic_is_an_error_that_names_those_there_are(model):
    head_checks.check_unknown_statistic(model, "quantile:0.1")


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    head_checks.check_gradient(wlr)


def test_odd_tables_give_finite_statistics():
    head_checks.check_odd_tables(wlr)


def test_a_saved_model_is_the_same_and_so_is_a_repeated_fit(tmp_path):
    head_checks.check_files(wlr, tmp_path)
