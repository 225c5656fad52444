"""No statistic, encoder or training row before a cut depends on what comes after it, and the checks see a planted leak.

One checker, `differs_before`, compares what was computed from the exposures with what comes of them when everything
after the cut is poisoned or shuffled.
"""

from datetime import date, timedelta
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from tests.helpers.feature_table import COLUMNS, day_rows
from tests.helpers.statistics import statistics_of
from tests.unit.feature_store.test_snapshots import DAY, several
from watchline.data.columns import Columns
from watchline.data.encoding import TableEncoder, TableEncoderConfig
from watchline.feature_store import history, snapshots, sources, updates
from watchline.feature_store.groups import GROUPS

CUT = DAY - timedelta(days=2)
DAYS = [CUT - timedelta(days=2), CUT - timedelta(days=1), CUT]


def poisoned(frame: pl.DataFrame) -> pl.DataFrame:
    """Absurd values from the cut on."""
    later = pl.col("date") >= CUT
    return frame.with_columns(
        pl.when(later).then(5e4).otherwise("watch_time_s").alias("watch_time_s"),
        pl.when(later).then(0.001).otherwise("duration_s").alias("duration_s"),
    )


def shuffled(frame: pl.DataFrame) -> pl.DataFrame:
    """From the cut on, everybody's watch times and surfaces dealt out anew, and a third of the rows gone."""
    before, after = frame.filter(pl.col("date") < CUT), frame.filter(pl.col("date") >= CUT)
    columns = [after[name].sample(fraction=1.0, shuffle=True, seed=8) for name in ("watch_time_s", "surface")]
    return pl.concat([before, after.with_columns(columns).gather_every(3)])


def differs_before(frame: pl.DataFrame, changed: pl.DataFrame, scratch: Path, **parameters: object) -> list[str]:
    """Groups whose statistics, as any row before the cut or at its start may get them, are not the same for both."""
    start = snapshots.start_of_day(CUT, 0.0)
    tables = [statistics_of(rows, DAYS, scratch / str(i), **parameters) for i, rows in enumerate((frame, changed))]
    differing = []
    for group in GROUPS:
        first, second = (
            pl.concat([of_day[group.name] for of_day in table.values()]).filter(pl.col(snapshots.TIME) <= start)
            for table in tables
        )
        if not first.equals(second):
            differing.append(group.name)
    return differing


@pytest.fixture
def frame() -> pl.DataFrame:
    return several(700, seed=11, first=200.0, last=-24.0)


@pytest.mark.parametrize("change", [poisoned, shuffled])
@pytest.mark.parametrize("freshness", ["daily", "event"])
def test_what_comes_after_the_cut_changes_no_statistic_before_it(frame, tmp_path, change, freshness):
    parameters = {"freshness": freshness, "shrinkage": 4.0, "pair_all_time": True}
    assert differs_before(frame, change(frame), tmp_path, **parameters) == []


def _known_when_it_begins(utc_offset_hours: float) -> pl.Expr:
    return pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC") - timedelta(hours=24 + utc_offset_hours)


@pytest.mark.parametrize("change", [poisoned, shuffled])
def test_statistics_that_include_their_own_day_are_found_out(frame, tmp_path, monkeypatch, change):
    monkeypatch.setattr(history, "known_at", _known_when_it_begins)
    assert differs_before(frame, change(frame), tmp_path) == [group.name for group in GROUPS]


def test_a_window_filter_that_reaches_a_day_too_far_is_found_out(frame, tmp_path, monkeypatch):
    known_on = history.History.known_on
    day = timedelta(days=1)
    monkeypatch.setattr(
        history.History, "known_on", lambda self, name, first, last: known_on(self, name, first + day, last + day)
    )
    leaking = differs_before(frame, poisoned(frame), tmp_path, all_time=False)
    assert leaking == [group.name for group in GROUPS]


def test_a_running_sum_of_one_day_too_many_is_found_out(frame, tmp_path, monkeypatch):
    def entry(self: sources.Statistics, day: date) -> Path:
        running = self._history.running(day + timedelta(days=1), self._plan.all_time)
        return self._cache.entry(self.inputs(day), partial(self._make, day, running))

    monkeypatch.setattr(sources.Statistics, "entry", entry)
    assert differs_before(frame, poisoned(frame), tmp_path) == ["user_stats", "video_stats", "author_stats"]


def test_updates_before_their_exposure_are_found_out(frame, tmp_path, monkeypatch):
    monkeypatch.setattr(updates, "known_at", lambda offset: pl.col("exposed_at") - timedelta(hours=3))
    monkeypatch.setattr(sources.Statistics, "_recent", lambda self, day: self.exposures.read(self.exposures.days))
    assert differs_before(frame, poisoned(frame), tmp_path, freshness="event") == [group.name for group in GROUPS]


def test_encoders_and_training_rows_do_not_change_with_what_comes_after_the_training_days():
    tables = [day_rows(date(2024, 3, 1) + timedelta(days=i), 150, 30, 40, seed=3) for i in range(4)]
    train, after = pl.concat(tables[:2]), pl.concat(tables[2:])
    noise = after.with_columns(watch_time_s=pl.lit(9e5), user_id=pl.col("user_id") + 10_000, duration_s=pl.lit(1e6))
    cut = train["date"].max()

    def fitted(table: pl.DataFrame, columns: Columns = COLUMNS) -> tuple[dict, pl.DataFrame]:
        rows = table.filter(pl.col("date") <= cut)
        return TableEncoder.fit(rows, columns, TableEncoderConfig(min_count=2, num_quantiles=8)).to_json(), rows

    clean, dirty = fitted(pl.concat([train, after])), fitted(pl.concat([train, noise]))
    assert clean[0] == dirty[0] and clean[1].equals(dirty[1])
    leaking = TableEncoder.fit(pl.concat([train, noise]), COLUMNS, TableEncoderConfig(min_count=2, num_quantiles=8))
    assert leaking.to_json() != clean[0], "an encoder fitted on every day is found out"
