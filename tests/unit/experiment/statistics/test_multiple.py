"""Corrections are those of the textbook, and arms keep their names and their plain intervals."""

from __future__ import annotations

import pytest
from statsmodels.stats.multitest import multipletests

from watchline.experiment import statistics as ab

P_VALUES = [[0.01, 0.04, 0.03, 0.005], [0.5, 0.5], [1.0], [], [0.02, 0.001, 0.02, 0.9, 0.3]]


@pytest.mark.parametrize("p_values", P_VALUES)
@pytest.mark.parametrize(("correct", "method"), [(ab.holm, "holm"), (ab.benjamini_hochberg, "fdr_bh")])
def test_corrections_agree_with_statsmodels(p_values, correct, method):
    known = multipletests(p_values, method=method)[1] if p_values else []
    assert correct(p_values) == pytest.approx(list(known))


def test_each_arm_is_compared_with_the_control_and_corrected():
    control = ab.Mean(1.0, 0.01, 200)
    arms = {"b": ab.Mean(1.4, 0.01, 200), "c": ab.Mean(1.3, 0.01, 200), "d": ab.Mean(0.9, 0.01, 200)}
    found = ab.compare_arms_with_control(arms, control)
    assert [each.arm for each in found] == ["b", "c", "d"]
    for each, (name, mean) in zip(found, arms.items(), strict=True):
        assert each.comparison == ab.Comparison.of(mean, control), name
    # Alone c is significant (p = .035), with two others beside it it is not.
    assert [each.p_corrected < ab.ALPHA for each in found] == [True, False, False]
    assert found[1].comparison.difference.p_value < 0.05 < found[1].p_corrected
