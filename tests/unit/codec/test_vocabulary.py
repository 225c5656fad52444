"""Vocabularies: how they are chosen, what they refuse, what is reported about them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchline.codec import (
    Vocabulary,
    VocabularyConfig,
    decode,
    describe,
    dynamic_quantile_values,
    encode,
    encode_units,
    fit_vocabulary,
)
from watchline.codec import counting as counting_module
from watchline.config import ConfigError, parse

LABELS = st.lists(st.floats(0, 5000), min_size=1, max_size=80)
CONFIGS = st.builds(
    VocabularyConfig,
    kind=st.sampled_from(["dynamic_quantile", "binary"]),
    unit_s=st.sampled_from([0.001, 0.1, 1.0]),
    cap_s=st.sampled_from([60.0, 3600.0]),
)


def plain_dynamic_quantile(units, q_start=0.9999, q_end=0.9, decay=0.99, epsilon=1e-6):
    """The formula, on all labels, zeros included."""
    label, remainder, quantile, values = units.astype(float), units.astype(float), q_start, []
    while True:
        z = np.percentile(remainder, 100 * quantile)
        if int(z) == 0:
            return values
        values.append(int(z))
        remainder = np.where(remainder < z, remainder, remainder - z)
        quantile = max(q_end, quantile * decay)
        if (remainder[label > 0] / label[label > 0]).max() <= epsilon:
            return values


@given(LABELS, CONFIGS)
@settings(max_examples=150, deadline=None)
def test_any_training_labels_give_a_vocabulary_that_encodes_any_later_label(labels, config):
    vocabulary = fit_vocabulary(labels, config)
    later = np.array([*labels, 0.0, 1e7, config.cap_s])
    decoded = decode(vocabulary, encode(vocabulary, later)[0])
    assert (np.abs(decoded - np.minimum(later, vocabulary.cap_s)) <= config.unit_s / 2 * (1 + 1e-9) + 1e-9).all()
    assert vocabulary.values[0] == 1


@pytest.mark.parametrize("seed", range(5))
def test_dynamic_quantiles_follow_the_formula(seed):
    rng = np.random.default_rng(seed)
    units = np.rint(np.where(rng.random(3000) < 0.15, 0, rng.lognormal(5, 1.5, 3000)))
    counted = np.unique(units, return_counts=True)
    found = dynamic_quantile_values(*counted, q_start=0.9999, q_end=0.9, decay=0.99, epsilon=1e-6)
    assert found == plain_dynamic_quantile(units)


@given(LABELS.flatmap(lambda labels: st.tuples(st.just(labels), st.permutations(labels))), CONFIGS)
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_training_labels_does_not_matter(orders, config):
    first, second = orders
    assert fit_vocabulary(first, config) == fit_vocabulary(second, config)


@given(LABELS, CONFIGS)
@settings(max_examples=60, deadline=None)
def test_every_token_of_a_vocabulary_is_the_code_of_a_label(labels, config):
    vocabulary = fit_vocabulary(labels, config)
    classes_NL, length_N = encode_units(vocabulary, vocabulary.values_V)
    assert classes_NL[:, 0].tolist() == list(range(1, vocabulary.num_classes))
    assert (length_N == 1).all()


def test_labels_that_are_all_zero_still_give_short_sequences():
    vocabulary = fit_vocabulary(np.zeros(10), VocabularyConfig())
    assert vocabulary.max_length <= 16


def test_binary_values_are_the_powers_of_two_up_to_the_cap():
    vocabulary = fit_vocabulary([], VocabularyConfig(kind="binary", cap_s=100.0))
    assert vocabulary.values == (1, 2, 4, 8, 16, 32, 64)
    assert vocabulary.max_length == 6  # 63 and 95 are the worst


def test_manual_values_hold_the_unit_as_well():
    vocabulary = fit_vocabulary([], VocabularyConfig(kind="manual", values_s=(2.5, 30.0), unit_s=0.5, cap_s=60.0))
    assert vocabulary.values == (1, 5, 60)


@pytest.mark.parametrize(
    ("values_s", "reason"), [((0.3,), "no whole multiple"), ((90.0,), "exceeds cap_s"), ((0.0,), "no whole multiple")]
)
def test_manual_values_that_do_not_fit_the_unit_or_cap_are_an_error(values_s, reason):
    with pytest.raises(ValueError, match=reason):
        fit_vocabulary([], VocabularyConfig(kind="manual", values_s=values_s, cap_s=60.0))


@pytest.mark.parametrize(
    ("values", "unit_s", "cap", "reason"),
    [
        ((2, 5), 1.0, 10, "ascend from 1 unit"),
        ((1, 5, 5), 1.0, 10, "ascend from 1 unit"),
        ((), 1.0, 10, "ascend from 1 unit"),
        ((1, 20), 1.0, 10, "exceeds the cap"),
        ((1, 5), 0.0, 10, "unit_s must be above 0"),
        ((1,), 1.0, 100, "more than 64 tokens"),
        ((1, 100), 1.0, 150, "more than 64 tokens"),
    ],
)
def test_an_impossible_vocabulary_is_an_error_with_its_reason(values, unit_s, cap, reason):
    with pytest.raises(ValueError, match=reason):
        Vocabulary(values, unit_s, cap)


@pytest.mark.parametrize(
    ("key", "value"), [("unit_s", 0), ("kind", "octal"), ("q_end", 1.5), ("values_s", [1.0]), ("cap_s", 0.5)]
)
def test_a_parameter_out_of_range_is_an_error_naming_the_section(key, value):
    with pytest.raises(ConfigError, match=r"train\.gr\.vocabulary"):
        parse(VocabularyConfig, {key: value}, "train.gr.vocabulary")


@pytest.mark.parametrize("labels", [[], [1.0, -1.0], [float("nan")]])
def test_training_labels_that_are_missing_or_no_amounts_are_an_error(labels):
    with pytest.raises(ValueError, match=r"no training labels|negative or not finite"):
        fit_vocabulary(labels, VocabularyConfig())


def test_a_vocabulary_survives_json():
    vocabulary = fit_vocabulary(np.random.default_rng(0).lognormal(2, 1, 500), VocabularyConfig(unit_s=0.1))
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


def test_the_report_counts_tokens_lengths_and_clipped_labels():
    report = describe(Vocabulary((1, 5), 1.0, 20), [0.0, 6.0, 7.2, 30.0])
    assert report["tokens"] == 2 and report["labels_clipped"] == 1 and report["length_limit"] == 7
    assert report["share_of_labels_by_length"] == [0.25, 0.0, 0.25, 0.25, 0.25]
    assert report["tokens_per_label"] == {"1": 0.75, "5": 1.5}
    assert report["reconstruction_error_max_s"] == pytest.approx(0.2)


def test_the_report_keeps_large_tokens_apart_that_differ_by_a_unit():
    vocabulary = Vocabulary((*(1 << k for k in range(20)), 1_234_567, 1_234_568), 0.001, 1_300_000)
    names = list(describe(vocabulary, [0.0])["tokens_per_label"])
    assert (names[0], *names[-2:]) == ("0.001", "1234.567", "1234.568")


def test_the_report_does_not_depend_on_how_labels_are_portioned(monkeypatch):
    labels_N = np.random.default_rng(2).lognormal(2, 1.5, 500)
    vocabulary = fit_vocabulary(labels_N, VocabularyConfig(cap_s=100.0))
    whole = describe(vocabulary, labels_N)
    monkeypatch.setattr(counting_module, "_CHUNK", 7)
    assert describe(vocabulary, labels_N) == whole
