"""The features stage: rows out equal rows in, the layout others read, the same bytes twice, clear errors."""

import hashlib
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.helpers.clean import ROOT, read_exposures, screen, write_clean
from watchline.config import ConfigError, parse
from watchline.data.columns import Columns
from watchline.data.sources import kuairand
from watchline.data.sources.writing import write_source
from watchline.data.splits import Window
from watchline.data.tables import TableError, days_on_disk, read_days
from watchline.feature_store.snapshots import known_at
from watchline.stages import features

WINDOW = {"end": "2024-03-05", "eval_days": 1, "finetune_days": 1, "valid_days": 1, "train_days": 2}
PARAMS = {
    "windows": [1, 3],
    "pair_windows": [3],
    "all_time": True,
    "pair_all_time": False,
    "pair_min_exposures": 1,
    "shrinkage": 5,
    "freshness": "daily",
    "online_sample": 40,
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    return write_clean(tmp_path_factory.mktemp("tables"))


def run(directory: Path, tables: Path, params: dict = PARAMS, window: dict = WINDOW) -> Path:
    """Run the stage as dvc.yaml does, in `directory`; returns its data folder."""
    directory.mkdir(exist_ok=True)
    (directory / "params.yaml").write_text(yaml.safe_dump({"features": params, "window": window}))
    if not (directory / "features").exists():
        shutil.copytree(ROOT / "features", directory / "features", ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        arguments = {"tables": tables, "repo": "features", "out": "data/features", "report": "reports/features"}
        features.main([word for name, path in arguments.items() for word in (f"--{name}", str(path))])
    return directory / "data/features"


@pytest.fixture(scope="module")
def out(tables, tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("project"), tables)


def test_every_clean_exposure_is_in_the_table_once_in_order(tables, out):
    days = days_on_disk(tables / "exposures")
    assert days_on_disk(out / "table") == days
    for day in days:
        before, after = read_days(tables / "exposures", [day]), read_days(out / "table", [day])
        shared = ["exposure_id", "user_id", "video_id", "exposed_at", "date", "is_random", "watch_time_s"]
        assert after.select(shared).equals(before.select(shared))


def test_schema_names_every_column_once_and_models_can_read_it(out):
    columns = Columns.read(out / "schema.json")
    table = read_days(out / "table", days_on_disk(out / "table"))
    named = [columns.label, *columns.keys, *columns.categorical, *columns.numeric]
    assert sorted({*named}) == sorted(table.columns)
    assert set(columns.keys) & set(columns.categorical) == {"user_id", "video_id"}
    assert all(table.schema[name] in (pl.Int64, pl.String) for name in columns.categorical)
    assert all(table.schema[name] in (pl.Int64, pl.Float64) for name in columns.numeric)
    assert {"user_log_mean_1d", "author_skip_rate_3d", "user_surface_watch_median_3d"} <= set(columns.numeric)
    assert not any(name.endswith("_7d") for name in table.columns), "the windows are those of the parameters"


def test_no_label_and_no_signal_is_a_feature(out):
    columns = Columns.read(out / "schema.json")
    features_of = {*columns.categorical, *columns.numeric}
    assert not features_of & {"watch_time_s", "long_view", "is_click", "profile_stay_s", "logged_hourmin", "is_visible"}


def test_report_gives_shares_and_an_equal_online_store(tables, out):
    metrics = json.loads((out.parents[1] / "reports/features/metrics.json").read_text())
    assert metrics["rows"] == len(read_exposures(tables))
    assert metrics["online_parity"]["equal_share"] == 1.0 and metrics["online_parity"]["rows"] == 40
    assert all(0 <= entry["share"] <= 1 for entry in metrics["null_shares"])
    assert metrics["days_behind_window_end"] == 0
    page = (out.parents[1] / "reports/features/index.html").read_text()
    assert "user_topic_log_mean_3d" in page and not re.search(r"(src|href)=.?https?:", page)


def test_another_process_can_read_the_online_store_it_left(tables, out):
    from watchline.feature_store.join import historical_features
    from watchline.feature_store.online import online_features

    last_moment = datetime(2024, 3, 5, 16, tzinfo=UTC)  # local midnight after the last day
    asked = ["user_id", "video_id", "surface", "exposed_at"]
    requests = read_exposures(tables).tail(30).with_columns(exposed_at=pl.lit(last_moment)).select(asked)
    repo = out.parents[1] / "features"
    online = online_features(repo, out, requests)
    assert online.equals(historical_features(repo, out, requests))
    assert (out.parents[1] / "runs/feast/online.db").is_file()


def hashes(directory: Path) -> dict[str, str]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_tables_and_params_give_the_same_bytes_in_any_folder(tables, out, tmp_path):
    again = run(tmp_path / "elsewhere", tables)
    assert hashes(again) == hashes(out)
    assert hashes(again.parents[1] / "reports") == hashes(out.parents[1] / "reports")
    assert not any(path.suffix == ".db" for path in out.rglob("*")), "registry and online store are no outputs"


def test_event_fresh_statistics_are_a_parameter(tables, out, tmp_path):
    fresh = run(tmp_path / "fresh", tables, PARAMS | {"freshness": "event"})
    assert json.loads((fresh / "schema.json").read_text()) == json.loads((out / "schema.json").read_text())
    days = days_on_disk(out / "table")
    daily, event = read_days(out / "table", days), read_days(fresh / "table", days)
    assert daily["exposure_id"].equals(event["exposure_id"])
    assert event["user_exposures_3d"].null_count() < daily["user_exposures_3d"].null_count()
    metrics = json.loads((fresh.parents[1] / "reports/features/metrics.json").read_text())
    assert metrics["online_parity"]["equal_share"] == 1.0


def test_any_amount_of_an_exposure_can_be_the_label(tables, tmp_path):
    other = run(tmp_path / "other", tables, PARAMS | {"label": "comment_stay_s"})
    columns = Columns.read(other / "schema.json")
    assert columns.label == "comment_stay_s"
    assert not {"comment_stay_s", "watch_time_s"} & {*columns.categorical, *columns.numeric}
    days = days_on_disk(other / "table")
    before, after = read_days(tables / "exposures", days), read_days(other / "table", days)
    assert after["comment_stay_s"].equals(before["comment_stay_s"])
    assert after["watch_time_s"].equals(before["watch_time_s"])


@pytest.mark.parametrize("every", [1, 4])
def test_exposures_without_a_surface_go_through_and_are_served_as_trained(tables, tmp_path, every):
    bare = tmp_path / "validate"
    shutil.copytree(tables, bare)
    gone = pl.int_range(pl.len()) % every == 0
    for path in bare.glob("exposures/*/*.parquet"):
        rows = pl.read_parquet(path)
        # Ids below zero are ids too: none of them may be taken for what stands in for no surface.
        surface = pl.when(~gone).then(pl.col("surface") - 1).alias("surface")
        rows.with_columns(surface).write_parquet(path)
    out = run(tmp_path, bare)
    table = read_days(out / "table", days_on_disk(out / "table"))
    assert table.filter(pl.col("surface").is_null())["user_surface_exposures_3d"].null_count() >= len(table) / every - 9
    assert (table["user_surface_exposures_3d"].null_count() == len(table)) == (every == 1)
    parity = json.loads((tmp_path / "reports/features/metrics.json").read_text())["online_parity"]
    assert parity["equal_share"] == 1.0 and parity["rows"] == 40


def test_the_requests_compared_reach_from_the_first_day_to_the_last(tables, tmp_path, monkeypatch):
    from watchline.feature_store import online

    asked = []
    monkeypatch.setattr(online, "compare", lambda store, rows, *_: asked.append(rows) or online.Parity(0, 0, 0, {}))
    exposures = read_exposures(tables).select("user_id", "video_id", "surface")
    run(tmp_path, tables, PARAMS | {"online_sample": len(exposures) // 2 + 1})
    assert len(asked[0]) == len(exposures) // 2 + 1
    assert asked[0].row(0) == exposures.row(0) and asked[0].row(-1) == exposures.row(-1)


def test_a_sample_of_no_requests_compares_nothing_and_says_so(tables, tmp_path):
    run(tmp_path, tables, PARAMS | {"online_sample": 0})
    parity = json.loads((tmp_path / "reports/features/metrics.json").read_text())["online_parity"]
    assert parity["rows"] == parity["values"] == 0 and not parity["differing"] and parity["equal_share"] is None
    page = (tmp_path / "reports/features/index.html").read_text()
    assert "nothing was compared online" in page and "serves what training saw" not in page


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("likes", "no column 'likes'"),
        ("is_like", "is Boolean"),
        ("exposed_at", "is a key"),
        ("surface", "is a key or a feature"),
    ],
)
def test_a_label_that_is_no_amount_is_named(tables, tmp_path, label, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, tables, PARAMS | {"label": label})


def test_days_after_the_window_are_left_out_and_change_nothing(tables, out, tmp_path):
    window = WINDOW | {"end": "2024-03-04", "train_days": 1}
    shorter = run(tmp_path / "shorter", tables, window=window)
    days = days_on_disk(shorter / "table")
    assert days == days_on_disk(out / "table")[:-1]
    assert read_days(shorter / "table", days).equals(read_days(out / "table", days))


@pytest.mark.parametrize(
    ("params", "window", "message"),
    [
        (PARAMS | {"windows": [3, 1]}, WINDOW, r"features\.windows.*ascending"),
        (PARAMS | {"windows": [0, 1]}, WINDOW, r"features\.windows.*at least 1"),
        (PARAMS | {"freshness": "weekly"}, WINDOW, r"features\.freshness"),
        (PARAMS | {"ttl": 3}, WINDOW, r"features\.ttl: unknown parameter"),
        (PARAMS, WINDOW | {"end": "2024-03-09"}, r"lacks 2024-03-06, .* \(days it has: 2024-03-01 to 2024-03-05\)"),
    ],
)
def test_bad_parameters_are_named(tables, tmp_path, params, window, message):
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, tables, params, window)


def test_a_truncated_day_is_named(tables, tmp_path):
    broken = tmp_path / "validate"
    shutil.copytree(tables, broken)
    path = broken / "exposures/date=2024-03-02/part-0.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TableError, match="2024-03-02"):
        run(tmp_path, broken)


@pytest.mark.nightly
def test_the_real_excerpt_keeps_every_row_and_its_history(tmp_path):
    raw = ROOT.parent / "shared/data/kuairand-pure-10d"
    if not raw.is_dir():
        pytest.skip(f"no KuaiRand excerpt at {raw}")
    config = yaml.safe_load((ROOT / "conf/ingest/kuairand.yaml").read_text())
    source = parse(kuairand.KuaiRandConfig, config["ingest"], "ingest")
    write_source(kuairand.read(raw, source), "kuairand", tmp_path / "ingest")
    tables = screen(tmp_path / "ingest", tmp_path / "validate", parse(Window, config["window"], "window"))
    out = run(tmp_path / "project", tables, PARAMS | {"windows": [1, 3, 7], "shrinkage": 0}, config["window"])
    table = read_days(out / "table", days_on_disk(out / "table"))
    exposures = read_exposures(tables)
    assert table["exposure_id"].equals(exposures["exposure_id"])
    known_day = (known_at(8) + timedelta(hours=8)).dt.date()
    for row in table.filter(pl.col("video_exposures_7d") > 20).gather_every(20_000).iter_rows(named=True):
        day = (row["exposed_at"] + timedelta(hours=8)).date()
        history = exposures.filter(
            pl.col("video_id") == row["video_id"],
            known_day.is_between(day - timedelta(days=7), day - timedelta(days=1)),
        )
        assert history["exposed_at"].max() < row["exposed_at"]
        assert row["video_exposures_7d"] == len(history)
        assert row["video_log_mean_7d"] == pytest.approx(history["watch_time_s"].log1p().mean(), abs=1e-6)
