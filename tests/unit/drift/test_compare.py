"""Sampling, planning and judging, without Evidently where it is not the point."""

import polars as pl
import pytest

from watchline.config import ConfigError, parse
from watchline.data.columns import Columns
from watchline.drift.compare import (
    ColumnDrift,
    DriftConfig,
    Plan,
    compare_features,
    mask_ids,
    plan_columns,
    unseen_share,
)
from watchline.drift.findings import Findings

SETTINGS = {
    "max_rows": 1000,
    "numeric": {"method": "wasserstein", "threshold": 0.1},
    "categorical": {"method": "jensenshannon", "threshold": 0.1},
    "target": {"method": "wasserstein", "threshold": 0.1},
    "prediction": {"method": "wasserstein", "threshold": 0.1},
    "max_categories": 3,
    "exclude": [],
    "warn_share": 0.2,
    "fail_share": 0.5,
    "worst_columns": 2,
}
CONFIG = parse(DriftConfig, SETTINGS, "drift")
COLUMNS = Columns("watch_time_s", ("user_id",), ("surface", "user_id", "music_id"), ("duration_s", "age"))


def frame(**changes) -> pl.DataFrame:
    values = {
        "watch_time_s": [float(i % 7) for i in range(100)],
        "surface": [i % 2 for i in range(100)],
        "user_id": list(range(100)),
        "music_id": [None] * 100,
        "duration_s": [float(i) for i in range(100)],
        "age": list(range(100)),
    }
    return pl.DataFrame(values | changes, schema_overrides={"music_id": pl.Int64, "age": pl.Int64})


def test_ids_constants_and_empty_columns_are_planned_apart():
    plan = plan_columns(frame(), frame(age=[None] * 100), COLUMNS, CONFIG)
    assert plan == Plan(
        numeric=["duration_s"],
        categorical=["surface"],
        ids=["user_id"],
        left_out={"music_id": "no value on the training days", "age": "no value on the eval days"},
    )


def test_excluding_what_is_no_column_is_an_error():
    config = CONFIG.model_copy(update={"exclude": ["weather"]})
    with pytest.raises(ValueError, match=r"drift.exclude: weather is no feature column; there are surface"):
        plan_columns(frame(), frame(), COLUMNS, config)


def test_the_share_of_unseen_values_leaves_nulls_out():
    assert unseen_share(pl.Series([1, 2, None]), pl.Series([1, 3, None, 3])) == pytest.approx(2 / 3)
    assert unseen_share(pl.Series([1]), pl.Series([None], dtype=pl.Int64)) == 0.0


def test_masked_ids_keep_apart_what_was_apart():
    first, second = "0123456789abcdef" * 2, "01234567-89ab-cdef-0123-456789abcdef"
    masked = mask_ids(f"var metric_{first} = '{second}'; use({first}); no: {first}a")
    assert masked == f"var metric_{0:032d} = '{1:032d}'; use({0:032d}); no: {first}a"


def test_markup_in_a_category_cannot_leave_evidentlys_script():
    planted = "</script><script>alert(1)</script>"
    columns = Columns("watch_time_s", (), ("surface",), ("duration_s",))
    sides = frame(surface=[planted, "b"] * 50), frame(surface=[planted, "c"] * 50)
    plan = plan_columns(*sides, columns, CONFIG)
    features, target, html = compare_features(*sides, plan, "watch_time_s", CONFIG)
    assert "<script>alert(1)" not in html
    assert {drift.name: drift.drifted for drift in features} == {"surface": True, "duration_s": False}
    assert not target.drifted


@pytest.mark.parametrize(
    ("num_drifted", "target", "status"),
    [
        (0, False, "pass"),
        (1, False, "pass"),
        (2, False, "warn"),
        (5, False, "fail"),
        (0, True, "warn"),
        (5, True, "fail"),
    ],
)
def test_the_verdict_follows_the_share_and_the_target(num_drifted, target, status):
    columns = [ColumnDrift(str(i), "numeric", "psi", 0.1, 0.2, i < num_drifted) for i in range(10)]
    label = ColumnDrift("watch_time_s", "numeric", "psi", 0.1, 0.2, target)
    findings = Findings(Plan([], [], [], {}), columns, label, {}, [], {}, {}, {}, [], [], [], [])
    assert findings.judge(CONFIG)[0] == status
    assert f"{num_drifted} of 10 feature columns" in findings.judge(CONFIG)[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numeric": {"method": "ks", "threshold": 0.1}}, r"drift.numeric.method: .*'wasserstein'.* got 'ks'"),
        ({"categorical": {"method": "wasserstein", "threshold": 0.1}}, "drift.categorical.method"),
        ({"fail_share": 0.1}, "fail_share must be at least warn_share, 0.2"),
        ({"max_rows": 10}, "drift.max_rows: .*100, got 10"),
        ({"rows": 10}, "drift.rows: unknown parameter"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_rule_and_value(change, message):
    with pytest.raises(ConfigError, match=message):
        parse(DriftConfig, SETTINGS | change, "drift")
