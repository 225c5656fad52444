"""The matrix environment on KuaiRec's published files: what small_matrix.csv says is what users answer."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tests.helpers import kuairec_files
from tests.helpers.toy_law import candidates_with_durations
from watchline.data.schema import EXPOSURES
from watchline.data.sources import kuairec
from watchline.data.sources.base import conform
from watchline.experiment.environments import MatrixEnvironment
from watchline.experiment.patience import Patience
from watchline.experiment.policies import Policy
from watchline.experiment.processes import simulate
from watchline.experiment.requests import catalogues_of, draw_requests
from watchline.experiment.simulation import World

USERS, VIDEOS = 25, 30


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The dataset's folder with a small matrix of 25 x 30 pairs, of which three have no record; and those records."""
    folder = kuairec_files.write_kuairec(tmp_path_factory.mktemp("kuairec"), days=3, exposures=300)
    user, video = (index.ravel() for index in np.indices((USERS, VIDEOS)))
    generator = np.random.default_rng(0)
    watch_ms = generator.integers(0, 60_000, len(user))
    at = [datetime(2020, 7, 5, 1, tzinfo=UTC) + timedelta(minutes=int(i)) for i in generator.permutation(len(user)) * 5]
    rows = pl.DataFrame({"user_id": user, "video_id": video, "watch_time_s": watch_ms / 1000, "exposed_at": at})
    rows = rows.with_columns(duration_s=pl.lit(20.0), date=(pl.col("exposed_at") + timedelta(hours=8)).dt.date())
    rows = rows.filter(~pl.Series((user == video) & (user < 3)))
    matrix = kuairec_files.matrix_frame(rows)
    kuairec_files.undate(matrix).write_csv(folder / "data" / "small_matrix.csv")
    return folder, matrix


@pytest.fixture(scope="module")
def exposures(published) -> pl.DataFrame:
    config = kuairec.KuaiRecConfig(source="kuairec", path="x", matrix="both", undated_day=date(2020, 7, 8))
    tables = kuairec.read(published[0], config)
    return pl.concat([conform(tables.exposures_of(day), EXPOSURES) for day in tables.days])


@pytest.fixture(scope="module")
def environment(exposures) -> MatrixEnvironment:
    return MatrixEnvironment(exposures.filter("is_random"))


def test_every_cell_of_the_published_file_is_answered_and_no_other(published, environment):
    matrix = published[1]
    found = environment.answer(matrix.select("user_id", "video_id")).mean_s
    assert found == pytest.approx(matrix["play_duration"].to_numpy() / 1000)
    known = environment.known(np.arange(USERS), np.arange(VIDEOS))
    assert known.sum() == USERS * VIDEOS - 3 and not known[[0, 1, 2], [0, 1, 2]].any()


def test_sessions_of_the_matrix_show_observed_pairs_alone(exposures, environment):
    class ByNumber:
        statistics = ("mean",)

        def predict(self, table, statistics):
            return {"mean": table["video_id"].to_numpy().astype(float)}

    small = exposures.filter("is_random")
    requests = draw_requests(small.filter(pl.col("date") == date(2020, 7, 7)), 60, seed=1)
    catalogues = catalogues_of(requests, small, "uniform", 2)
    arms = {"control": Policy("m", ByNumber(), "mean", epsilon=1.0)}

    def prepare(requests, generator):
        return candidates_with_durations(requests, generator, catalogues=catalogues, size=20, known=environment.known)

    world = World(arms, environment, Patience(), prepare, top_k=4, pages=5, seed=1, expectation_runs=2)
    log = simulate(requests, np.full(len(requests), 20.0), world, progress=lambda message: None).log
    answers = small.select("user_id", "video_id", expected="watch_time_s")
    joined = log.join(answers, on=["user_id", "video_id"], how="left")
    assert len(joined) == len(log) > 100
    assert (joined["watch_time_s"] == joined["expected"]).all()
