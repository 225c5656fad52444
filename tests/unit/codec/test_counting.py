"""Labels as counts: exact, in any portion, from memory or from a file."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from watchline.codec import VocabularyConfig, count_units, fit_vocabulary
from watchline.codec import counting as counting_module
from watchline.codec.fitting import weighted_quantile

AMOUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=60)


@given(AMOUNTS, st.integers(1, 7))
@settings(max_examples=80, deadline=None)
def test_counts_do_not_depend_on_how_labels_are_portioned(amounts, portion):
    labels_N = np.array(amounts) * 0.5
    original = counting_module._CHUNK
    counting_module._CHUNK = portion
    try:
        units_U, count_U = count_units(labels_N, 0.5, 30)
    finally:
        counting_module._CHUNK = original
    expected = np.unique(np.minimum(amounts, 30), return_counts=True)
    assert np.array_equal(units_U, expected[0]) and np.array_equal(count_U, expected[1])


@given(AMOUNTS, st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_a_weighted_quantile_is_that_of_the_repeated_values(amounts, quantile):
    values_U, count_U = np.unique(amounts, return_counts=True)
    found = weighted_quantile(values_U.astype(float), count_U, quantile)
    assert abs(found - np.quantile(amounts, quantile)) < 1e-9


def test_labels_in_a_file_give_the_vocabulary_of_labels_in_memory(tmp_path):
    labels_N = np.random.default_rng(0).lognormal(2, 1.3, 5000)
    np.save(tmp_path / "labels.npy", labels_N)
    config = VocabularyConfig(unit_s=0.01)
    assert fit_vocabulary(np.load(tmp_path / "labels.npy", mmap_mode="r"), config) == fit_vocabulary(labels_N, config)
