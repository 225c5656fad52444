"""KuaiRand (Gao et al., CIKM 2022) in the published folder layout, unpacked or as the tar.gz.

    X/data/log_standard_*_pure.csv   log_random_*_pure.csv   user_features_pure.csv   video_features_basic_pure.csv

Ids are already whole numbers, durations and stays are milliseconds, `date` is the day in China (UTC+8).
`video_features_statistic_*.csv` looks into the future of every row of the log and is never read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field as Setting

from watchline.config import Config
from watchline.data.day_cache import DayCache
from watchline.data.schema import EXPOSURES, SIGNALS, USERS, VIDEOS
from watchline.data.sources import parsing
from watchline.data.sources.archives import dataset_folder
from watchline.data.sources.base import SourceError, SourceTables
from watchline.data.sources.delimited import Field, Layout
from watchline.data.sources.fields import KUAISHOU_USER_FIELDS, flag, seconds, text, whole
from watchline.data.sources.known import KUAIRAND_LOG, KUAIRAND_USERS, KUAIRAND_VIDEOS
from watchline.data.sources.streaming import Streamer

UTC_OFFSET_HOURS = 8
NULL_CODES = ("-124", "UNKNOWN")  # both mean `not known`


class KuaiRandConfig(Config):
    """Where KuaiRand lies and which of its logs to read."""

    source: Literal["kuairand"]
    path: str = Setting(description="dataset folder, its data/ folder, or the tar.gz")
    random_log: bool = Setting(default=True, description="also read log_random_* where it is there (is_random = true)")


FLAGS = [name for name, kind in SIGNALS.items() if kind == pl.Boolean]

LOG = Layout(
    (
        whole("user_id", required=True),
        whole("video_id", required=True),
        Field("time_ms", "exposed_at", parsing.utc_from_ms, "a time in milliseconds", required=True),
        Field("date", "date", parsing.compact_date, "a date YYYYMMDD", required=True),
        whole("tab", "surface", required=True),
        seconds("play_time_ms", "watch_time_s", required=True),
        seconds("duration_ms", "duration_s", required=True),
        flag("is_rand", "is_random", required=True),
        whole("hourmin", "logged_hourmin"),
        *(flag(name) for name in FLAGS),
        seconds("profile_stay_time", "profile_stay_s"),
        seconds("comment_stay_time", "comment_stay_s"),
    ),
    KUAIRAND_LOG,
)
USER_TABLE = Layout(KUAISHOU_USER_FIELDS, KUAIRAND_USERS, null_codes=NULL_CODES)
VIDEO_TABLE = Layout(
    (
        whole("video_id", required=True),
        whole("author_id"),
        text("video_type"),
        Field("upload_dt", "uploaded_on", parsing.iso_date, "a date YYYY-MM-DD"),
        text("upload_type"),
        Field("visible_status", "is_visible", parsing.is_zero, "a whole number"),
        seconds("video_duration", "duration_s"),
        whole("server_width", "width"),
        whole("server_height", "height"),
        whole("music_id"),
        whole("music_type"),
        text("tag", "tags"),
    ),
    KUAIRAND_VIDEOS,
    null_codes=NULL_CODES,
)
_SCHEMAS = {"exposures": EXPOSURES, "users": USERS, "videos": VIDEOS}
_LOG_NAME = re.compile(r"log_(standard|random)_.+_(pure|1k|27k)(_part\d+)?\.csv")
_WHAT = "KuaiRand's folder or its tar.gz"
_WANTED = re.compile(r"(log_standard|log_random|user_features|video_features_basic)_.*\.csv")


def read(path: Path, config: KuaiRandConfig, cache: DayCache | None = None) -> SourceTables:
    """Read the folder or archive at `path`. Raises SourceError naming file, column and counts."""
    with dataset_folder(path, lambda name: _WANTED.fullmatch(name) is not None, _WHAT) as (directory, notes):
        return _read_folder(directory, config, Streamer(cache), notes)


def _read_folder(path: Path, config: KuaiRandConfig, streamer: Streamer, notes: tuple[str, ...]) -> SourceTables:
    folder = _find_folder(path)
    logs, suffix = _find_logs(folder, config)
    log = streamer.log(logs, LOG, UTC_OFFSET_HOURS)
    users = streamer.table(_find_table(folder, f"user_features_{suffix}"), USER_TABLE)
    videos = streamer.table(_find_table(folder, f"video_features_basic_{suffix}"), VIDEO_TABLE)
    columns = {"exposures": log.columns, "users": users.frame.columns, "videos": videos.frame.columns}
    ignored = {"exposures": log.ignored, "users": users.ignored, "videos": videos.ignored}
    return SourceTables(
        days=log.days,
        exposures_of=log.rows_of,
        users=users.frame,
        videos=videos.frame,
        unparsable=pl.concat([log.unparsable, users.unparsable, videos.unparsable]),
        utc_offset_hours=UTC_OFFSET_HOURS,
        columns_filled={name: tuple(c for c in _SCHEMAS[name] if c in columns[name]) for name in _SCHEMAS},
        notes=(
            *notes,
            *(f"{name}: columns not used: {', '.join(unused)}" for name, unused in ignored.items() if unused),
        ),
        known_days=log.facts(),
    )


def _find_folder(path: Path) -> Path:
    for folder in (path, path / "data", *sorted(path.glob("*/data")), *sorted(p for p in path.iterdir() if p.is_dir())):
        if any(_WANTED.fullmatch(file.name) for file in folder.glob("*.csv")):
            return folder
    raise SourceError(
        f"{path}: no log_standard_*.csv in it or in its data/ folder; "
        "set ingest.path to KuaiRand's folder (the one that holds data/) or to its tar.gz"
    )


def _find_logs(folder: Path, config: KuaiRandConfig) -> tuple[list[Path], str]:
    """The logs to read, and the suffix of the variant (pure, 1k, 27k)."""
    found = {file: match for file in sorted(folder.glob("log_*.csv")) if (match := _LOG_NAME.fullmatch(file.name))}
    if not any(match[1] == "standard" for match in found.values()):
        raise SourceError(f"{folder}/log_standard_*.csv: no such file; unpack the archive again")
    suffixes = sorted({match[2] for match in found.values()})
    if len(suffixes) > 1:
        raise SourceError(f"{folder}: logs of {' and '.join(suffixes)} in one folder; keep those of one variant")
    logs = [file for file, match in found.items() if match[1] == "standard" or config.random_log]
    return logs, suffixes[0]


def _find_table(folder: Path, stem: str) -> list[Path]:
    parts = sorted(folder.glob(f"{stem}_part*.csv"))
    return parts or [folder / f"{stem}.csv"]
