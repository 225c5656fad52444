"""One pass of the row rules over the canonical tables on disk, a day at a time: clean tables, quarantine, counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from watchline.data import rules
from watchline.data.rules import RowLimits, RowRule, Screened
from watchline.data.schema import EXPOSURE_ID, EXPOSURES, USERS, VIDEOS
from watchline.data.splits import Window
from watchline.data.tables import TableError, day_path, days_on_disk, read_parquet, write_parquet

SCHEMAS = {"exposures": EXPOSURES, "users": USERS, "videos": VIDEOS}
CHECKED_COLUMNS = [
    "user_id",
    "video_id",
    "exposed_at",
    "date",
    "surface",
    "watch_time_s",
    "duration_s",
    "is_random",
]


@dataclass(frozen=True)
class Source:
    """What ingest wrote in source.json: the source's name, its clock, and the columns it has."""

    name: str
    utc_offset_hours: float
    filled: dict[str, list[str]]

    @classmethod
    def read(cls, path: Path) -> Source:
        """Raises TableError naming the file when it is missing or lacks a key."""
        try:
            values = json.loads(path.read_text())
            return cls(values["source"], float(values["utc_offset_hours"]), dict(values["columns_filled"]))
        except FileNotFoundError:
            raise TableError(f"{path}: no such file; run `dvc repro ingest`") from None
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise TableError(f"{path}: not what ingest writes ({error}); run `dvc repro ingest`") from error


@dataclass(frozen=True)
class Screening:
    """What the pass found; the clean exposures themselves are on disk, and `sample` has the columns to check.

    `clean` and `quarantined` are by table (`clean` without exposures), `counts` by table and rule. `days` has a row per
    day from the first on disk or of the window to the last: date, rows, clean, quarantined, num_users, num_videos,
    mean_watch_s, zero_play_share and the count of every exposure rule; a day without a file has zeros and nulls.
    """

    clean: dict[str, pl.DataFrame]
    quarantined: dict[str, pl.DataFrame]
    num_rows: dict[str, int]
    counts: dict[str, dict[str, int]]
    days: pl.DataFrame
    sample: pl.DataFrame
    sampled_one_in: int


def columns_on_disk(tables: Path) -> pl.DataFrame:
    """A row per column of every file: table, file, column, expected, observed (types as text), matches.

    Raises TableError for a file that is missing or cut short, and when there is no day at all.
    """
    found = []
    for table, path in _files(tables):
        observed = {name: str(kind) for name, kind in _read_schema(path).items()}
        expected = {name: str(_instance(kind)) for name, kind in SCHEMAS[table].items()}
        for name in [*expected, *(name for name in observed if name not in expected)]:
            pair = expected.get(name, "absent"), observed.get(name, "absent")
            file = path.relative_to(tables).as_posix()
            found.append((table, file, name, *pair, pair[0] == pair[1]))
    return pl.DataFrame(found, orient="row", schema=["table", "file", "column", "expected", "observed", "matches"])


def screen_tables(
    tables: Path,
    out: Path,
    limits: RowLimits,
    window: Window,
    source: Source,
    row_budget: int,
    progress: Callable[[str], None] | None = None,
) -> Screening:
    """Split the tables of ingest into clean rows, written to `out` with exposure ids, and quarantined ones (returned).

    The sample keeps whole users, one in `sampled_one_in`, so that it has at most about `row_budget` rows. `progress`
    gets a line for each day.
    Raises TableError for a file that cannot be read.
    """
    users = rules.screen(read_parquet(tables / "users.parquet"), rules.user_rules())
    videos = rules.screen(read_parquet(tables / "videos.parquet"), rules.video_rules())
    write_parquet(users.clean, out / "users.parquet")
    write_parquet(videos.clean, out / "videos.parquet")
    exposure_rules = rules.exposure_rules(
        limits,
        window.end,
        source.utc_offset_hours,
        users.clean["user_id"],
        videos.clean["video_id"],
        source.filled.get("exposures", []),
    )
    one_in = max(1, -(-count_rows(tables, "exposures") // row_budget))
    checked = checked_columns(limits, source, users.clean, videos.clean)
    days = []
    for day in days_on_disk(tables / "exposures"):
        days.append(_screen_day(tables, out, day, exposure_rules, one_in, checked))
        if progress is not None:
            facts = days[-1].facts
            progress(f"{day}: {facts['rows']:,} rows, {facts['quarantined']:,} to quarantine")
    unparsable = rules.label_unparsable(read_parquet(tables / "unparsable.parquet"))
    return _combine(users, videos, days, unparsable, one_in, window)


def checked_columns(limits: RowLimits, source: Source, users: pl.DataFrame, videos: pl.DataFrame) -> list[pl.Expr]:
    """What dataset rules look at in an exposure, references and clock as precomputed Booleans."""
    return [
        *(pl.col(name) for name in CHECKED_COLUMNS),
        pl.col("user_id").is_in(users["user_id"].implode()).alias("known_user"),
        pl.col("video_id").is_in(videos["video_id"].implode()).alias("known_video"),
        (~rules.outside_its_day(source.utc_offset_hours, limits.day_slack_h)).alias("in_its_day"),
        (pl.col("watch_time_s") == 0).cast(pl.Float64).alias("zero_play"),
    ]


def count_rows(directory: Path, table: str) -> int:
    """Rows of a table on disk by its files' metadata, 0 where it has none."""
    files = [directory / f"{table}.parquet", *directory.glob(f"{table}/date=*/*.parquet")]
    return sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in files if path.is_file())


def days_of_window(days: pl.DataFrame, window: Window) -> pl.DataFrame:
    """A row per day of the window: date, rows (clean), present, volume_ratio, watch_ratio, days_behind.

    Ratios are to the median day, null without rows; days_behind (everywhere the same) is newest row to window.end.
    """
    present = days.filter(pl.col("clean") > 0)
    newest = present["date"].max()
    behind = (window.end - newest).days if isinstance(newest, date) else len(window.days)
    table = pl.DataFrame({"date": window.days}).join(present, on="date", how="left", maintain_order="left")
    return table.select(
        pl.col("date").cast(pl.String),
        pl.col("clean").fill_null(0).alias("rows"),
        pl.col("clean").is_not_null().alias("present"),
        (pl.col("clean") / pl.col("clean").median()).alias("volume_ratio"),
        (pl.col("mean_watch_s") / pl.col("mean_watch_s").median()).alias("watch_ratio"),
        pl.lit(behind).alias("days_behind"),
    )


def quarantine_shares(screening: Screening) -> dict[str, float]:
    """Share of rows by `TABLE.RULE` and `TABLE.all`; unparsable lines are a share of the lines of all tables."""
    shares: dict[str, float] = {}
    num_lines = sum(screening.num_rows.values())
    for table, counts in screening.counts.items():
        num_rows = num_lines if table == "unparsable" else screening.num_rows[table]
        shares |= {f"{table}.{rule}": count / num_rows if num_rows else 0.0 for rule, count in counts.items()}
        if table != "unparsable":
            shares[f"{table}.all"] = len(screening.quarantined[table]) / num_rows if num_rows else 0.0
    return shares


@dataclass(frozen=True)
class _Day:
    screened_counts: dict[str, int]
    quarantined: pl.DataFrame
    facts: dict[str, Any]
    sample: pl.DataFrame


def _screen_day(
    tables: Path, out: Path, day: date, day_rules: list[RowRule], one_in: int, checked: list[pl.Expr]
) -> _Day:
    table = read_parquet(day_path(tables / "exposures", day))
    screened = rules.screen(table, day_rules)
    clean = screened.clean
    if len(clean):
        first = int(day.strftime("%Y%m%d")) * 10**9
        identified = clean.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias(EXPOSURE_ID))
        write_parquet(identified.select(EXPOSURE_ID, *EXPOSURES), day_path(out / "exposures", day))
    facts = {
        "date": day,
        "rows": len(table),
        "clean": len(clean),
        "quarantined": len(screened.quarantined),
        "num_users": clean["user_id"].n_unique(),
        "num_videos": clean["video_id"].n_unique(),
        "mean_watch_s": clean["watch_time_s"].mean(),
        "zero_play_share": (clean["watch_time_s"] == 0).mean(),
    }
    sample = clean.filter(_user_bucket(one_in) == 0) if one_in > 1 else clean
    return _Day(screened.counts, screened.quarantined, facts, sample.select(checked))


def _combine(
    users: Screened, videos: Screened, days: list[_Day], unparsable: pl.DataFrame, one_in: int, window: Window
) -> Screening:
    facts = _whole_calendar(pl.DataFrame([day.facts | day.screened_counts for day in days]), window)
    by_table = {"users": users, "videos": videos}
    return Screening(
        clean={name: screened.clean for name, screened in by_table.items()},
        quarantined={
            "exposures": pl.concat([day.quarantined for day in days]),
            **{name: screened.quarantined for name, screened in by_table.items()},
            "unparsable": unparsable,
        },
        num_rows={
            "exposures": int(facts["rows"].sum()),
            **{name: len(s.clean) + len(s.quarantined) for name, s in by_table.items()},
            "unparsable": len(unparsable),
        },
        counts={
            "exposures": {rule: sum(d.screened_counts[rule] for d in days) for rule in days[0].screened_counts},
            **{name: screened.counts for name, screened in by_table.items()},
            "unparsable": {"unparsable": len(unparsable)},
        },
        days=facts,
        sample=pl.concat([day.sample for day in days]),
        sampled_one_in=one_in,
    )


def _whole_calendar(days: pl.DataFrame, window: Window) -> pl.DataFrame:
    """`days` from the first to the last with a clean row, and all of the window; without a file its counts are 0."""
    # A single row with an absurd date must not stretch the calendar to decades.
    found = days.filter(pl.col("clean") > 0)["date"].to_list()
    first, last = min([window.start, *found]), max([window.end, *found])
    calendar = pl.DataFrame({"date": pl.date_range(first, last, eager=True)})
    return calendar.join(days, on="date", how="left", maintain_order="left").with_columns(cs.integer().fill_null(0))


def _user_bucket(num_buckets: int) -> pl.Expr:
    # A multiplicative hash, so that ids given out in steps still spread over the buckets.
    return ((pl.col("user_id") * 2_654_435_761) // 65_536 & 0x7FFF_FFFF) % num_buckets


def _files(tables: Path) -> Iterator[tuple[str, Path]]:
    days = days_on_disk(tables / "exposures")
    if not days:
        raise TableError(f"{tables / 'exposures'}: no day of exposures; run `dvc repro ingest`")
    yield from (("exposures", day_path(tables / "exposures", day)) for day in days)
    yield "users", tables / "users.parquet"
    yield "videos", tables / "videos.parquet"


def _read_schema(path: Path) -> dict[str, pl.DataType]:
    if not path.is_file():
        raise TableError(f"{path}: no such file; run `dvc repro ingest` (or `dvc checkout`) to get it back")
    try:
        return dict(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(
            f"{path}: not a readable Parquet file ({error}), perhaps of a run that was killed; "
            "`dvc checkout` restores the last good one, `dvc repro ingest` writes it anew"
        ) from error


def _instance(kind: pl.DataType | type[pl.DataType]) -> pl.DataType:
    return kind() if isinstance(kind, type) else kind
