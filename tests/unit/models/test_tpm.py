"""TPM: a tree over quantile leaves, with a variance that is one."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import head_checks
from watchline.models import tpm
from watchline.models.heads import Rows


@pytest.fixture(scope="module")
def model():
    return head_checks.fit(tpm)


def test_it_recovers_median_mean_and_upper_quantile(model):
    found = head_checks.relative_errors(model, ("median", "mean", "quantile:0.9"))
    assert found["median"] < 0.1 and found["mean"] < 0.08 and found["quantile:0.9"] < 0.1


def head_of(rows, encoder, **changes):
    config = tpm.TPMConfig(width=4, **changes)
    torch.manual_seed(0)
    return tpm.TPMHead(config, 4, tpm.TPMHead.prepare(config, rows, encoder))


def test_leaves_partition_the_probability():
    encoder, rows = head_checks.encoded_known(1000)
    head = head_of(rows, encoder, num_leaves=11)
    logarithm = head._log_probabilities(Rows(5 * torch.randn(50, 4), torch.zeros(50, 2)))
    assert torch.allclose(logarithm.exp().sum(dim=1), torch.ones(50))
    left, right = tpm.balanced_tree(11)
    assert (left + right).sum(axis=1).tolist()[0] == 11
    assert (left * right == 0).all() and len(left) == 10


def test_the_variance_is_that_of_each_rows_own_distribution():
    encoder, rows = head_checks.encoded_known(1000)
    plain, weighted = (head_of(rows, encoder, w_variance=weight, w_value=0.0) for weight in (0.0, 2.0))
    batch, label = Rows(torch.randn(8, 4), torch.zeros(8, 2)), torch.from_numpy(rows.label_N[:8])
    probability = plain._log_probabilities(batch).exp().detach().double()
    mean = plain.buckets.means()
    of_row = probability @ mean.square() - (probability @ mean).square()
    added = (weighted.loss(batch, label) - plain.loss(batch, label)).item()
    assert added == pytest.approx(2 * of_row.mean().item() / plain.scale**2, rel=1e-4)
    assert of_row.min() > 1.0


def test_the_mean_is_the_sum_over_leaves_of_probability_times_leaf_mean():
    encoder, rows = head_checks.encoded_known(1000)
    head, batch = head_of(rows, encoder), Rows(torch.randn(8, 4), torch.zeros(8, 2))
    probability = head._log_probabilities(batch).exp().double()
    assert torch.allclose(head.law(batch).mean(), probability @ head.buckets.means(), rtol=1e-5)


def test_its_distribution_is_the_laws(model):
    head_checks.check_distribution(model)


def test_another_statistic_is_an_error_that_names_those_there_are(model):
    head_checks.check_unknown_statistic(model, "mode")


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    head_checks.check_gradient(tpm, num_leaves=7, w_variance=0.5, w_value=0.5)


def test_odd_tables_give_finite_statistics():
    head_checks.check_odd_tables(tpm)


def test_a_saved_model_is_the_same_and_so_is_a_repeated_fit(tmp_path):
    head_checks.check_files(tpm, tmp_path)
