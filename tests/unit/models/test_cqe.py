"""CQE: quantiles that cannot cross."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers import head_checks
from watchline.models import cqe
from watchline.models.heads import Rows


@pytest.fixture(scope="module")
def model():
    return head_checks.fit(cqe)


def test_it_recovers_median_mean_and_upper_quantile(model):
    found = head_checks.relative_errors(model, ("median", "mean", "quantile:0.9"))
    assert found["median"] < 0.12 and found["mean"] < 0.08 and found["quantile:0.9"] < 0.08


def test_the_first_quantiles_of_a_new_network_are_the_training_labels():
    encoder, rows = head_checks.encoded_known(3000)
    config = cqe.CQEConfig(width=3, num_quantiles=9)
    head = cqe.CQEHead(config, 3, cqe.CQEHead.prepare(config, rows, encoder))
    law = head.law(Rows(torch.zeros(1, 3), torch.zeros(1, 2)))
    levels = [0.1, 0.5, 0.9]
    assert law.quantile(levels)[:, 0].tolist() == pytest.approx(np.quantile(rows.label_N, levels), rel=1e-5, abs=1e-5)
    assert law.mean().item() == pytest.approx(rows.label_N.mean(), rel=0.02)


def test_its_distribution_is_the_laws(model):
    head_checks.check_distribution(model)


def test_another_statistic_is_an_error_that_names_those_there_are(model):
    head_checks.check_unknown_statistic(model, "mode")


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    head_checks.check_gradient(cqe, num_quantiles=7)


def test_odd_tables_give_finite_statistics():
    head_checks.check_odd_tables(cqe)


def test_a_saved_model_is_the_same_and_so_is_a_repeated_fit(tmp_path):
    head_checks.check_files(cqe, tmp_path)
