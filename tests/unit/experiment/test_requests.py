"""Requests and their candidate sets."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from tests.helpers.toy_law import ToyLaw, exposure_log
from watchline.experiment import requests as rq
from watchline.experiment.requests import catalogues_of, draw_requests
from watchline.experiment.streams import CANDIDATES, stream

LOG = exposure_log(ToyLaw(50, 200), 2000)
LAST = LOG.filter(pl.col("date") == date(2024, 3, 4))


def draw_candidates(requests, log, size, retrieval, days, seed, known=lambda user_id, video_id: None):
    catalogues = catalogues_of(requests, log, retrieval, days)
    return rq.draw_candidates(requests, catalogues, size, known, stream(seed, CANDIDATES))


def test_requests_are_exposures_without_their_video_and_depend_on_the_seed_alone():
    requests = draw_requests(LAST, 100, seed=3)
    assert requests.columns == ["request_id", "user_id", "exposed_at", "date", "surface"]
    assert requests["request_id"].to_list() == list(range(100))
    assert requests["exposed_at"].is_sorted()
    assert len(requests.join(LAST, on=["user_id", "exposed_at", "surface"], how="semi")) == 100
    assert requests.equals(draw_requests(LAST, 100, seed=3))
    assert not requests.equals(draw_requests(LAST, 100, seed=4))


def test_fewer_exposures_than_requests_are_all_taken_and_none_is_an_error():
    assert len(draw_requests(LAST, 10**6, seed=0)) == len(LAST)
    with pytest.raises(ValueError, match="eval days are empty"):
        draw_requests(LAST.clear(), 10, seed=0)


@pytest.mark.parametrize("retrieval", ["popular", "uniform"])
def test_candidates_are_distinct_and_were_shown_on_the_days_before(retrieval):
    requests = draw_requests(LOG.filter(pl.col("date") >= date(2024, 3, 3)), 200, seed=1)
    candidates = draw_candidates(requests, LOG, 12, retrieval, 1, seed=1)
    assert candidates["request_id"].to_list() == np.repeat(np.arange(200), 12).tolist()
    assert candidates.group_by("request_id").agg(pl.col("video_id").n_unique())["video_id"].unique().to_list() == [12]
    for (day,), part in candidates.group_by("date"):
        shown = LOG.filter(pl.col("date") == date(2024, 3, day.day - 1))["video_id"]
        assert part["video_id"].is_in(shown.implode()).all()


def test_no_row_of_the_request_day_or_later_moves_its_candidates():
    requests = draw_requests(LAST, 50, seed=1)
    future = LOG.filter(pl.col("date") >= date(2024, 3, 4)).with_columns(pl.col("video_id") + 1000)
    past = LOG.filter(pl.col("date") < date(2024, 3, 4))
    poisoned = draw_candidates(requests, pl.concat([past, future]), 10, "popular", 3, seed=1)
    assert poisoned.equals(draw_candidates(requests, past, 10, "popular", 3, seed=1))


def test_popular_retrieval_draws_by_exposures_and_uniform_does_not():
    days = pl.Series("date", [date(2024, 3, 3)] * 110)
    log = pl.DataFrame({"video_id": [0] * 90 + list(range(1, 21)), "date": days})
    requests = draw_requests(LAST, 300, seed=1)
    share = {
        rule: (draw_candidates(requests, log, 2, rule, 1, seed=1)["video_id"] == 0).sum() / 300
        for rule in ("popular", "uniform")
    }
    assert share["popular"] > 0.9  # drawn among two with weight 90 of 110
    assert share["uniform"] == pytest.approx(2 / 21, abs=0.06)


def test_a_catalogue_smaller_than_the_candidate_set_is_an_error_that_names_the_day_and_the_parameter():
    requests = draw_requests(LAST, 5, seed=1)
    with pytest.raises(ValueError, match=r"2024-03-04: \d+ videos .*abtest.candidates"):
        draw_candidates(requests, LOG, 500, "popular", 3, seed=1)


def test_videos_without_a_known_answer_are_no_candidates():
    requests = draw_requests(LAST, 40, seed=1)

    def known(user_id, video_id):
        return (user_id[:, None] + video_id[None, :]) % 3 == 0

    candidates = draw_candidates(requests, LOG, 8, "popular", 3, seed=1, known=known)
    assert ((candidates["user_id"] + candidates["video_id"]) % 3 == 0).all()
    with pytest.raises(ValueError, match=r"2024-03-04: \d+ videos with an answer of user \d+ .*abtest.candidates"):
        draw_candidates(requests, LOG, 90, "popular", 3, seed=1, known=known)
