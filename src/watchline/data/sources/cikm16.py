"""CIKM Cup 2016 track 2 (DIGINETICA): a shop's search log, the published stand-in for watch time outside video.

    X/train-queries.csv   (table: queries)      X/train-item-views.csv   (table: item_views)

An exposure is one page shown to one user, its watch time the dwell. Of a query the log says the dwell (`duration`, ms);
its video_id is the code of the result page (the category, or the searched tokens), whose `tags` are the first tokens of
the search and then of the items that its earliest query showed. Of an item view the dwell is the time to the session's
next view, so each session's last view has none and is left out, counted. A user who is not logged in (`NA`) is one
session: minus its id. Times are the day (`eventdate`) plus `timeframe`, milliseconds since the session's first query:
the hour of the day is not in the data. Both spellings of the header are read (sessionId, session_id).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field as Setting
from pydantic import field_validator

from watchline.config import Config
from watchline.data.schema import TIMESTAMP
from watchline.data.sources import known, parsing
from watchline.data.sources.archives import dataset_folder
from watchline.data.sources.base import SourceError, SourceTables, by_day
from watchline.data.sources.codes import stable_codes
from watchline.data.sources.delimited import Delimited, Field, read_delimited
from watchline.data.sources.fields import seconds, text, whole
from watchline.data.sources.selection import Selection, as_note, select_rows

SEARCH, CATEGORY, ITEM = 0, 1, 2  # the surfaces
_NAMES = {"queries": "train-queries.csv", "item_views": "train-item-views.csv"}
_SAMPLE = {"queryId": "query_id", "sessionId": "session_id", "userId": "user_id", "itemId": "item_id"}


class Cikm16Config(Config):
    """Where the log lies and which of its tables to read."""

    source: Literal["cikm16"]
    path: str = Setting(description="folder with the csv files, or the zip")
    table: Literal["queries", "item_views"] = "queries"
    tokens: int = Setting(default=10, ge=0, description="first tokens of the search and first items kept in `tags`")
    keep: Selection = Setting(default=Selection(), description="bounds of a published protocol")

    @field_validator("keep")
    @classmethod
    def _of_what_there_is(cls, keep: Selection) -> Selection:
        if keep.duration_above_s is not None or keep.play_below_durations is not None or keep.without_types:
            raise ValueError("pages have no duration and no type to keep by; bound the dwell (play_...)")
        return keep


VISIT = [
    whole("sessionId", "session", required=True),
    whole("userId", "user"),
    whole("timeframe", "since_start_ms", required=True),
    Field("eventdate", "date", parsing.iso_date, "a date YYYY-MM-DD", required=True),
]
QUERY = [
    whole("queryId", "query", required=True),
    *VISIT,
    seconds("duration", "watch_time_s", required=True),
    text("searchstring.tokens", "search"),
    whole("categoryId", "category"),
    text("items"),
]
VIEW = [*VISIT, whole("itemId", "video_id", required=True)]


def read(path: Path, config: Cikm16Config) -> SourceTables:
    """Read the folder or zip at `path`. Raises SourceError naming file, column and counts."""
    what = f"the folder that holds {_NAMES[config.table]}, or a zip of it"
    with dataset_folder(path, _NAMES[config.table].__eq__, what) as (directory, notes):
        file = _find(directory, _NAMES[config.table], what)
        if config.table == "queries":
            found = _read(file, QUERY, known.CIKM16_QUERIES)
            rows, videos = placed(with_page(found.frame)), pages_of(found.frame, config.tokens)
        else:
            found = _read(file, VIEW, known.CIKM16_VIEWS)
            rows = with_dwell(placed(found.frame)).with_columns(surface=pl.lit(ITEM, pl.Int64))
            videos = rows.select("video_id").unique().sort("video_id")
            notes += (f"{rows['watch_time_s'].null_count():,} last views of a session have no dwell and are left out",)
            rows = rows.drop_nulls("watch_time_s")
    exposures, left_out = select_rows(rows, videos, config.keep)
    if exposures.is_empty():
        raise SourceError(f"{file.name}: none of {len(found.frame):,} rows has a dwell within ingest.keep; widen it")
    notes += as_note(left_out, len(rows))
    columns = ("user_id", "video_id", "exposed_at", "date", "surface", "watch_time_s")
    days, exposures_of = by_day(exposures.select(columns))
    return SourceTables(
        days=days,
        exposures_of=exposures_of,
        users=exposures.select("user_id").unique().sort("user_id"),
        videos=videos,
        unparsable=found.unparsable,
        utc_offset_hours=0,
        columns_filled={"exposures": columns, "users": ("user_id",), "videos": tuple(videos.columns)},
        notes=notes,
    )


def placed(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of a table with user_id and exposed_at."""
    since = pl.duration(milliseconds="since_start_ms")
    midnight = pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return rows.with_columns(
        user_id=pl.coalesce("user", -pl.col("session")), exposed_at=(midnight + since).cast(TIMESTAMP)
    )


def with_page(queries: pl.DataFrame) -> pl.DataFrame:
    """Queries with the result page that each showed: its code and its surface."""
    is_search = pl.col("search").is_not_null()
    page = (
        pl.when(is_search)
        .then(pl.format("search {}", "search"))
        .otherwise(pl.format("category {}", pl.col("category").fill_null(0)))
    )
    named = queries.with_columns(
        page.alias("page"), pl.when(is_search).then(SEARCH).otherwise(CATEGORY).cast(pl.Int64).alias("surface")
    )
    return named.with_columns(stable_codes(named["page"]).alias("video_id"))


def pages_of(queries: pl.DataFrame, tokens: int) -> pl.DataFrame:
    """Result pages by code: video_id, video_type (SEARCH, CATEGORY) and tags, from the earliest query of each."""
    first = with_page(queries).sort("date", "query").unique("video_id", keep="first", maintain_order=True)
    lists = [pl.col(name).str.split(",").list.head(tokens).fill_null([]) for name in ("search", "items")]
    tags = pl.concat_list(lists).list.join(",").replace("", None)
    kind = pl.when(pl.col("surface") == SEARCH).then(pl.lit("SEARCH")).otherwise(pl.lit("CATEGORY"))
    return first.select("video_id", kind.alias("video_type"), tags.alias("tags")).sort("video_id")


def with_dwell(views: pl.DataFrame) -> pl.DataFrame:
    """Views with the time to the next one of their session, seconds; null for the last."""
    ordered = views.sort("session", "date", "since_start_ms", "video_id")
    ends = pl.col("exposed_at").shift(-1).over("session")
    dwell_ms = ordered.select((ends - pl.col("exposed_at")).dt.total_milliseconds()).to_series()
    return ordered.with_columns(parsing.seconds_from_ms(dwell_ms).alias("watch_time_s"))


def _read(file: Path, fields: list[Field], kind: str) -> Delimited:
    """Read a table in the spelling that its header has."""
    with file.open(encoding="utf-8", errors="replace") as stream:
        header = stream.readline()
    if "sessionId" not in header and "session_id" in header:
        fields = [Field(_SAMPLE.get(f.name, f.name), f.target, f.parse, f.what, f.required) for f in fields]
    return read_delimited(file, fields, kind=kind, separator=";", null_codes=("NA",))


def _find(path: Path, name: str, what: str) -> Path:
    for file in (path / name, *sorted(path.glob(f"*/{name}"))):
        if file.is_file():
            return file
    raise SourceError(f"{path}: no {name} in it; set ingest.path to {what}")
