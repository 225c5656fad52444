"""Files in the exact format of the published KuaiRec 2.0 archive, defects included, filled with generated rows."""

from __future__ import annotations

import zipfile
from datetime import date
from pathlib import Path

import polars as pl

from tests.helpers import kuairand_files
from watchline.data.sources.base import SourceTables

MATRIX_HEADER = ["user_id", "video_id", "play_duration", "video_duration", "time", "date", "timestamp", "watch_ratio"]
_ITEMS = """video_id,date,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,video_width,
video_height,music_id,video_tag_id,video_tag_name,show_cnt,show_user_num,play_cnt,play_user_num,play_duration,
complete_play_cnt,complete_play_user_num,valid_play_cnt,valid_play_user_num,long_time_play_cnt,
long_time_play_user_num,short_time_play_cnt,short_time_play_user_num,play_progress,comment_stay_duration,like_cnt,
like_user_num,click_like_cnt,double_click_cnt,cancel_like_cnt,cancel_like_user_num,comment_cnt,comment_user_num,
direct_comment_cnt,reply_comment_cnt,delete_comment_cnt,delete_comment_user_num,comment_like_cnt,
comment_like_user_num,follow_cnt,follow_user_num,cancel_follow_cnt,cancel_follow_user_num,share_cnt,share_user_num,
download_cnt,download_user_num,report_cnt,report_user_num,reduce_similar_cnt,reduce_similar_user_num,collect_cnt,
collect_user_num,cancel_collect_cnt,cancel_collect_user_num"""
ITEMS_HEADER = _ITEMS.replace("\n", "").split(",")
FIRST_DAY = date(2020, 7, 5)


def generated(*, days: int = 5, exposures: int = 2000, seed: int = 0) -> SourceTables:
    """The tables that `write_kuairec` puts into files, with what KuaiRec has no place for still in them."""
    return kuairand_files.generated(days=days, exposures=exposures, seed=seed, first_day=FIRST_DAY)


def matrix_frame(exposures: pl.DataFrame) -> pl.DataFrame:
    """Canonical exposures as a published matrix."""
    local = pl.col("exposed_at").dt.offset_by("8h")
    return exposures.select(
        "user_id",
        "video_id",
        (pl.col("watch_time_s") * 1000).round().cast(pl.Int64).alias("play_duration"),
        (pl.col("duration_s") * 1000).round().cast(pl.Int64).alias("video_duration"),
        local.dt.strftime("%Y-%m-%d %H:%M:%S%.3f").alias("time"),
        pl.col("date").dt.strftime("%Y%m%d").cast(pl.Int64),
        (pl.col("exposed_at").dt.epoch("ms") / 1000).alias("timestamp"),
        (pl.col("watch_time_s") / pl.col("duration_s")).alias("watch_ratio"),
    ).select(MATRIX_HEADER)


def undate(matrix: pl.DataFrame, every: int = 25) -> pl.DataFrame:
    """The published defect of the small matrix: every so many rows lack time, date and timestamp; `date` is a float."""
    gone = pl.int_range(pl.len()) % every == 0
    return matrix.with_columns(
        pl.when(~gone).then(pl.col("time")).alias("time"),
        pl.when(~gone).then(pl.col("date").cast(pl.Float64)).alias("date"),
        pl.when(~gone).then(pl.col("timestamp")).alias("timestamp"),
    )


def items_frame(videos: pl.DataFrame, days: int = 2) -> pl.DataFrame:
    """The canonical videos as the published daily table: a row per video and day, the later ones with other counts."""
    static = videos.with_columns(
        pl.col("video_type").fill_null("UNKNOWN"),
        pl.col("upload_type").fill_null("UNKNOWN"),
        pl.col("uploaded_on").dt.strftime("%Y-%m-%d").alias("upload_dt"),
        pl.when("is_visible").then(pl.lit("public")).otherwise(pl.lit("private")).alias("visible_status"),
        (pl.col("duration_s") * 1000).round().alias("video_duration"),
        pl.col("width").alias("video_width"),
        pl.col("height").alias("video_height"),
        pl.lit(841).alias("video_tag_id"),
        pl.lit("建筑").alias("video_tag_name"),
    )
    counts = [name for name in ITEMS_HEADER if name not in static.columns and name != "date"]
    frames = [
        static.with_columns(
            pl.lit(20200705 + day).alias("date"), *(pl.lit(1000 * (day + 1)).alias(name) for name in counts)
        )
        for day in reversed(range(days))
    ]
    return pl.concat(frames).select(ITEMS_HEADER)


def categories_frame(videos: pl.DataFrame) -> pl.DataFrame:
    """Topics as Python literals, the way the publisher writes them."""
    listed = pl.format("[{}]", pl.col("tags").str.replace_all(",", ", ").fill_null(""))
    return videos.select("video_id", listed.alias("feat"))


def write_kuairec(directory: Path, *, days: int = 5, exposures: int = 2000, seed: int = 0) -> Path:
    """Write `directory`/data/*.csv and return `directory`: even rows form the big matrix, odd ones the small."""
    tables = generated(days=days, exposures=exposures, seed=seed)
    folder = directory / "data"
    folder.mkdir(parents=True)
    rows = kuairand_files.exposures_of(tables)
    matrix_frame(rows.gather_every(2)).write_csv(folder / "big_matrix.csv")
    undate(matrix_frame(rows.gather_every(2, 1))).write_csv(folder / "small_matrix.csv")
    kuairand_files.users_frame(tables.users).write_csv(folder / "user_features.csv")
    items_frame(tables.videos).write_csv(folder / "item_daily_features.csv")
    categories_frame(tables.videos).write_csv(folder / "item_categories.csv")
    (folder / "social_network.csv").write_text('user_id,friend_list\n3371,"[2975]"\n')
    captions = b"video_id,manual_cover_text,caption\n0,UNKNOWN," + b"\xe5\xbb\n\xff\xfe,broken\n"
    (folder / "kuairec_caption_category.csv").write_bytes(captions)
    return directory


def pack(directory: Path, path: Path, folder: str = "KuaiRec 2.0") -> Path:
    """Pack the dataset folder as the publisher does (`KuaiRec 2.0/data/...`) and return `path`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(directory.rglob("*")):
            archive.write(file, f"{folder}/{file.relative_to(directory)}")
    return path
