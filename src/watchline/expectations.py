"""Dataset rules: Great Expectations suites as code, a function per table, and the runner that evaluates them.

A suite is a list of checks; a check is an expectation with a name, what it expects in words and what to do when it
fails. Suites run in an ephemeral context, so nothing of Great Expectations' own (ids, run times, documents) is kept.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl
from pydantic import Field, field_validator

from watchline.config import Config
from watchline.data.rules import MEANINGS, RowLimits
from watchline.data.schema import EXPOSURES, USERS, VIDEOS

Status = Literal["pass", "fail", "error"]
NUM_EXAMPLES = 5


def _checked_shares(shares: dict[str, float], known: Collection[str], what: str) -> dict[str, float]:
    for name, share in shares.items():
        if name not in known:
            raise ValueError(f"no {what} is called {name!r}; there are {', '.join(sorted(known))}")
        if not 0 <= share <= 1:
            raise ValueError(f"{name}: a share lies between 0 and 1")
    return shares


class TableLimits(Config):
    """Bounds on the clean tables."""

    max_null_share: float = Field(ge=0, le=1, description="nulls in any column that the source fills")
    max_null_share_of_column: dict[str, float] = Field(description="the same for columns that are often not known")
    max_repeat_share: float = Field(ge=0, le=1, description="rows with the user, video and time of another row")
    max_zero_play_share: float = Field(ge=0, le=1, description="exposures with a watch time of zero")
    row_budget: int = Field(ge=1, description="rows of a day given to Great Expectations; above it, a sample of users")

    @field_validator("max_null_share_of_column")
    @classmethod
    def _known_columns(cls, shares: dict[str, float]) -> dict[str, float]:
        return _checked_shares(shares, {*EXPOSURES, *USERS, *VIDEOS}, "canonical column")

    def null_share(self, column: str) -> float:
        """Largest share of nulls that `column` may have."""
        return self.max_null_share_of_column.get(column, self.max_null_share)


class DayLimits(Config):
    """Bounds on the days of the window, each against the days before it (its reference)."""

    reference_days: int = Field(ge=1, description="days before each day that it is held against")
    volume_factor: float = Field(gt=1, description="rows of a day against the median day of its reference, both ways")
    watch_factor: float = Field(gt=1, description="the same for a day's mean watch time")
    max_watch_distance: float = Field(gt=0, le=1, description="Kolmogorov-Smirnov distance of watch time to reference")
    max_days_behind: int = Field(ge=0, description="days between the newest row and window.end")


class QuarantineLimits(Config):
    """Largest shares of a table that may be in quarantine."""

    max_share: float = Field(ge=0, le=1, description="all rules together")
    max_share_of_rule: dict[str, float] = Field(description="by rule; a rule not named here has only max_share")

    @field_validator("max_share_of_rule")
    @classmethod
    def _known_rules(cls, shares: dict[str, float]) -> dict[str, float]:
        return _checked_shares(shares, MEANINGS, "row rule")


class ValidateConfig(Config):
    """Parameters of the validate stage: row rules (`rows`) and dataset rules (the rest)."""

    rows: RowLimits
    tables: TableLimits
    days: DayLimits
    quarantine: QuarantineLimits


@dataclass(frozen=True)
class Check:
    """One expectation of a suite; `name` is unique within the suite."""

    name: str
    expectation: Any
    expected: str
    advice: str
    observed_format: str = ".6g"  # of a statistic; a share reads better as ".3%"


@dataclass(frozen=True)
class Result:
    """What became of a check. `error` means that it could not be evaluated, which is not the same as a failure."""

    suite: str
    name: str
    status: Status
    observed: str
    expected: str
    advice: str
    examples: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """What Great Expectations found for a check in one part of a table: rows and how many break it, or one value."""

    status: Status
    num_rows: int | None = None
    num_broken: int | None = None
    value: float | None = None
    reason: str = ""  # why it could not be evaluated
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Share of rows that break it, or the value."""
        if self.num_rows is not None:
            return (self.num_broken or 0) / max(self.num_rows, 1)
        return self.value or 0.0


def schema_suite() -> list[Check]:
    """For a table of columns: table, file, column, expected, observed, matches."""
    gxe = _expectations()
    return [
        Check(
            "columns are the canonical ones",
            gxe.ExpectColumnValuesToBeInSet(column="matches", value_set=[True]),
            "every column of watchline.data.schema with its type, and no other",
            "run `dvc repro ingest`: the tables on disk are not of this version's schema",
        )
    ]


def exposures_suite(config: ValidateConfig, filled: Collection[str]) -> list[Check]:
    """For clean exposures with `known_user`, `known_video`, `in_its_day` (Boolean) and `zero_play` (0 or 1) added."""
    gxe = _expectations()
    key = ["user_id", "video_id", "exposed_at", "surface"]
    rows = config.rows
    return [
        _row_count(),
        *[_not_null(name, 0.0) for name in ("user_id", "video_id", "exposed_at", "date", "watch_time_s")],
        *[
            _not_null(name, config.tables.null_share(name))
            for name in ("surface", "duration_s", "is_random")
            if name in filled
        ],
        _between("watch_time_s", 0, rows.max_play_s),
        _between("duration_s", 0, rows.max_duration_s, strict=True),
        _true("known_user", "every user id is in the user table", "ingest the user table that belongs to this log"),
        _true("known_video", "every video id is in the video table", "ingest the video table that belongs to this log"),
        _true("in_its_day", "every time lies in its local day", "check the source's utc_offset_hours"),
        Check(
            "user, video, time and surface are unique",
            gxe.ExpectCompoundColumnsToBeUnique(column_list=key, mostly=1 - config.tables.max_repeat_share),
            f"at most {config.tables.max_repeat_share:.2%} of rows repeat another's",
            "look for a log that was delivered twice; raise validate.tables.max_repeat_share if there is none",
        ),
        Check(
            "share of zero watch time",
            gxe.ExpectColumnMeanToBeBetween(
                column="zero_play", min_value=0, max_value=config.tables.max_zero_play_share
            ),
            f"at most {config.tables.max_zero_play_share:.0%}",
            "check that the source still reports watch time; raise validate.tables.max_zero_play_share if it is right",
            ".3%",
        ),
    ]


def users_suite(config: ValidateConfig, filled: Collection[str]) -> list[Check]:
    """For the clean user table."""
    counts = [name for name in ("follow_count", "fans_count", "friend_count", "register_days") if name in filled]
    return [
        _row_count(),
        _not_null("user_id", 0.0),
        _unique("user_id"),
        *[_not_null(name, config.tables.null_share(name)) for name in filled if name != "user_id"],
        *[_between(name, 0, None) for name in counts],
    ]


def videos_suite(config: ValidateConfig, filled: Collection[str]) -> list[Check]:
    """For the clean video table."""
    sizes = [name for name in ("width", "height") if name in filled]
    return [
        _row_count(),
        _not_null("video_id", 0.0),
        _unique("video_id"),
        *[_not_null(name, config.tables.null_share(name)) for name in filled if name != "video_id"],
        _between("duration_s", 0, config.rows.max_duration_s),
        *[_between(name, 0, None) for name in sizes],
    ]


def days_suite(config: ValidateConfig) -> list[Check]:
    """For the days of the window, as `days_of_window` of data/references.py gives them."""
    gxe = _expectations()
    limits = config.days
    volume = "look at that day's log for a part that is missing or doubled; validate.days.volume_factor sets the bound"
    watch = "look at that day's watch times for a changed unit; validate.days.watch_factor sets the bound"
    spread = "look at what else changed that day (a client, a surface); validate.days.max_watch_distance sets the bound"
    return [
        _true("present", "every day of the window has clean rows", "deliver the missing day, or move window.* past it"),
        _factor("volume_ratio", "rows a day", limits, limits.volume_factor, volume),
        _factor("watch_ratio", "mean watch time a day", limits, limits.watch_factor, watch),
        Check(
            "distribution of watch time a day",
            gxe.ExpectColumnValuesToBeBetween(
                column="watch_distance", min_value=0, max_value=limits.max_watch_distance
            ),
            f"cumulative shares at most {limits.max_watch_distance:g} from those of the {limits.reference_days} days "
            "before",
            spread,
        ),
        Check(
            "days behind window.end",
            gxe.ExpectColumnMaxToBeBetween(column="days_behind", min_value=0, max_value=limits.max_days_behind),
            f"the newest row is at most {limits.max_days_behind} days older than window.end",
            "ingest the newer days, or set window.end to the last day that the source has",
        ),
    ]


def quarantine_suite(config: ValidateConfig, columns: Iterable[str]) -> list[Check]:
    """For one row of shares, a column `TABLE.RULE` each, and `TABLE.all` for the share in quarantine of each table."""
    gxe = _expectations()
    limits = {"all": config.quarantine.max_share, **config.quarantine.max_share_of_rule}
    checks = []
    for column in columns:
        rule = column.split(".")[1]
        if rule in limits:
            key = "max_share" if rule == "all" else f"max_share_of_rule.{rule}"
            checks.append(
                Check(
                    column,
                    gxe.ExpectColumnMaxToBeBetween(column=column, min_value=0, max_value=limits[rule]),
                    f"at most {limits[rule]:.2%} of rows",
                    f"read the rows in data/quarantine; mend the source, or raise validate.quarantine.{key}",
                    ".3%",
                )
            )
    return checks


def evaluate(suite: str, checks: Sequence[Check], table: pl.DataFrame, index: Sequence[str] = ()) -> list[Result]:
    """Evaluate `checks` on `table` and give one Result each, in the order of `checks`.

    `index` names the columns that example rows show besides the column that is checked.
    """
    return combine(suite, checks, {"": measure(suite, checks, table, index)})


def measure(suite: str, checks: Sequence[Check], table: pl.DataFrame, index: Sequence[str] = ()) -> list[Outcome]:
    """What Great Expectations finds in one part of a table (its rows become a pandas frame), a check each."""
    if not checks:
        return []
    gx = _great_expectations()
    asset = _context().data_sources.add_pandas(suite).add_dataframe_asset(suite)
    batch = asset.add_batch_definition_whole_dataframe(suite).get_batch({"dataframe": table.to_pandas()})
    for check in checks:
        check.expectation.meta = {"name": check.name}
    outcome = batch.validate(
        gx.ExpectationSuite(name=suite, expectations=[check.expectation for check in checks]),
        result_format={
            "result_format": "SUMMARY",
            "unexpected_index_column_names": list(index),
            "partial_unexpected_count": NUM_EXAMPLES,
        },
    )
    found = {result.expectation_config.meta["name"]: result for result in outcome.results}
    return [_outcome(found[check.name]) for check in checks]


def combine(suite: str, checks: Sequence[Check], parts: Mapping[str, Sequence[Outcome]]) -> list[Result]:
    """One Result a check from the outcomes of a table's parts (by name: its days), in each of which it must hold."""
    return [
        _result(suite, check, {name: outcomes[number] for name, outcomes in parts.items()})
        for number, check in enumerate(checks)
    ]


def suite_key(checks: Sequence[Check]) -> list[str]:
    """What the outcome of a suite depends on besides its table: the expectations with their bounds, and the library."""
    return [
        _great_expectations().__version__,
        *(f"{c.name}: {type(c.expectation).__name__} {_bounds(c)}" for c in checks),
    ]


def _bounds(check: Check) -> str:
    return str(sorted(check.expectation.configuration.kwargs.items()))


def failures(results: Iterable[Result]) -> list[Result]:
    """The results that did not pass, failed ones before those that could not be evaluated."""
    return sorted((r for r in results if r.status != "pass"), key=lambda r: r.status == "error")


def _outcome(outcome: Any) -> Outcome:
    reason = _exception(outcome.exception_info)
    if reason is not None:
        return Outcome("error", reason=reason)
    result = outcome.result
    status: Status = "pass" if outcome.success else "fail"
    examples = [] if outcome.success else _examples(result)
    if "unexpected_count" in result:
        return Outcome(status, int(result["element_count"]), int(result["unexpected_count"]), examples=examples)
    value = result.get("observed_value")
    number = value if value is None or isinstance(value, int) else float(value)
    return Outcome(status, value=number, examples=examples)


def _result(suite: str, check: Check, parts: Mapping[str, Outcome]) -> Result:
    errors, failed = ({n: o for n, o in parts.items() if o.status == status} for status in ("error", "fail"))
    if errors:
        name, outcome = next(iter(errors.items()))
        where = f" on {name}" if name else ""
        observed = f"not evaluated{where}: {outcome.reason}"
        return Result(suite, check.name, "error", observed, check.expected, check.advice)
    observed = _observed(list(parts.values()), check)
    if failed and "" not in parts:
        worst = max(failed, key=lambda name: failed[name].share)
        others = f" and on {len(failed) - 1} other days" if len(failed) > 1 else ""
        observed += f"; on {worst}: {_observed([failed[worst]], check)}{others}"
    examples = [example for outcome in failed.values() for example in outcome.examples][:NUM_EXAMPLES]
    return Result(suite, check.name, "fail" if failed else "pass", observed, check.expected, check.advice, examples)


def _exception(info: Mapping[str, Any]) -> str | None:
    """First line of what was raised, or None. One exception is given flat, several under the id of a metric each."""
    for entry in [info, *(value for value in info.values() if isinstance(value, Mapping))]:
        if entry.get("raised_exception"):
            lines = str(entry.get("exception_message") or "unknown exception").strip().splitlines()
            return lines[-1] if lines else "unknown exception"
    return None


def _observed(parts: Sequence[Outcome], check: Check) -> str:
    """Sums where rows were counted, else the value, or its range over the parts."""
    if parts[0].num_rows is not None:
        num_rows, num_broken = (sum(getattr(o, name) or 0 for o in parts) for name in ("num_rows", "num_broken"))
        share = num_broken / num_rows if num_rows else 0.0
        return f"{num_broken:,} of {num_rows:,} break it ({share:.3%})"
    values = sorted({outcome.value for outcome in parts if outcome.value is not None})
    if len(values) > 1:
        return f"{as_text(values[0], check.observed_format)} to {as_text(values[-1], check.observed_format)} by day"
    return as_text(values[0] if values else None, check.observed_format)


def as_text(value: Any, float_format: str = ".6g") -> str:
    """A value of a row or a result as people read it."""
    return format(value, float_format) if isinstance(value, float) else str(value)


def _examples(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = result.get("partial_unexpected_index_list") or []
    # Without index columns the list holds bare row numbers, which tell a reader nothing.
    named = [row for row in rows[:NUM_EXAMPLES] if isinstance(row, Mapping)]
    return [{str(name): as_text(value) for name, value in row.items()} for row in named]


def _row_count() -> Check:
    advice = "every row went to quarantine or the source is empty; read data/quarantine"
    return Check("has rows", _expectations().ExpectTableRowCountToBeBetween(min_value=1), "at least 1", advice)


def _not_null(column: str, max_share: float) -> Check:
    expectation = _expectations().ExpectColumnValuesToNotBeNull(column=column, mostly=1 - max_share)
    key = "validate.tables.max_null_share_of_column sets the bound of a column that is no key"
    expected = "no nulls" if max_share == 0 else f"at most {max_share:.0%} nulls"
    return Check(f"{column} is there", expectation, expected, f"check the source's column of that name; {key}")


def _unique(column: str) -> Check:
    expectation = _expectations().ExpectColumnValuesToBeUnique(column=column)
    return Check(f"{column} is unique", expectation, "each value once", "this is a defect of the row rules: report it")


def _between(column: str, minimum: float, maximum: float | None, strict: bool = False) -> Check:
    expectation = _expectations().ExpectColumnValuesToBeBetween(
        column=column, min_value=minimum, max_value=maximum, strict_min=strict
    )
    expected = f"{'above' if strict else 'at least'} {minimum:g}" + (f", at most {maximum:g}" if maximum else "")
    return Check(
        f"{column} in range", expectation, expected, "check the unit and the codes for 'not known' of the source"
    )


def _true(column: str, expected: str, advice: str) -> Check:
    expectation = _expectations().ExpectColumnValuesToBeInSet(column=column, value_set=[True])
    return Check(column.replace("_", " "), expectation, expected, advice)


def _factor(column: str, what: str, limits: DayLimits, factor: float, advice: str) -> Check:
    expectation = _expectations().ExpectColumnValuesToBeBetween(column=column, min_value=1 / factor, max_value=factor)
    expected = f"within a factor of {factor:g} of the median of the {limits.reference_days} days before"
    return Check(what, expectation, expected, advice)


def _great_expectations() -> Any:
    # Imported late (it takes seconds) and told first to send nothing home.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations

    return great_expectations


def _context() -> Any:
    """A context in memory: no folder for documents, no progress bars, nothing sent home."""
    gx = _great_expectations()
    from great_expectations.data_context.types import base

    settings = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(),
        progress_bars=base.ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=settings)


def _expectations() -> Any:
    _great_expectations()
    import great_expectations.expectations

    return great_expectations.expectations
