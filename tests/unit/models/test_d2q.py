"""D2Q: quantiles within duration groups, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers import head_checks
from watchline.models import d2q
from watchline.models.heads import Rows


@pytest.fixture(scope="module")
def model():
    return head_checks.fit(d2q)


def test_absolute_error_of_the_quantile_recovers_the_median(model):
    assert head_checks.relative_errors(model, ("median",))["median"] < 0.1


def test_groups_hold_equally_many_rows_of_like_duration():
    encoder, rows = head_checks.encoded_known(6000)
    prepared = d2q.D2QHead.prepare(d2q.D2QConfig(num_groups=6), rows, encoder)
    duration = rows.numeric_ND[:, prepared["column"]].astype(np.float64)
    group = np.searchsorted(prepared["edge_G"], duration)
    assert np.bincount(group).tolist() == pytest.approx([1000] * 6, abs=2)
    for g in range(6):
        label = rows.label_N[group == g]
        shared = np.median(label)
        assert np.interp(0.5, prepared["rank_GK"][g], prepared["label_GK"][g]) == pytest.approx(shared, rel=0.05)


def test_a_label_comes_back_from_its_own_quantile():
    encoder, rows = head_checks.encoded_known(2000)
    head = d2q.D2QHead(d2q.D2QConfig(), 3, d2q.D2QHead.prepare(d2q.D2QConfig(), rows, encoder))
    batch = Rows(torch.zeros(2000, 3), torch.from_numpy(rows.numeric_ND))
    group, label = head._group(batch), torch.from_numpy(rows.label_N)
    quantile = d2q._through(head.label_GK[group], head.rank_GK[group], label)
    assert torch.allclose(d2q._through(head.rank_GK[group], head.label_GK[group], quantile), label)


def test_a_table_without_the_duration_is_named():
    encoder, rows = head_checks.encoded_known(100)
    with pytest.raises(KeyError, match=r"no numeric column 'length_s'; it has duration_s"):
        d2q.D2QHead.prepare(d2q.D2QConfig(duration="length_s"), rows, encoder)


def test_another_statistic_is_an_error_that_names_those_there_are(model):
    head_checks.check_unknown_statistic(model, "quantile:0.1")


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    head_checks.check_gradient(d2q)
    head_checks.check_gradient(d2q, loss="squared")


def test_odd_tables_give_finite_statistics():
    head_checks.check_odd_tables(d2q)


def test_a_saved_model_is_the_same_and_so_is_a_repeated_fit(tmp_path):
    head_checks.check_files(d2q, tmp_path)
