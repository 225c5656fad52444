"""The row rules over the canonical tables on disk, each day once: clean tables, quarantine, counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs

from watchline.data import rules
from watchline.data.day_cache import DayCache, digest_of, fetch
from watchline.data.rules import RowLimits, RowRule, Screened
from watchline.data.schema import EXPOSURE_ID, EXPOSURES, USERS, VIDEOS
from watchline.data.splits import Window
from watchline.data.tables import TableError, day_path, days_on_disk, read_parquet, write_parquet

WATCH_EDGES_S = np.round(np.geomspace(0.1, 3600.0, 40), 4)  # seconds; plays of 0 are a bin of their own
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
class ScreenedDay:
    """A local day as the row rules left it.

    `folder` holds quarantined.parquet, sample.parquet and, where there are clean rows, clean.parquet.
    `facts`: date, rows, clean, quarantined, num_users, num_videos, mean_watch_s, zero_play_share. `watch_counts`: clean
    plays of 0, then by WATCH_EDGES_S. The sample has the columns that dataset rules look at, of one user in
    `sampled_one_in`.
    """

    folder: Path
    facts: dict[str, Any]
    counts: dict[str, int]
    watch_counts: list[int]
    sampled_one_in: int

    @property
    def day(self) -> date:
        """The local day."""
        day: date = self.facts["date"]
        return day

    @property
    def sample_key(self) -> str:
        """Equal keys, equal samples."""
        return self.folder.name

    def sample(self) -> pl.DataFrame:
        """The rows that dataset rules look at."""
        return read_parquet(self.folder / "sample.parquet")

    def quarantined(self) -> pl.DataFrame:
        """The rows that broke a rule."""
        return read_parquet(self.folder / "quarantined.parquet")


@dataclass(frozen=True)
class Screening:
    """What the pass found; exposures stay on disk, a folder per day.

    `clean` holds users and videos, `quarantined` those and the unparsable lines; `counts` are by table and rule. `days`
    has a row per day from the first on disk or of the window to the last: the facts of each day and the count of every
    exposure rule; a day without a file has zeros and nulls.
    """

    clean: dict[str, pl.DataFrame]
    quarantined: dict[str, pl.DataFrame]
    num_rows: dict[str, int]
    num_quarantined: dict[str, int]
    counts: dict[str, dict[str, int]]
    days: pl.DataFrame
    screened_days: list[ScreenedDay]
    cache: DayCache  # where the days lie

    def quarantined_rows(self, table: str) -> Iterator[pl.DataFrame]:
        """Rows of `table` in quarantine, those of exposures one day at a time."""
        if table == "exposures":
            yield from (day.quarantined() for day in self.screened_days if day.facts["quarantined"])
        else:
            yield self.quarantined[table]


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
    cache: DayCache | None = None,
) -> Screening:
    """Split the tables of ingest into clean rows, written to `out` with exposure ids, and quarantined ones.

    A day whose rows, limits and unknown ids are those of an earlier run is fetched from `cache` (None: a temporary
    one). A day's sample keeps whole users, so many that it has at most about `row_budget` rows. `progress` gets a line
    for each day.
    Raises TableError for a file that cannot be read.
    """
    cache = DayCache.temporary() if cache is None else cache
    users = rules.screen(read_parquet(tables / "users.parquet"), rules.user_rules())
    videos = rules.screen(read_parquet(tables / "videos.parquet"), rules.video_rules())
    write_parquet(users.clean, out / "users.parquet")
    write_parquet(videos.clean, out / "videos.parquet")
    job = _Job(limits, window.end, source, users.clean, videos.clean, row_budget)
    days = []
    for day in days_on_disk(tables / "exposures"):
        path = day_path(tables / "exposures", day)
        days.append(_read_day(cache.entry(job.inputs(day, path), partial(job.screen, day, path))))
        facts = days[-1].facts
        if facts["clean"]:
            fetch(days[-1].folder, "clean.parquet", day_path(out / "exposures", day))
        if progress is not None:
            progress(f"{day}: {facts['rows']:,} rows, {facts['quarantined']:,} to quarantine")
    unparsable = rules.label_unparsable(read_parquet(tables / "unparsable.parquet"))
    return _combine(users, videos, days, unparsable, window, cache)


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


def quarantine_shares(screening: Screening) -> dict[str, float]:
    """Share of rows by `TABLE.RULE` and `TABLE.all`; unparsable lines are a share of the lines of all tables."""
    shares: dict[str, float] = {}
    num_lines = sum(screening.num_rows.values())
    for table, counts in screening.counts.items():
        num_rows = num_lines if table == "unparsable" else screening.num_rows[table]
        shares |= {f"{table}.{rule}": count / num_rows if num_rows else 0.0 for rule, count in counts.items()}
        if table != "unparsable":
            shares[f"{table}.all"] = screening.num_quarantined[table] / num_rows if num_rows else 0.0
    return shares


@dataclass(frozen=True)
class _Job:
    """What days are screened against."""

    limits: RowLimits
    last_day: date
    source: Source
    users: pl.DataFrame
    videos: pl.DataFrame
    row_budget: int

    def inputs(self, day: date, path: Path) -> dict[str, Any]:
        """What the outcome for a day depends on.

        Of the tables and the window that is only which of the day's ids they lack and how many of its rows lie after
        the window, so that a new user or a later end of the window leaves the old days alone.
        """
        rows = read_parquet(path, ["user_id", "video_id", "exposed_at", "date"])
        future = next(rule for rule in self._rules() if rule.name == "future_time")
        return {
            "day": day.isoformat(),
            "file": digest_of("", [path]),
            "limits": self.limits.model_dump(mode="json"),
            "utc_offset_hours": self.source.utc_offset_hours,
            "filled": sorted(self.source.filled.get("exposures", [])),
            "row_budget": self.row_budget,
            "num_future": rows.select(future.broken.fill_null(False).sum()).item(),
            "unknown_users": _digest_missing(rows["user_id"], self.users["user_id"]),
            "unknown_videos": _digest_missing(rows["video_id"], self.videos["video_id"]),
        }

    def screen(self, day: date, path: Path, folder: Path) -> None:
        """Screen a day into a folder of the cache (see ScreenedDay)."""
        table = read_parquet(path)
        screened = rules.screen(table, self._rules())
        clean = screened.clean
        if len(clean):
            first = int(day.strftime("%Y%m%d")) * 10**9
            identified = clean.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias(EXPOSURE_ID))
            write_parquet(identified.select(EXPOSURE_ID, *EXPOSURES), folder / "clean.parquet")
        write_parquet(screened.quarantined, folder / "quarantined.parquet")
        one_in = max(1, -(-len(table) // self.row_budget))
        sample = clean.filter(_user_bucket(one_in) == 0) if one_in > 1 else clean
        checked = checked_columns(self.limits, self.source, self.users, self.videos)
        write_parquet(sample.select(checked), folder / "sample.parquet")
        values = {
            "facts": _facts(day, table, screened),
            "counts": screened.counts,
            "watch_counts": _watch_counts(clean["watch_time_s"]),
            "sampled_one_in": one_in,
        }
        (folder / "day.json").write_text(json.dumps(values))

    def _rules(self) -> list[RowRule]:
        return rules.exposure_rules(
            self.limits,
            self.last_day,
            self.source.utc_offset_hours,
            self.users["user_id"],
            self.videos["video_id"],
            self.source.filled.get("exposures", []),
        )


def _facts(day: date, table: pl.DataFrame, screened: Screened) -> dict[str, Any]:
    clean = screened.clean
    return {
        "date": day.isoformat(),
        "rows": len(table),
        "clean": len(clean),
        "quarantined": len(screened.quarantined),
        "num_users": clean["user_id"].n_unique(),
        "num_videos": clean["video_id"].n_unique(),
        "mean_watch_s": clean["watch_time_s"].mean(),
        "zero_play_share": (clean["watch_time_s"] == 0).mean(),
    }


def _watch_counts(watch_s: pl.Series) -> list[int]:
    plays_s = np.clip(watch_s.filter(watch_s > 0).to_numpy(), WATCH_EDGES_S[0], WATCH_EDGES_S[-1])
    return [int((watch_s == 0).sum()), *np.histogram(plays_s, WATCH_EDGES_S)[0].tolist()]


def _digest_missing(ids: pl.Series, known: pl.Series) -> str:
    """Digest over the distinct ids that are not known."""
    missing = ids.drop_nulls().unique()
    missing = missing.filter(~missing.is_in(known.implode())).sort()
    return blake2b(missing.to_numpy().tobytes(), digest_size=16).hexdigest()


def _read_day(folder: Path) -> ScreenedDay:
    values = json.loads((folder / "day.json").read_text())
    values["facts"]["date"] = date.fromisoformat(values["facts"]["date"])
    return ScreenedDay(folder, **values)


def _combine(
    users: Screened,
    videos: Screened,
    days: list[ScreenedDay],
    unparsable: pl.DataFrame,
    window: Window,
    cache: DayCache,
) -> Screening:
    names = list(days[0].counts)
    facts = _whole_calendar(pl.DataFrame([day.facts | day.counts for day in days], infer_schema_length=None), window)
    by_table = {"users": users, "videos": videos}
    return Screening(
        clean={name: screened.clean for name, screened in by_table.items()},
        quarantined={**{name: s.quarantined for name, s in by_table.items()}, "unparsable": unparsable},
        num_rows={
            "exposures": _total(day.facts["rows"] for day in days),
            **{name: len(s.clean) + len(s.quarantined) for name, s in by_table.items()},
            "unparsable": len(unparsable),
        },
        num_quarantined={
            "exposures": _total(day.facts["quarantined"] for day in days),
            **{name: len(s.quarantined) for name, s in by_table.items()},
            "unparsable": len(unparsable),
        },
        counts={
            "exposures": {rule: _total(day.counts[rule] for day in days) for rule in names},
            **{name: screened.counts for name, screened in by_table.items()},
            "unparsable": {"unparsable": len(unparsable)},
        },
        days=facts,
        screened_days=days,
        cache=cache,
    )


def _total(counts: Iterable[int]) -> int:
    return sum(counts)


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
