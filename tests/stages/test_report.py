"""The index names what ran, judges by the A/B test, marks the best, and links every page."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml

from watchline.config import ConfigError
from watchline.overview.rebuild import rebuild
from watchline.overview.verdict import overall, reasons
from watchline.report import Page
from watchline.stages import report as stage

ROOT = Path(__file__).resolve().parents[2]
WINDOW = {"end": "2024-03-06", "eval_days": 2, "finetune_days": 1, "valid_days": 1, "train_days": 2}
DRIFTED = {"name": "duration_s", "kind": "numeric", "value": 0.5, "threshold": 0.1, "drifted": True}
METRICS = {
    "ingest": {"source": "synthetic", "first_day": "2024-03-01", "rows": {"exposures": 1200, "unparsable": 3}},
    "validate": {
        "verdict": {"status": "pass", "text": "all 30 expectations hold"},
        "rows": {"exposures": {"in": 1200, "clean": 1190, "quarantined": 10}},
        "quarantine": {"exposures": {"duplicate": 7, "zero_duration": 3, "future": 0}},
    },
    "features": {"rows": 1190, "features": {"categorical": 8, "numeric": 5}},
    "train/lightgbm": {"valid": {"mae_s": 4.5, "rmse_s": 7.0, "xauc": 0.6}, "train": {"rows": 600}, "best_step": 40},
    "train/gr": {"valid": {"mae_s": 4.4, "rmse_s": 7.1, "xauc": 0.61}, "train": {"rows": 600}},
    "finetune": {"before": {"mae_s": 4.4}, "after": {"mae_s": 4.3}, "rows": {"train": 250}},
    "evaluate": {
        "models": {
            "lightgbm": {"rows": 400, "mae_s": 4.6, "rmse_s": 7.0, "xauc": 0.61, "calibration": 1.3},
            "gr": {"rows": 400, "mae_s": 4.4, "rmse_s": 7.2, "xauc": 0.62, "calibration": 0.9},
        },
        "best_constant": {"mae_s": 5.5, "rmse_s": 8.0},
        "baseline": "lightgbm",
        "differences": {"gr": {"mae_s": {"value": -0.2, "low": -0.3, "high": -0.1}}},
    },
    "abtest": {
        "verdict": {"status": "pass", "word": "Ship", "text": "Ship gr: +2.00% watch time per user"},
        "environment": "oracle",
        "arms": {"control": {"model": "lightgbm"}, "treatment": {"model": "gr"}},
        "lift": 0.02,
        "interval": {"low": 0.01, "high": 0.03},
        "true_lift": 0.018,
        "srm_p": 0.4,
        "srm_alarm": False,
        "aa": {"false_positive_rate": 0.05, "false_positive_band": {"low": 0.01, "high": 0.1}},
    },
    "drift": {
        "verdict": {"status": "warn", "text": "1 of 4 feature columns drifted"},
        "share_drifted": 0.25,
        "columns": [DRIFTED | {"name": "watch_time_s"}, DRIFTED],
    },
}


def make_inputs(directory: Path, changes: dict | None = None, **overrides) -> None:
    for name, metrics in METRICS.items():
        path = directory / "reports" / name / "metrics.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(metrics | (changes or {}).get(name, {})))
    config = yaml.safe_load((ROOT / "conf/report/default.yaml").read_text())
    config |= {"metrics": ["mae_s", "rmse_s", "xauc", "calibration"]} | overrides
    params = {"window": WINDOW, "models": ["lightgbm", "gr"], "report": config}
    (directory / "params.yaml").write_text(yaml.safe_dump(params))


def run(directory: Path, monkeypatch) -> tuple[str, dict]:
    """Run the stage in `directory`; return the page and the summary."""
    monkeypatch.chdir(directory)
    places = {"out": "index.html", "cards": "report/cards", "summary": "report/metrics.json"}
    stage.main(
        ["--reports", "reports", *(word for name, path in places.items() for word in (f"--{name}", f"reports/{path}"))]
    )
    page = (directory / "reports/index.html").read_text()
    return page, json.loads((directory / "reports/report/metrics.json").read_text())


def test_the_index_links_every_page_and_is_small(tmp_path, monkeypatch):
    make_inputs(tmp_path)
    page, _ = run(tmp_path, monkeypatch)
    links = set(re.findall(r'href="([^"#]+/index\.html)"', page))
    pages = {f"{name}/index.html" for name in METRICS}
    assert pages <= links
    assert len(page) < 300_000
    assert "http" not in page.replace("http-equiv", "")


def test_the_best_of_each_metric_is_marked_by_what_is_ideal(tmp_path, monkeypatch):
    make_inputs(tmp_path)
    page, summary = run(tmp_path, monkeypatch)
    models = page[page.index('id="leaderboard"') : page.index('id="a-b-test"')]
    assert re.findall(r'class="best">([\d.]+)', models) == ["7.000", "4.400", "0.6200", "0.900"]
    assert summary["best"] == {"mae_s": "gr", "rmse_s": "lightgbm", "xauc": "gr"}


def test_the_verdict_is_that_of_the_ab_test(tmp_path, monkeypatch):
    make_inputs(tmp_path)
    page, summary = run(tmp_path, monkeypatch)
    assert summary["verdict"] == METRICS["abtest"]["verdict"]
    assert summary["verdicts"]["drift"]["status"] == "warn"
    assert page.index("Ship gr") < page.index("<section")


def test_data_that_did_not_pass_overrule_the_ab_test(tmp_path, monkeypatch):
    failed = {"status": "fail", "text": "2 of 30 expectations failed"}
    make_inputs(tmp_path, {"validate": {"verdict": failed}})
    _, summary = run(tmp_path, monkeypatch)
    assert summary["verdict"]["status"] == "fail" and summary["verdict"]["word"] == "Don't ship"
    assert failed["text"] in summary["verdict"]["text"]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "5.0% of A/A splits show a lift, 1.0% to 10.0% expected; sample ratio p = 0.4"),
        ({"srm_p": 0.0004, "srm_alarm": True}, "fail", "sample ratio p = 0.0004, an alarm"),
        ({"aa": METRICS["abtest"]["aa"] | {"false_positive_rate": 0.2}}, "warn", "20.0% of A/A splits"),
    ],
)
def test_the_index_warns_of_a_broken_split_and_of_a_test_off_its_level(changes, status, words):
    stages = METRICS | {"abtest": METRICS["abtest"] | changes}
    [found] = [verdict for link, verdict in reasons(stages).rows if link.text == "checks of the test"]
    assert found.status == status and words in found.text


def test_the_word_is_that_of_the_ab_test_and_metrics_without_one_name_the_stage_to_run():
    verdict = METRICS["abtest"]["verdict"] | {"word": "Test online"}
    assert overall(METRICS | {"abtest": METRICS["abtest"] | {"verdict": verdict}}).word == "Test online"
    del verdict["word"]
    with pytest.raises(ValueError, match="no word; run the stage abtest again"):
        overall(METRICS | {"abtest": METRICS["abtest"] | {"verdict": verdict}})


def test_a_reward_model_is_labelled_as_what_it_is(tmp_path, monkeypatch):
    make_inputs(tmp_path, {"abtest": {"environment": "model"}})
    page, _ = run(tmp_path, monkeypatch)
    assert "a reward model, not from users" in page


def test_every_model_has_a_card_with_its_interval_limits_and_hashes(tmp_path, monkeypatch):
    row = {"bucket": "cold user, cold video", "rows": 300, "mean_label_s": 9.0}
    row |= {"mae_s": {"gr": 5.0}, "xauc": {"gr": 0.51}}
    slices = [{"title": "Cold users and videos", "note": "", "rows": [row]}]
    intervals = {"gr": {"mae_s": {"low": 4.2, "high": 4.7}}}
    make_inputs(tmp_path, {"evaluate": METRICS["evaluate"] | {"slices": slices, "intervals": intervals}})
    page, _ = run(tmp_path, monkeypatch)
    card = (tmp_path / "reports/report/cards/gr.html").read_text()
    assert 'href="report/cards/gr.html"' in page and 'href="report/cards/lightgbm.html"' in page
    assert all(text in card for text in ("4.2000", "4.7000", "2024-03-05 to 2024-03-06", "Ship gr: +2.00%"))
    assert "XAUC 0.510 on 300 rows; 0.620 over all." in card
    assert hashlib.md5((tmp_path / "reports/train/gr/metrics.json").read_bytes()).hexdigest() in card
    assert 'href="../../train/gr/index.html"' in card
    assert "In use" in (tmp_path / "reports/report/cards/lightgbm.html").read_text()


def card_of(folder, monkeypatch, name: str, abtest: dict) -> str:
    make_inputs(folder, {"abtest": abtest})
    run(folder, monkeypatch)
    return (folder / f"reports/report/cards/{name}.html").read_text()


def test_the_card_of_a_further_treatment_has_its_own_lift_in_replay(tmp_path, monkeypatch):
    arms = {"control": {"model": "x"}, "treatment": {"model": "gr"}, "treatment_2": {"model": "lightgbm"}}
    own = {"lift": -0.051, "interval": {"low": -0.09, "high": -0.012}, "p_value": 0.01}
    abtest = {"arms": arms, "environment": "replay", "comparisons": {"treatment_2": {"dr": own}}}
    card = card_of(tmp_path, monkeypatch, "lightgbm", abtest)
    online = card[card.index('id="online"') :]
    assert "5.10%" in online and "1.20%" in online and "2.00%" not in online
    assert "An arm of the A/B test, treatment_2" in card
    assert "lift of the first video" in (tmp_path / "reports/index.html").read_text()


def test_the_card_of_a_model_without_an_arm_has_its_expected_lift_of_the_sweep(tmp_path, monkeypatch):
    arms = {"control": {"model": "x"}, "treatment": {"model": "gr"}}
    swept = {"models": [{"model": "lightgbm", "lift": 0.011, "low": 0.004, "high": 0.019}]}
    card = card_of(tmp_path, monkeypatch, "lightgbm", {"arms": arms, "sweep": swept})
    assert "Expected lift over the control +1.10%, +0.40% to +1.90%" in card
    assert "expected lift over the control" in card[card.index('id="online"') :]


DIFFERENCES = {
    "mae_s": {"value": -0.2, "low": -0.3, "high": -0.1},
    "rmse_s": {"value": 0.2, "low": 0.1, "high": 0.3},
    "xauc": {"value": 0.01, "low": -0.01, "high": 0.03},
}


@pytest.mark.parametrize(
    ("low", "high", "baseline", "shown", "word", "words"),
    [
        (
            0.01,
            0.03,
            "lightgbm",
            ("mae_s", "rmse_s"),
            "In part",
            "better by MAE 4.6 to 4.4; worse by RMSE 7 to 7.2; not",
        ),
        (-0.03, -0.01, "lightgbm", ("rmse_s",), "Yes", "worse by RMSE 7 to 7.2; not told apart by MAE"),
        (0.01, 0.03, "lightgbm", ("rmse_s",), "No", "worse by RMSE 7 to 7.2; not told apart by MAE"),
        (0.01, 0.03, "lightgbm", (), "Open", "gr against lightgbm: not told apart by MAE 4.6 to 4.4"),
        (-0.01, 0.03, "lightgbm", ("mae_s",), "Open", "better by MAE 4.6 to 4.4"),
        (0.01, 0.03, "other", (), "In part", "better by MAE 4.6 to 4.4, XAUC 0.61 to 0.62; worse by RMSE 7 to 7.2"),
    ],
)
def test_the_index_says_whether_offline_metrics_saw_the_lift_coming(low, high, baseline, shown, word, words):
    """By the intervals of the lift and of the differences; a harmed guardrail, a warning, changes nothing of it."""
    verdict = {"status": "warn", "word": "Don't ship yet", "text": "text"}
    abtest = METRICS["abtest"] | {"verdict": verdict, "interval": {"low": low, "high": high}}
    evaluation = METRICS["evaluate"] | {"baseline": baseline, "differences": {"gr": {k: DIFFERENCES[k] for k in shown}}}
    rows = reasons(METRICS | {"abtest": abtest, "evaluate": evaluation}).rows
    [found] = [verdict for link, verdict in rows if link.text == "seen offline"]
    assert found.word == word and words in found.text and "Simulated +2.00%" in found.text


def test_pages_made_anew_are_the_same_bytes_and_the_run_names_its_hashes(tmp_path, monkeypatch):
    make_inputs(tmp_path)
    stored = tmp_path / "reports/evaluate/index.html"
    Page("evaluate", "Stored").write(stored)
    run(tmp_path, monkeypatch)
    (tmp_path / "dvc.lock").write_text("stages: {ingest: {outs: [{path: data/ingest, md5: 0a1b2c, size: 7}]}}")
    before = {path: path.read_bytes() for path in (tmp_path / "reports").rglob("*.html")}
    assert rebuild(tmp_path).changed == [tmp_path / "reports/run/index.html"]
    assert {path: path.read_bytes() for path in before} == before
    stored.write_text("an older look")
    assert rebuild(tmp_path).changed == [stored]
    assert stored.read_bytes() == before[stored]
    own = (tmp_path / "reports/run/index.html").read_text()
    assert "0a1b2c" in own and "No leaderboard yet" in own and 'href="../report/cards/gr.html"' in own


def test_content_that_is_no_page_is_named(tmp_path, monkeypatch):
    make_inputs(tmp_path)
    (tmp_path / "reports/drift/page.json").write_text('{"stage": "drift"}')
    with pytest.raises(ValueError, match=r"reports/drift/page.json: not the content of a page"):
        rebuild(tmp_path)


def test_markup_in_a_metric_is_text(tmp_path, monkeypatch):
    planted = "<script>alert(1)</script>"
    make_inputs(
        tmp_path,
        {
            "ingest": {"source": planted},
            "drift": {"columns": [DRIFTED, DRIFTED | {"name": planted}]},
            "abtest": {"verdict": {"status": "info", "word": "Can't tell", "text": planted}},
        },
    )
    page, _ = run(tmp_path, monkeypatch)
    assert planted not in page
    assert page.count("&lt;script&gt;alert(1)") >= 4  # lead, verdict twice, column


@pytest.mark.parametrize("name", list(METRICS))
def test_a_missing_stage_is_named(tmp_path, monkeypatch, name):
    make_inputs(tmp_path)
    (tmp_path / "reports" / name / "metrics.json").unlink()
    with pytest.raises(ValueError, match=f"reports/{name}/metrics.json: no such file; run the stage"):
        run(tmp_path, monkeypatch)


def test_the_same_metrics_give_the_same_bytes(tmp_path, monkeypatch):
    make_inputs(tmp_path)
    assert run(tmp_path, monkeypatch) == run(tmp_path, monkeypatch)


def test_a_metric_that_no_model_has_is_an_error_that_lists_those_there_are(tmp_path, monkeypatch):
    make_inputs(tmp_path, metrics=["mae_s", "ndcg"])
    with pytest.raises(ValueError, match=r"report.metrics: no model has ndcg; there are calibration, mae_s"):
        run(tmp_path, monkeypatch)


def test_an_unknown_parameter_is_named(tmp_path, monkeypatch):
    make_inputs(tmp_path, colour="blue")
    with pytest.raises(ConfigError, match=r"report.colour: unknown parameter"):
        run(tmp_path, monkeypatch)
