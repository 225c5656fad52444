"""Files in the exact format of the published KuaiRand archive, defects included, filled with generated rows."""

from __future__ import annotations

import tarfile
from datetime import date
from pathlib import Path

import polars as pl

from tests.helpers.canonical import small_config
from watchline.data.schema import SEGMENTS
from watchline.data.sources.base import SourceTables
from watchline.data.synthetic.source import read

LOG_NAME = "log_standard_4_22_to_5_08_pure.csv"
FIRST_LOG_NAME = "log_standard_4_08_to_4_21_pure.csv"
RANDOM_LOG_NAME = "log_random_4_22_to_5_08_pure.csv"
USERS_NAME = "user_features_pure.csv"
VIDEOS_NAME = "video_features_basic_pure.csv"
STATISTICS_NAME = "video_features_statistic_pure.csv"

_LOG = """user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,
play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"""
_USERS = """user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num,
follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range,register_days,
register_days_range"""
_VIDEOS = """video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,
server_height,music_id,music_type,tag"""
LOG_HEADER = _LOG.replace("\n", "").split(",")
USERS_HEADER = [*_USERS.replace("\n", "").split(","), *(f"onehot_feat{i}" for i in range(18))]
VIDEOS_HEADER = _VIDEOS.replace("\n", "").split(",")


def generated(
    *, days: int = 5, exposures: int = 2000, seed: int = 1, first_day: date = date(2022, 4, 25)
) -> SourceTables:
    """The tables that `write_kuairand` puts into files."""
    return read(Path(), small_config(days=days, exposures=exposures, seed=seed, first_day=first_day))


def exposures_of(tables: SourceTables) -> pl.DataFrame:
    """All days of a source in one table."""
    return pl.concat([tables.exposures_of(day) for day in tables.days])


def write_kuairand(
    directory: Path,
    *,
    days: int = 5,
    exposures: int = 2000,
    seed: int = 1,
    first_day: date = date(2022, 4, 25),
    random_log: bool = False,
) -> Path:
    """Write `directory`/data/*.csv and return `directory`; with `random_log`, random rows get a file of their own.

    Codes stand as the publisher writes them: -124 and UNKNOWN for `not known`, `1.0` in whole columns with gaps.
    """
    tables = generated(days=days, exposures=exposures, seed=seed, first_day=first_day)
    folder = directory / "data"
    folder.mkdir(parents=True)
    rows = exposures_of(tables)
    if random_log:
        log_frame(rows.filter(pl.col("is_random"))).write_csv(folder / RANDOM_LOG_NAME)
        rows = rows.filter(~pl.col("is_random"))
    log_frame(rows).write_csv(folder / LOG_NAME)
    users_frame(tables.users).write_csv(folder / USERS_NAME)
    videos_frame(tables.videos).write_csv(folder / VIDEOS_NAME)
    (folder / STATISTICS_NAME).write_text("video_id,counts,show_cnt,play_cnt\n0,1.0,2.0,3.0\n")
    return directory


def pack(directory: Path, path: Path, folder: str = "KuaiRand-Pure") -> Path:
    """Pack the dataset folder as the publisher does (`KuaiRand-Pure/data/...`) and return `path`."""
    with tarfile.open(path, "w:gz") as archive:
        archive.add(directory, arcname=folder)
    return path


def log_frame(exposures: pl.DataFrame) -> pl.DataFrame:
    """Canonical exposures as a published log."""

    def flag(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Int64)

    def milliseconds(name: str) -> pl.Expr:
        return (pl.col(name) * 1000).round().cast(pl.Int64)

    return exposures.with_columns(
        pl.col("date").dt.strftime("%Y%m%d").cast(pl.Int64),
        pl.col("logged_hourmin").alias("hourmin"),
        pl.col("exposed_at").dt.epoch("ms").alias("time_ms"),
        *(flag(name) for name, kind in exposures.schema.items() if kind == pl.Boolean),
        milliseconds("watch_time_s").alias("play_time_ms"),
        milliseconds("duration_s").alias("duration_ms"),
        milliseconds("profile_stay_s").alias("profile_stay_time"),
        milliseconds("comment_stay_s").alias("comment_stay_time"),
        pl.col("is_random").cast(pl.Int64).alias("is_rand"),
        pl.col("surface").alias("tab"),
    ).select(LOG_HEADER)


def users_frame(users: pl.DataFrame) -> pl.DataFrame:
    """The canonical users as the published table."""
    gaps = [name for name in SEGMENTS if users[name].null_count()]
    return users.with_columns(
        pl.col("active_degree").fill_null("UNKNOWN").alias("user_active_degree"),
        pl.col("is_lowactive").cast(pl.Int64).alias("is_lowactive_period"),
        pl.col("is_live_streamer").cast(pl.Int64).fill_null(-124),
        pl.col("is_video_author").cast(pl.Int64),
        *(pl.col(f"{name}_count").alias(f"{name}_user_num") for name in ("follow", "fans", "friend")),
        *(pl.lit("[10,100)").alias(f"{name}_user_num_range") for name in ("follow", "fans", "friend")),
        pl.lit("730+").alias("register_days_range"),
        *(
            pl.col(name).cast(pl.Float64 if name in gaps else pl.Int64).alias(f"onehot_feat{i}")
            for i, name in enumerate(SEGMENTS)
        ),
    ).select(USERS_HEADER)


def videos_frame(videos: pl.DataFrame) -> pl.DataFrame:
    """The canonical videos as the published table."""
    return videos.with_columns(
        pl.col("video_type").fill_null("UNKNOWN"),
        pl.col("upload_type").fill_null("UNKNOWN"),
        pl.col("uploaded_on").dt.strftime("%Y-%m-%d").alias("upload_dt"),
        (~pl.col("is_visible")).cast(pl.Float64).alias("visible_status"),
        (pl.col("duration_s") * 1000).round().alias("video_duration"),
        pl.col("width").cast(pl.Float64).alias("server_width"),
        pl.col("height").cast(pl.Float64).alias("server_height"),
        pl.col("music_type").cast(pl.Float64),
        pl.col("tags").alias("tag"),
    ).select(VIDEOS_HEADER)
