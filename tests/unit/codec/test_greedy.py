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
    legal_states,
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


@given(vocabularies(max_cap=120))
@settings(max_examples=60, deadline=None)
def test_legal_tokens_allow_the_greedy_sequences_and_nothing_else(vocabulary):
    legal = vocabulary.legal
    sums = []
    paths = [(0, 0)]  # state, units so far: every legal path is a sequence of its own
    while paths:
        state, units = paths.pop()
        sums.append(units)
        assert legal.bound_S[state] >= 1
        for index in range(1, legal.num_legal_S[state] + 1):
            paths.append((legal.next_SC[state, index], units + vocabulary.values[index - 1]))
        assert len(sums) <= vocabulary.cap + 1
    assert sorted(sums) == list(range(vocabulary.cap + 1))


def test_the_longest_length_is_that_of_some_label():
    vocabulary = Vocabulary((1, 4, 9, 30), 1.0, 100)
    assert encode_units(vocabulary, np.arange(101))[1].max() == vocabulary.max_length


def test_states_of_a_sequence_that_is_not_greedy_are_an_error_naming_the_row():
    vocabulary = Vocabulary((1, 5), 1.0, 20)
    assert legal_states(vocabulary, np.array([[2, 1]])).shape == (1, 3)
    with pytest.raises(ValueError, match="row 1 is no greedy sequence"):
        legal_states(vocabulary, np.array([[2, 1], [1, 2]]))


def test_milliseconds_of_a_day_of_labels_survive_the_round_trip():
    rng = np.random.default_rng(3)
    milliseconds = np.concatenate([[0, 1, 3_600_000], rng.integers(0, 600_000, 20_000), rng.integers(0, 99, 999)])
    vocabulary = fit_vocabulary(milliseconds / 1000, VocabularyConfig(unit_s=0.001))
    decoded_s = decode(vocabulary, encode(vocabulary, milliseconds / 1000)[0])
    assert np.array_equal(np.rint(decoded_s * 1000).astype(int), milliseconds)


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
