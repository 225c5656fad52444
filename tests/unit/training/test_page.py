"""The page and the curves of the train stage from what a fit returns."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from watchline.codec import VocabularyConfig, describe, fit_vocabulary
from watchline.training.page import train_page, write_curves

LABELS_S = np.random.default_rng(0).lognormal(2, 1.3, 500)
CURVES = [{"step": 0, "train_loss": 3.0}, {"step": 5, "train_loss": 2.0, "valid_mae_s": 4.0, "epoch": 1}]
VALID = {"mae_s": 4.0, "rmse_s": 9.0, "xauc": 0.7, "rows": 20}
INTERVAL = {"coverage": 0.8125, "width_s": 33.25, "below": 0.0625, "above": 0.125, "coverage_pit": 0.796875}


def page_of(valid=VALID, curves=CURVES, params=(), **facts):
    metrics = {"valid": valid, "train": {"rows": 100}}
    return train_page("gr", metrics, curves, facts, {"width": 64, **dict(params)}).render("../..")


def test_intervals_are_shown_where_they_were_measured():
    page = page_of({**VALID, "interval_80": INTERVAL})
    assert all(text in page for text in ("Prediction intervals", "81.2%", "33.25", "12.5%", "79.7%"))
    assert "Prediction intervals" not in page_of()


@pytest.mark.parametrize(("unit_s", "as_table"), [(1.0, False), (0.001, True)])
def test_a_vocabulary_shows_its_facts_lengths_and_every_token(unit_s, as_table):
    facts = describe(fit_vocabulary(LABELS_S, VocabularyConfig(unit_s=unit_s)), LABELS_S)
    page = page_of(vocabulary=facts)
    for text in ("labels clipped to it", "largest reconstruction error", "share of labels", "tokens per label"):
        assert text in page
    assert ("<span>Use of each token</span>" in page) == as_table
    assert all(name in page for name in facts["tokens_per_label"])


@pytest.mark.parametrize(("label_per", "words"), [("", "in seconds"), ("duration_s", "labels divided by <code>dur")])
def test_a_vocabulary_says_what_its_numbers_measure(label_per, words):
    facts = describe(fit_vocabulary(LABELS_S, VocabularyConfig()), LABELS_S)
    assert words in page_of(params={"label_per": label_per}, vocabulary=facts)


def test_other_facts_are_shown_under_their_own_names():
    page = page_of(best_step=7, trees={"mean": 31})
    assert "best_<wbr>step" in page and "Trees" in page and "Vocabulary" not in page


def test_a_model_without_curves_says_so():
    assert "This model has no curves." in page_of(curves=[])


def test_curves_have_a_row_per_validation_with_the_step_first_and_the_metric_that_stops_last(tmp_path):
    write_curves(CURVES, tmp_path / "new/curves.csv")
    rows = list(csv.DictReader((tmp_path / "new/curves.csv").open()))
    assert list(rows[0]) == ["step", "train_loss", "epoch", "valid_mae_s"]
    assert rows[0] == {"step": "0", "train_loss": "3", "epoch": "", "valid_mae_s": ""}
