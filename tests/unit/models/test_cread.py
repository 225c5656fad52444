"""CREAD: error-adaptive thresholds, and the watch time restored from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers import head_checks
from watchline.models import cread
from watchline.models.heads import Rows


@pytest.fixture(scope="module")
def model():
    return head_checks.fit(cread)


def test_it_recovers_median_mean_and_upper_quantile(model):
    found = head_checks.relative_errors(model, ("median", "mean", "quantile:0.9"))
    assert found["median"] < 0.13 and found["mean"] < 0.1 and found["quantile:0.9"] < 0.13


def test_the_restored_watch_time_is_a_lower_sum_near_the_mean(model):
    _, valid, _ = head_checks.known_tables()
    found = model.predict(valid, ("mean", "expectation"))
    assert found["expectation"].mean() < found["mean"].mean()
    assert head_checks.relative_errors(model, ("expectation",))["expectation"] < 0.12


def test_levels_run_from_0_to_1_and_are_denser_above_the_larger_a_is():
    share = np.linspace(0.0, 1.0, 11)
    levels = np.stack([cread.gamma(share, a) for a in (0.0, 1.0, 3.0)])
    assert levels[:, [0, -1]] == pytest.approx(np.array([[0.0, 1.0]] * 3))
    assert levels[0] == pytest.approx(share)
    assert (np.diff(levels[:, 1:-1], axis=0) > 0).all()


def test_the_restored_watch_time_is_the_sum_of_probability_times_step():
    encoder, rows = head_checks.encoded_known(1000)
    config = cread.CREADConfig(width=3, num_thresholds=5)
    head = cread.CREADHead(config, 3, cread.CREADHead.prepare(config, rows, encoder))
    batch = Rows(torch.randn(4, 3), torch.zeros(4, 2))
    probability = head.linear(batch.memory_BW).sigmoid().detach().numpy()
    thresholds = head.buckets.threshold_K.numpy()
    expected = [sum(p * (t - u) for p, t, u in zip(row, thresholds, [0.0, *thresholds])) for row in probability]
    assert head.extra("expectation", batch).tolist() == pytest.approx(expected, rel=1e-5)


def test_only_rising_probabilities_are_penalised():
    encoder, rows = head_checks.encoded_known(1000)
    losses = {}
    for weight in (0.0, 1.0):
        config = cread.CREADConfig(width=3, num_thresholds=5, w_order=weight)
        head = cread.CREADHead(config, 3, cread.CREADHead.prepare(config, rows, encoder))
        for name, slope in (("falling", -1.0), ("rising", 1.0)):
            with torch.no_grad():
                head.linear.weight.zero_()
                head.linear.bias.copy_(slope * torch.arange(len(head.linear.bias)))
            losses[name, weight] = head.loss(Rows(torch.zeros(4, 3), torch.zeros(4, 2)), torch.ones(4)).item()
    assert losses["falling", 1.0] == losses["falling", 0.0]
    assert losses["rising", 1.0] > losses["rising", 0.0]


def test_its_distribution_is_the_laws(model):
    head_checks.check_distribution(model)


def test_another_statistic_is_an_error_that_names_those_there_are(model):
    head_checks.check_unknown_statistic(model, "mode")


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    head_checks.check_gradient(cread, num_thresholds=9)


def test_odd_tables_give_finite_statistics():
    head_checks.check_odd_tables(cread)


def test_a_saved_model_is_the_same_and_so_is_a_repeated_fit(tmp_path):
    head_checks.check_files(cread, tmp_path)
