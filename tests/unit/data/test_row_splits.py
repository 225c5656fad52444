"""Splits of rows by a published protocol: shares, stability, and that only training rows speak of the past."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipelines.params import compose_params
from tests.helpers.canonical import small_config
from tests.helpers.kuairand_files import exposures_of
from watchline.config import ConfigError, load_section, parse
from watchline.data.splits import Window
from watchline.data.synthetic.source import read
from watchline.data.tables import day_path, history, read_split, with_split, write_parquet

ROOT = Path(__file__).resolve().parents[3]
DAYS = {"end": date(2024, 3, 5), "eval_days": 1, "finetune_days": 1, "valid_days": 1, "train_days": 1}
RANDOM = {"kind": "random", "valid_share": 0.1, "eval_share": 0.2}
CHRONOLOGICAL = {"kind": "chronological", "valid_share": 0.1, "eval_share": 0.1}
UNBIASED = {"kind": "unbiased", "valid_share": 0.1, "eval_share": 0}


def window(**rows) -> Window:
    return parse(Window, DAYS | ({"rows": rows} if rows else {}), "window")


@pytest.fixture(scope="module")
def exposures() -> pl.DataFrame:
    """Five days, of which the window has the last four; distinct rows."""
    rows = exposures_of(read(Path(), small_config(exposures=20_000)))
    return rows.unique(["user_id", "video_id", "exposed_at"], keep="first", maintain_order=True)


@pytest.fixture(scope="module")
def table(exposures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    for (day,), rows in exposures.group_by("date", maintain_order=True):
        write_parquet(rows, day_path(folder, day))
    return folder


def splits_of(exposures: pl.DataFrame, **rows) -> pl.Series:
    return with_split(exposures.lazy(), window(**rows)).select("split").collect().to_series()


@pytest.mark.parametrize("rows", [RANDOM, CHRONOLOGICAL, UNBIASED], ids=lambda rows: rows["kind"])
def test_every_row_of_the_window_is_in_one_split_and_no_other_row_in_any(table, exposures, rows):
    parts = {split: read_split(table, window(**rows), split) for split in ("train", "valid", "eval")}
    inside = exposures.filter(pl.col("date") >= date(2024, 3, 2))
    keys = ["user_id", "video_id", "exposed_at"]
    joined = pl.concat(parts.values()).sort(keys)
    assert joined.equals(inside.sort(keys))
    assert all(len(part) for part in parts.values())


def test_random_shares_are_those_asked_for_on_every_day_and_for_rows_of_every_kind(exposures):
    inside = exposures.with_columns(splits_of(exposures, **RANDOM)).drop_nulls("split")
    for group in ([pl.lit(0)], ["date"], [pl.col("user_id") % 3], [pl.col("is_click")]):
        shares = inside.group_by(*group).agg(
            pl.len(), *((pl.col("split") == s).mean().alias(s) for s in ("eval", "valid"))
        )
        for count, evaluated, valid in shares.select("len", "eval", "valid").iter_rows():
            assert abs(evaluated - 0.2) < 4 * (0.2 * 0.8 / count) ** 0.5
            assert abs(valid - 0.1) < 4 * (0.1 * 0.9 / count) ** 0.5


def test_a_rows_random_split_depends_on_no_other_row_and_copies_stay_together(exposures):
    whole = exposures.with_columns(splits_of(exposures, **RANDOM))
    half = exposures.gather_every(2)
    assert splits_of(half, **RANDOM).equals(whole.gather_every(2)["split"])
    twice = pl.concat([half, half.with_columns(watch_time_s=pl.lit(1.0))])
    both = splits_of(twice, **RANDOM)
    assert both[: len(half)].equals(both[len(half) :])
    other = splits_of(exposures, **RANDOM, seed=2)
    changed = (other != whole["split"]).mean()
    assert 0.3 < changed < 0.6  # independent draws of .7/.1/.2 differ on 46 %


def test_a_random_split_is_the_same_in_every_version():
    moment = datetime(2024, 3, 2, 1, tzinfo=UTC)
    rows = pl.DataFrame(
        {
            "user_id": [*range(-4, 4)],
            "video_id": [2**62 + 1] * 8,
            "exposed_at": pl.Series([moment + timedelta(hours=i) for i in range(8)], dtype=pl.Datetime("us", "UTC")),
            "date": [date(2024, 3, 2)] * 8,
        }
    )
    rows_half = {"kind": "random", "valid_share": 0.3, "eval_share": 0.4}
    assert splits_of(rows, **rows_half).to_list() == [
        "eval",
        "train",
        "eval",
        "valid",
        "train",
        "valid",
        "eval",
        "eval",
    ]


def test_chronological_splits_follow_each_other_and_part_no_equal_times(exposures):
    inside = exposures.with_columns(splits_of(exposures, **CHRONOLOGICAL)).drop_nulls("split")
    spans = {s: inside.filter(pl.col("split") == s)["exposed_at"] for s in ("train", "valid", "eval")}
    assert spans["train"].max() < spans["valid"].min()
    assert spans["valid"].max() < spans["eval"].min()
    assert len(spans["train"]) / len(inside) == pytest.approx(0.8, abs=0.001)
    assert len(spans["eval"]) / len(inside) == pytest.approx(0.1, abs=0.001)


def test_unbiased_evaluates_on_the_random_rows_alone(table):
    assert read_split(table, window(**UNBIASED), "eval")["is_random"].all()
    for split in ("train", "valid"):
        assert not read_split(table, window(**UNBIASED), split)["is_random"].any()


def test_known_ids_leave_out_what_training_has_not_seen_and_nothing_else(table):
    train = read_split(table, window(**CHRONOLOGICAL), "train")
    users, videos = set(train["user_id"]), set(train["video_id"])
    for split in ("valid", "eval"):
        every = read_split(table, window(**CHRONOLOGICAL), split)
        known = read_split(table, window(**CHRONOLOGICAL, known_ids=True), split)
        expected = every.filter(pl.col("user_id").is_in(list(users)), pl.col("video_id").is_in(list(videos)))
        assert known.equals(expected)
        assert len(known) < len(every)


def test_finetuning_goes_on_with_the_training_rows(table):
    assert read_split(table, window(**RANDOM), "finetune").equals(read_split(table, window(**RANDOM), "train"))


@pytest.mark.parametrize("rows", [RANDOM, CHRONOLOGICAL, UNBIASED], ids=lambda rows: rows["kind"])
def test_no_row_that_is_evaluated_speaks_in_the_history_of_another(exposures, rows):
    kept = history(exposures.lazy(), window(**rows))
    assert kept is not None
    past = exposures.filter(kept)
    assert set(splits_of(exposures, **rows).unique()) == {None, "train", "valid", "eval"}
    train = exposures.filter(splits_of(exposures, **rows).fill_null("train") == "train")
    assert past.equals(train)


def test_by_day_every_row_is_history_and_columns_can_be_chosen(table, exposures):
    assert history(exposures.lazy(), window()) is None
    assert read_split(table, window(), "eval", ["user_id"]).columns == ["user_id"]
    assert read_split(table, window(), "eval")["date"].unique().to_list() == [date(2024, 3, 5)]


@pytest.mark.parametrize("name", ["kuairec_random_811", "kuairec_chrono_clip60", "kuairec_big_to_small"])
def test_published_splits_of_kuairec_take_every_day_of_it(name, tmp_path):
    path = compose_params(ROOT, [f"experiment={name}"], tmp_path / "params.yaml")
    taken = load_section(Window, "window", path)
    assert (taken.start, taken.end) == (date(2020, 7, 5), date(2020, 9, 5))
    assert taken.rows is not None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (RANDOM | {"eval_share": 0.95}, "leave no training rows"),
        (RANDOM | {"eval_share": 0}, "eval_share is 0 for unbiased"),
        (UNBIASED | {"eval_share": 0.1}, "eval_share is 0 for unbiased"),
        (RANDOM | {"kind": "stratified"}, r"window\.rows\.kind"),
    ],
)
def test_shares_that_make_no_split_are_refused(rows, message):
    with pytest.raises(ConfigError, match=message):
        window(**rows)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (None, {"train": "2024-03-01 to 2024-03-02", "eval": "2024-03-04 to 2024-03-04"}),
        (
            {"kind": "random", "valid_share": 0.1, "eval_share": 0.2},
            {
                "train": "70% of the rows, drawn at random, of 2024-03-01 to 2024-03-04",
                "eval": "20% of the rows, drawn at random, of 2024-03-01 to 2024-03-04",
            },
        ),
        (
            {"kind": "chronological", "valid_share": 0.1, "eval_share": 0.1},
            {
                "train": "the first 80% of the rows of 2024-03-01 to 2024-03-04",
                "eval": "the last 10% of the rows of 2024-03-01 to 2024-03-04",
            },
        ),
        (
            {"kind": "unbiased", "valid_share": 0.1, "eval_share": 0},
            {"eval": "the rows whose video was drawn at random of 2024-03-01 to 2024-03-04"},
        ),
    ],
)
def test_pages_say_which_rows_a_split_has(rows, expected):
    days = {"end": "2024-03-04", "train_days": 2, "valid_days": 1, "finetune_days": 0, "eval_days": 1}
    described = Window(**days, rows=rows).described
    assert {split: described[split] for split in expected} == expected
