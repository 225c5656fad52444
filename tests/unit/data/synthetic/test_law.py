"""The exported law against its own samples, and against the table it generated."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.helpers.canonical import small_config, write_canonical
from watchline.data.synthetic import Law
from watchline.data.synthetic.generate import generate_day
from watchline.data.synthetic.parameters import CLUSTER_SHARES, NUM_CLUSTERS
from watchline.data.synthetic.population import draw_population
from watchline.data.synthetic.source import build_law

CONFIG = small_config(days=4, exposures=4000, seed=3)


@pytest.fixture(scope="module")
def law() -> Law:
    return build_law(CONFIG, draw_population(CONFIG))


def rows(law: Law, count: int, seed: int = 0) -> list[np.ndarray]:
    """Random questions: user_id, video_id, surface, exposed_at."""
    generator = np.random.default_rng(seed)
    minutes = generator.integers(0, 4 * 24 * 60, count)
    return [
        generator.integers(0, len(law.users), count),
        generator.integers(0, len(law.videos), count),
        generator.integers(0, len(law.parameters.share_S), count),
        np.datetime64("2024-03-01", "us") + minutes.astype("timedelta64[m]"),
    ]


def repeat(asked: list[np.ndarray], times: int) -> list[np.ndarray]:
    return [np.repeat(values, times) for values in asked]


def test_the_mean_equals_the_average_of_samples(law):
    asked, times = rows(law, 40), 40_000
    drawn_s = law.sample(*repeat(asked, times), np.random.default_rng(1)).reshape(40, times)
    standard_errors = drawn_s.std(axis=1) / np.sqrt(times)
    z = (drawn_s.mean(axis=1) - law.mean_watch_time_s(*asked)) / standard_errors
    assert np.abs(z).max() < 4.5
    assert 0.6 < z.std() < 1.5


def test_the_cdf_equals_the_share_of_samples_below(law):
    asked, times = rows(law, 30, seed=2), 20_000
    drawn_s = law.sample(*repeat(asked, times), np.random.default_rng(3)).reshape(30, times)
    for at_s in (0.0, 0.8, 5.0, 40.0, 200.0):
        share = (drawn_s <= at_s).mean(axis=1)
        np.testing.assert_allclose(law.cdf(np.full(30, at_s), *asked), share, atol=5 * 0.5 / np.sqrt(times))


def test_the_mean_is_the_integral_of_the_cdf(law):
    asked = rows(law, 20, seed=4)
    edges_s = np.concatenate([[0.0], np.geomspace(1e-4, 1e6, 40_001)])
    tails = np.array([1.0 - law.cdf(np.full(20, at_s), *asked) for at_s in edges_s[::20]])
    np.testing.assert_allclose(np.trapezoid(tails, edges_s[::20], axis=0), law.mean_watch_time_s(*asked), rtol=2e-3)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_quantiles_invert_the_cdf(law, level):
    asked = rows(law, 200, seed=5)
    quantile_s = law.quantile_watch_time_s(level, *asked)
    reached = law.cdf(quantile_s, *asked)
    started = quantile_s > 0
    np.testing.assert_allclose(reached[started], level, atol=1e-9)
    assert (reached[~started] >= level).all()


def test_samples_are_whole_milliseconds_and_never_negative(law):
    drawn_s = law.sample(*rows(law, 5000), np.random.default_rng(0))
    assert (drawn_s >= 0).all()
    np.testing.assert_array_equal(drawn_s, np.rint(drawn_s * 1000) / 1000)


def test_samples_depend_on_the_generator_only(law):
    asked = rows(law, 100)
    first = law.sample(*asked, np.random.default_rng(9))
    np.testing.assert_array_equal(first, law.sample(*asked, np.random.default_rng(9)))
    assert (first != law.sample(*asked, np.random.default_rng(10))).any()


def test_a_saved_law_answers_the_same_bit_for_bit(law, tmp_path):
    law.save(tmp_path / "law")
    loaded, asked = Law.load(tmp_path / "law"), rows(law, 500)
    np.testing.assert_array_equal(loaded.mean_watch_time_s(*asked), law.mean_watch_time_s(*asked))
    np.testing.assert_array_equal(
        loaded.sample(*asked, np.random.default_rng(0)), law.sample(*asked, np.random.default_rng(0))
    )


def test_the_generated_watch_times_follow_the_exported_law(tmp_path):
    directory = write_canonical(tmp_path, days=6, exposures=30_000, seed=1)
    law = Law.load(directory / "law")
    log = pl.read_parquet(directory / "exposures/*/*.parquet", hive_partitioning=False).unique(maintain_order=True)
    asked = [log[name].to_numpy() for name in ("user_id", "video_id", "surface")]
    asked.append(log["exposed_at"].dt.replace_time_zone(None).to_numpy())
    watch_s = log["watch_time_s"].to_numpy()
    below = law.cdf(watch_s, *asked)[watch_s > 0]
    start = law.cdf(np.zeros(len(log)), *asked)
    uniform = np.sort((below - start[watch_s > 0]) / (1.0 - start[watch_s > 0]))
    gap = np.abs(uniform - (np.arange(len(uniform)) + 0.5) / len(uniform)).max()
    assert gap < 1.95 / np.sqrt(len(uniform))  # Kolmogorov-Smirnov at 0.1 %
    zeros = (watch_s == 0).sum()
    assert abs(zeros - start.sum()) < 4.0 * np.sqrt((start * (1 - start)).sum())


def test_the_weights_of_no_play_and_of_the_stays_sum_to_one(law):
    components = law.components(*rows(law, 500, seed=6))
    total = components.zero_N + sum(stay.weight_N for stay in components.stays)
    np.testing.assert_allclose(total, 1.0, atol=1e-12)
    assert all((stay.weight_N > 0).all() for stay in components.stays)


def test_the_day_of_the_week_is_that_of_the_local_day(law):
    weekend, friday = np.array([5, 6]), 4  # 2024-03-02 and 03 are Saturday and Sunday
    gains_W = law.parameters.interest_W
    assert (gains_W[weekend] > gains_W[friday]).all()
    users, videos, surfaces, _ = rows(law, 50)
    still = replace(law, parameters=replace(law.parameters, turn_CK=np.zeros_like(law.parameters.turn_CK)))
    noon = [np.full(50, np.datetime64(f"2024-03-0{day}T04:00", "us")) for day in (1, 2, 3)]
    on_friday, *on_weekend = (still.mean_watch_time_s(users, videos, surfaces, at) for at in noon)
    assert all((mean > on_friday).all() for mean in on_weekend)


def test_tastes_turn_over_days_and_stand_still_without_drift(law):
    still = small_config(days=4, exposures=4000, seed=3, drift=0.0)
    users, videos, _, _ = rows(law, 300)
    for config, moves in ((CONFIG, True), (still, False)):
        of_config = build_law(config, draw_population(config))
        first, last = (of_config.match(users, videos, np.full(300, day)) for day in (0.0, 3.0))
        assert (np.abs(first - last).mean() > 0.1) == moves


def test_what_a_topic_loses_in_one_cluster_it_gains_in_that_cluster_s_pair(law):
    p = law.parameters
    swing_CK = p.swing_CK * np.cos(p.phase_CK + p.turn_CK * 2.5)
    assert np.abs(swing_CK).max() > 0.5
    np.testing.assert_allclose(swing_CK[0::2], -swing_CK[1::2], atol=1e-9)


def test_drift_moves_no_mean_taste_of_a_cluster(law):
    p = law.parameters
    phases_CK = p.phase_CK + p.turn_CK * 2.5
    np.testing.assert_allclose(np.cos(phases_CK).sum(axis=1), 0.0, atol=1e-9)


def test_a_release_turns_what_length_suits_whom_and_moves_no_mean_of_a_video(law):
    of_each = np.array([law.users["cluster"].to_list().index(c) for c in range(NUM_CLUSTERS)])
    video, shares_C = np.full(NUM_CLUSTERS, int(law.videos["duration_s"].arg_max())), np.array(CLUSTER_SHARES)
    before_C, after_C = (law.length_suits(of_each, video, np.full(NUM_CLUSTERS, day)) for day in (9.9, 10.0))
    np.testing.assert_array_equal(law.length_suits(of_each, video, np.full(NUM_CLUSTERS, -0.1)), before_C)
    np.testing.assert_allclose(after_C, -before_C)
    assert (np.abs(before_C) > 0.2).all()
    assert before_C @ shares_C == pytest.approx(0.0, abs=1e-12)


def test_a_release_moves_no_mean_of_a_user_over_the_rows_of_the_log():
    config = small_config(days=12, exposures=24_000, seed=3)
    population = draw_population(config)
    law = build_law(config, population)
    row = generate_day(config, population, law, 11)
    suits_N = law.length_suits(row["user_id"].to_numpy(), row["video_id"].to_numpy(), np.full(len(row), 11.5))
    side_N = np.sign(law.parameters.length_RC[1, law.users["cluster"].to_numpy()[row["user_id"].to_numpy()]])
    assert suits_N.std() > 0.2
    assert abs((side_N * suits_N).mean()) < 0.15 * suits_N.std()


def test_without_drift_there_is_no_release():
    still = small_config(days=4, exposures=400, seed=3, drift=0.0)
    law = build_law(still, draw_population(still))
    users, videos, _, _ = rows(law, 50)
    first, late = (law.length_suits(users, videos, np.full(50, day)) for day in (0.0, 999.0))
    np.testing.assert_array_equal(first, late)


@pytest.mark.parametrize(("which", "name"), [(0, "user_id"), (1, "video_id"), (2, "surface")])
def test_an_id_the_law_does_not_know_is_an_error_that_names_it(law, which, name):
    asked = rows(law, 5)
    asked[which][3] = 10**6
    with pytest.raises(ValueError, match=rf"{name}: 1 rows outside the law's 0 to \d+, such as 1000000"):
        law.mean_watch_time_s(*asked)


def test_loading_from_a_folder_without_a_law_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"law\.json: no such file; only ingest\.source=synthetic"):
        Law.load(tmp_path)


def test_loading_a_damaged_table_is_an_error_that_names_it(law, tmp_path):
    law.save(tmp_path)
    path = tmp_path / "users.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"users\.parquet: not a readable Parquet file"):
        Law.load(tmp_path)
    law.users[1:].write_parquet(path)
    with pytest.raises(ValueError, match=r"user_id must be 0, 1, 2"):
        Law.load(tmp_path)


def test_hours_and_days_are_local(law):
    midnight_utc = np.array([np.datetime64("2024-02-29T16:00", "us"), np.datetime64("2024-03-02T04:00", "us")])
    np.testing.assert_allclose(law.local_days(midnight_utc), [0.0, 1.5])
    assert law.parameters.first_day == date(2024, 3, 1)


def test_the_law_files_are_parquet_and_json_only(law, tmp_path: Path):
    law.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["law.json", "users.parquet", "videos.parquet"]
