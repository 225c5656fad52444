"""KuaiRand (Gao et al., CIKM 2022) in the published folder layout, unpacked or as the tar.gz.

    X/data/log_standard_*_pure.csv   log_random_*_pure.csv   user_features_pure.csv   video_features_basic_pure.csv

Ids are already whole numbers, durations and stays are milliseconds, `date` is the day in China (UTC+8).
`video_features_statistic_*.csv` looks into the future of every row of the log and is never read.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field as Setting

from watchline.config import Config
from watchline.data.day_cache import DayCache
from watchline.data.schema import EXPOSURES, SEGMENTS, SIGNALS, USERS, VIDEOS
from watchline.data.sources import parsing
from watchline.data.sources.archives import check_published, unpack_tar
from watchline.data.sources.base import SourceError, SourceTables
from watchline.data.sources.delimited import Field, Layout
from watchline.data.sources.known import KUAIRAND_LOG, KUAIRAND_USERS, KUAIRAND_VIDEOS
from watchline.data.sources.streaming import Streamer

UTC_OFFSET_HOURS = 8
NULL_CODES = ("-124", "UNKNOWN")  # both mean `not known`


class KuaiRandConfig(Config):
    """Where KuaiRand lies and which of its logs to read."""

    source: Literal["kuairand"]
    path: str = Setting(description="dataset folder, its data/ folder, or the tar.gz")
    random_log: bool = Setting(default=True, description="also read log_random_* where it is there (is_random = true)")


def _whole(name: str, target: str | None = None, required: bool = False) -> Field:
    return Field(name, target or name, parsing.whole, "a whole number", required)


def _flag(name: str, target: str | None = None, required: bool = False) -> Field:
    return Field(name, target or name, parsing.flag, "0 or 1", required)


def _seconds(name: str, target: str, required: bool = False) -> Field:
    return Field(name, target, parsing.seconds_from_ms, "a number of milliseconds", required)


def _text(name: str, target: str | None = None) -> Field:
    return Field(name, target or name, parsing.text, "text")


FLAGS = [name for name, kind in SIGNALS.items() if kind == pl.Boolean]

LOG = Layout(
    (
        _whole("user_id", required=True),
        _whole("video_id", required=True),
        Field("time_ms", "exposed_at", parsing.utc_from_ms, "a time in milliseconds", required=True),
        Field("date", "date", parsing.compact_date, "a date YYYYMMDD", required=True),
        _whole("tab", "surface", required=True),
        _seconds("play_time_ms", "watch_time_s", required=True),
        _seconds("duration_ms", "duration_s", required=True),
        _flag("is_rand", "is_random", required=True),
        _whole("hourmin", "logged_hourmin"),
        *(_flag(name) for name in FLAGS),
        _seconds("profile_stay_time", "profile_stay_s"),
        _seconds("comment_stay_time", "comment_stay_s"),
    ),
    KUAIRAND_LOG,
)
USER_TABLE = Layout(
    (
        _whole("user_id", required=True),
        _text("user_active_degree", "active_degree"),
        _flag("is_lowactive_period", "is_lowactive"),
        _flag("is_live_streamer"),
        _flag("is_video_author"),
        _whole("follow_user_num", "follow_count"),
        _whole("fans_user_num", "fans_count"),
        _whole("friend_user_num", "friend_count"),
        _whole("register_days"),
        *(_whole(f"onehot_feat{i}", name) for i, name in enumerate(SEGMENTS)),
    ),
    KUAIRAND_USERS,
    null_codes=NULL_CODES,
)
VIDEO_TABLE = Layout(
    (
        _whole("video_id", required=True),
        _whole("author_id"),
        _text("video_type"),
        Field("upload_dt", "uploaded_on", parsing.iso_date, "a date YYYY-MM-DD"),
        _text("upload_type"),
        Field("visible_status", "is_visible", parsing.is_zero, "a whole number"),
        _seconds("video_duration", "duration_s"),
        _whole("server_width", "width"),
        _whole("server_height", "height"),
        _whole("music_id"),
        _whole("music_type"),
        _text("tag", "tags"),
    ),
    KUAIRAND_VIDEOS,
    null_codes=NULL_CODES,
)
_SCHEMAS = {"exposures": EXPOSURES, "users": USERS, "videos": VIDEOS}
_LOG_NAME = re.compile(r"log_(standard|random)_.+_(pure|1k|27k)(_part\d+)?\.csv")
_WANTED = re.compile(r"(log_standard|log_random|user_features|video_features_basic)_.*\.csv")


def read(path: Path, config: KuaiRandConfig, cache: DayCache | None = None) -> SourceTables:
    """Read the folder or archive at `path`. Raises SourceError naming file, column and counts."""
    streamer = Streamer(cache)
    if path.is_dir():
        return _read_folder(path, config, streamer, ())
    if not path.is_file():
        raise SourceError(f"{path}: no such folder or archive; set ingest.path to KuaiRand's folder or its tar.gz")
    checked = check_published(path)
    note = "md5 is the published one" if checked else "not the name of a published archive: checksum not verified"
    with tempfile.TemporaryDirectory(prefix="watchline-") as directory:
        unpack_tar(path, Path(directory), lambda name: _WANTED.fullmatch(name) is not None)
        try:
            return _read_folder(Path(directory), config, streamer, (f"{path.name}: {note}",))
        except SourceError as error:  # name the archive that people have, not the temporary folder
            raise SourceError(str(error).replace(f"{directory}/", f"{path}: ").replace(directory, str(path))) from None


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
