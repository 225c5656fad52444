"""Evidence read from what the stages evaluate and abtest write, and the pages made of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.helpers.gate_evidence import CONFIG
from tests.helpers.leaderboard_runs import ROWS, noisy, rows, write_run
from watchline.config import ConfigError
from watchline.data.tables import read_parquet, write_parquet
from watchline.registry.__main__ import main
from watchline.registry.evidence import compare_slices, read_evidence
from watchline.report import write_json

WINDOW = {"eval_first": "2024-03-14", "eval_last": "2024-03-14"}
TITLES = ["Video duration", "User activity"]
ABTEST = {
    "environment": "oracle",
    "window": WINDOW,
    "verdict": {"status": "info", "text": "Cannot tell."},
    "both_arms": {"lift": 0.02, "interval": {"low": 0.01, "high": 0.03}, "p_value": 0.001},
    "srm_p": 0.5,
    "aa": {
        "p_value": 0.4,
        "srm_p": 0.5,
        "false_positive_rate": 0.05,
        "false_positive_band": {"low": 0.01, "high": 0.1},
    },
}


@pytest.fixture
def line(tmp_path, monkeypatch) -> Path:
    """Reports of a line and a comparison, the candidate with less noise than the reference."""
    made = tmp_path / "made"
    write_run(made, 1, {"candidate": noisy(3), "reference": noisy(6)}, rows())
    comparison = tmp_path / "runs/promote"
    comparison.mkdir(parents=True)
    (made / "data/evaluate").rename(comparison / "data")
    evaluated = json.loads((made / "reports/evaluate/metrics.json").read_text())
    evaluated["differences"] = {
        "candidate": {
            metric: {"value": value, "low": value - 0.01, "high": value + 0.01}
            for metric, value in (("mae_s", -2.0), ("xauc", 0.02))
        }
    }
    write_json(comparison / "reports/evaluate/metrics.json", evaluated)
    write_json(comparison / "reports/abtest/metrics.json", ABTEST)
    reported = {"models": {"gr_finetuned": evaluated["models"]["candidate"]}, "window": evaluated["window"]}
    write_json(tmp_path / "reports/evaluate/metrics.json", reported)
    verdict = {"status": "pass", "text": "all hold"}
    days = {"eval": {"first": "2024-03-14", "last": "2024-03-14"}}
    write_json(tmp_path / "reports/drift/metrics.json", {"verdict": verdict, "window": days})
    validate = {"verdict": verdict, "window": {"start": "2024-03-09", "end": "2024-03-14"}}
    write_json(tmp_path / "reports/validate/metrics.json", validate)
    arms = {"candidate": "gr_finetuned", "method": "gr", "digest": "d" * 64, "reference": "models/lightgbm"}
    arms |= {
        "label": "the baseline lightgbm",
        "statistic": None,
        "judged_until": None,
        "unchanged": False,
        "taken_back": "",
        "events": 0,
    }
    write_json(comparison / "arms.json", arms)
    config = CONFIG.model_dump() | {"slices": TITLES, "slice_min_rows": 100, "replicates": 200}
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/promote.yaml").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_slices_are_paired_differences_of_the_rows_in_them(line):
    found = compare_slices(line / "runs/promote/data", TITLES, 200, seed=1)
    assert {(part.title, part.bucket) for part in found} == {
        ("Video duration", "short"),
        ("Video duration", "long"),
        ("User activity", "seldom"),
        ("User activity", "often"),
    }
    mine, other = (read_parquet(line / f"runs/promote/data/{name}.parquet") for name in ("candidate", "reference"))
    short = np.arange(ROWS) % 2 == 0
    errors = [(frame["median"] - frame["watch_time_s"]).abs().to_numpy()[short].mean() for frame in (mine, other)]
    (part,) = (part for part in found if part.bucket == "short")
    assert (part.rows, part.reference_mae_s) == (short.sum(), pytest.approx(errors[1]))
    assert part.difference.value == pytest.approx(errors[0] - errors[1])
    assert part.difference.low < part.difference.value < part.difference.high < 0


def test_a_slice_of_few_users_has_no_interval(line):
    folder = line / "runs/promote/data"
    for name in ("candidate", "reference"):
        frame = read_parquet(folder / f"{name}.parquet").with_columns(pl.lit(1).alias("user_id"))
        write_parquet(frame, folder / f"{name}.parquet")
    for part in compare_slices(folder, TITLES, 200, seed=1):
        assert part.difference.value is not None
        assert (part.difference.low, part.difference.high) == (None, None)


def test_predictions_of_other_rows_are_refused(line):
    path = line / "runs/promote/data/reference.parquet"
    write_parquet(read_parquet(path).with_columns(pl.col("exposure_id") + 1), path)
    with pytest.raises(ValueError, match="not of the same rows; compare them anew"):
        compare_slices(line / "runs/promote/data", TITLES, 200, seed=1)


def test_a_report_that_is_missing_is_named(line):
    (line / "reports/drift/metrics.json").unlink()
    with pytest.raises(ValueError, match=r"drift/metrics.json: no such file; run the stage"):
        read_evidence("gr_finetuned", line / "reports", line / "runs/promote")


def test_the_step_judge_writes_verdict_page_and_history(line, capsys):
    main(["judge", "--statistic", "median"])
    verdict = json.loads((line / "reports/promote/verdict.json").read_text())
    assert verdict["status"] == "pass" and len(verdict["checks"]) == 13
    assert (verdict["statistic"], verdict["window"]) == ("median", WINDOW)
    assert verdict["metrics"]["lift_low"] == 0.01 and capsys.readouterr().out.strip() == verdict["text"]
    page = (line / "reports/promote/index.html").read_text()
    assert all(check["found"].split(",")[0] in page for check in verdict["checks"])
    assert "user activity, seldom" in page
    assert "Nothing was promoted yet" in (line / "reports/promote/history/index.html").read_text()


def test_a_candidate_that_a_rollback_took_back_is_refused_and_the_page_says_why(line):
    path = line / "runs/promote/arms.json"
    write_json(path, json.loads(path.read_text()) | {"label": "v2", "taken_back": "which a rollback took: it <b>lost"})
    main(["judge"])
    verdict = json.loads((line / "reports/promote/verdict.json").read_text())
    assert verdict["status"] == "fail" and not verdict["checks"]
    assert verdict["text"].startswith("Do not promote gr_finetuned: it is v2, which a rollback took: it <b>lost.")
    assert "it &lt;b&gt;lost" in (line / "reports/promote/index.html").read_text()


def test_the_same_evidence_gives_the_same_bytes(line):
    main(["judge"])
    first = [(line / f"reports/promote/{name}").read_bytes() for name in ("verdict.json", "index.html")]
    main(["judge"])
    assert first == [(line / f"reports/promote/{name}").read_bytes() for name in ("verdict.json", "index.html")]


def test_a_missing_configuration_is_an_error_that_names_it(line):
    (line / "conf/promote.yaml").unlink()
    with pytest.raises(ConfigError, match=r"promote.yaml: no such file"):
        main(["judge"])
