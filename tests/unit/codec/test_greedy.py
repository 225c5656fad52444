"""Greedy encoding: exact against the definition, in order, never outside the legal tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.vocabularies import greedy_classes, vocabularies
from watchline.codec import (
    EOS,
    Vocabulary,
    VocabularyConfig,
    count_clipped,
    decode,
    encode,
    encode_units,
    fit_vocabulary,
    to_units,
)
from watchline.codec import greedy as greedy_module


def rows_of(classes_NL, length_N):
    return [row[:length].tolist() for row, length in zip(classes_NL, length_N)]


@given(vocabularies())
@settings(max_examples=60, deadline=None)
def test_every_label_up_to_the_cap_has_the_sequence_of_the_definition(vocabulary):
    units = np.arange(vocabulary.cap + 1)
    classes_NL, length_N = encode_units(vocabulary, units)
    assert rows_of(classes_NL, length_N) == [greedy_classes(vocabulary, unit) for unit in units.tolist()]
    assert (classes_NL[np.arange(classes_NL.shape[1]) >= length_N[:, None]] == EOS).all()


@given(vocabularies(), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_labels_beyond_the_lookup_table_are_encoded_alike(vocabulary, table_size):
    units = np.arange(vocabulary.cap + 1)
    whole = encode_units(vocabulary, units)
    original = greedy_module._TABLE_SIZE
    greedy_module._tail_table.cache_clear()
    greedy_module._TABLE_SIZE = table_size
    try:
        split = encode_units(vocabulary, units)
    finally:
        greedy_module._TABLE_SIZE = original
        greedy_module._tail_table.cache_clear()
    assert np.array_equal(split[0], whole[0]) and np.array_equal(split[1], whole[1])


@given(vocabularies(), st.lists(st.floats(0, 3000), min_size=1, max_size=50))
@settings(max_examples=150, deadline=None)
def test_decoding_returns_each_label_within_half_a_unit_of_its_clipped_value(vocabulary, labels):
    labels_N = np.array(labels)
    decoded_N = decode(vocabulary, encode(vocabulary, labels_N)[0])
    within_N = np.minimum(labels_N, vocabulary.cap_s)
    assert (np.abs(decoded_N - within_N) <= vocabulary.unit_s / 2 * (1 + 1e-9) + 1e-9).all()


@given(vocabularies(), st.lists(st.integers(0, 4000), min_size=1, max_size=50))
@settings(max_examples=150, deadline=None)
def test_every_token_is_the_largest_that_what_remains_of_the_label_holds(vocabulary, units):
    units_N = np.minimum(units, vocabulary.cap)
    classes_NL, _ = encode_units(vocabulary, units_N)
    values_NL = vocabulary.class_values[classes_NL]
    remainder_NL = units_N[:, None] - values_NL.cumsum(axis=1) + values_NL
    next_larger_C = np.append(vocabulary.values_V, vocabulary.cap + 1)
    assert (values_NL <= remainder_NL).all() and (remainder_NL < next_larger_C[classes_NL]).all()
    assert np.array_equal(values_NL.sum(axis=1), units_N)


@given(vocabularies(), st.lists(st.floats(0, 3000), min_size=2, max_size=50))
@settings(max_examples=100, deadline=None)
def test_a_larger_label_never_has_a_smaller_sequence(vocabulary, labels):
    """The remark above for labels between units and above the cap: equal where they round alike, else in order."""
    sequences = [tuple(row) for row in rows_of(*encode(vocabulary, sorted(labels)))]
    assert sequences == sorted(sequences)


@given(vocabularies())
@settings(max_examples=60, deadline=None)
def test_a_larger_label_is_a_lexicographically_larger_sequence(vocabulary):
    sequences = [tuple(row) for row in rows_of(*encode_units(vocabulary, np.arange(vocabulary.cap + 1)))]
    assert sequences == sorted(sequences) and len(set(sequences)) == len(sequences)


@given(vocabularies())
@settings(max_examples=60, deadline=None)
def test_sequences_never_rise_and_never_exceed_the_longest_length(vocabulary):
    classes_NL, length_N = encode_units(vocabulary, np.arange(vocabulary.cap + 1))
    assert (np.diff(classes_NL, axis=1) <= 0).all()
    assert length_N.max() <= vocabulary.max_length


def test_the_longest_length_is_that_of_some_label():
    vocabulary = Vocabulary((1, 4, 9, 30), 1.0, 100)
    assert encode_units(vocabulary, np.arange(101))[1].max() == vocabulary.max_length


def test_milliseconds_of_a_day_of_labels_survive_the_round_trip():
    rng = np.random.default_rng(3)
    milliseconds = np.concatenate([[0, 1, 3_600_000], rng.integers(0, 600_000, 20_000), rng.integers(0, 99, 999)])
    vocabulary = fit_vocabulary(milliseconds / 1000, VocabularyConfig(unit_s=0.001))
    decoded_s = decode(vocabulary, encode(vocabulary, milliseconds / 1000)[0])
    assert np.array_equal(np.rint(decoded_s * 1000).astype(int), milliseconds)


def test_watch_ratios_in_thousandths_survive_the_round_trip():
    rng = np.random.default_rng(4)
    ratio_N = np.concatenate([[0.0, 1.0, 10.0, 25.0], rng.gamma(1.2, 0.6, 20_000)])  # 1: played to the end
    vocabulary = fit_vocabulary(ratio_N, VocabularyConfig(unit_s=0.001, cap_s=10.0))
    classes_NL, length_N = encode(vocabulary, ratio_N)
    assert np.abs(decode(vocabulary, classes_NL) - ratio_N.clip(max=10.0)).max() <= 0.0005 + 1e-12
    assert count_clipped(vocabulary, ratio_N) == (ratio_N > 10.0005).sum() > 0
    assert length_N.max() <= vocabulary.max_length < 20


def test_amounts_that_are_mostly_zero_and_rarely_huge_survive_the_round_trip():
    """Lifetime values: most users pay nothing, few pay 100,000; cents."""
    rng = np.random.default_rng(5)
    amount_N = np.where(rng.random(20_000) < 0.85, 0.0, (10 * rng.pareto(0.9, 20_000)).clip(max=1e5).round(2))
    assert amount_N.max() > 1e4
    vocabulary = fit_vocabulary(amount_N, VocabularyConfig(unit_s=0.01, cap_s=1e5))
    classes_NL, length_N = encode(vocabulary, amount_N)
    assert np.array_equal(decode(vocabulary, classes_NL).round(2), amount_N)
    assert np.array_equal(length_N == 0, amount_N == 0)
    assert length_N.max() <= vocabulary.max_length < 40


def test_labels_round_to_the_nearest_unit_not_down():
    vocabulary = Vocabulary((1, 10, 100, 1000), 0.001, 5000)
    # 0.29 / 0.001 is 289.99999999999994 in floating point.
    assert to_units(vocabulary, [0.29, 0.0014, 0.0016]).tolist() == [290, 1, 2]


def test_labels_above_the_cap_are_clipped_and_counted():
    vocabulary = Vocabulary((1, 10), 1.0, 50)
    labels = [50.0, 50.4, 50.6, 1e9]
    assert decode(vocabulary, encode(vocabulary, labels)[0]).tolist() == [50.0] * 4
    assert count_clipped(vocabulary, labels) == 2


@pytest.mark.parametrize("bad", [-0.5, float("nan"), float("inf")])
def test_a_label_that_is_no_amount_is_an_error_with_row_and_count(bad):
    with pytest.raises(ValueError, match=r"1 of 3 labels .* row 1"):
        encode(Vocabulary((1, 10), 1.0, 50), [1.0, bad, 2.0])


def test_no_labels_give_empty_arrays():
    classes_NL, length_N = encode(Vocabulary((1, 10), 1.0, 50), [])
    assert classes_NL.shape[0] == 0 and length_N.shape == (0,)
