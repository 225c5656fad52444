"""Sources other than KuaiRand through ingest and validate: what a defective table costs, and where its rows end."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml

from pipelines.params import compose_params
from tests.helpers.kuairec_files import write_kuairec
from tests.helpers.two_stages import ingest_and_validate
from watchline.stages import features, validate

ROOT = Path(__file__).resolve().parents[2]
WINDOW = {"end": "2020-07-08", "eval_days": 1, "finetune_days": 0, "valid_days": 1, "train_days": 2}


def run(*overrides: str, window: dict | None = None, limits: dict | None = None) -> dict:
    """Both stages on ./raw in the working directory, as composed from conf/; returns what validate measured."""
    params = yaml.safe_load(compose_params(ROOT, overrides, Path("params.yaml").absolute()).read_text())
    params["ingest"]["path"] = "raw"
    params["window"] = {**params["window"], **(window or WINDOW)}
    params["validate"]["quarantine"] |= limits or {}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    return ingest_and_validate("raw")


@pytest.fixture
def raw(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_kuairec(tmp_path / "raw", days=4, exposures=6000) / "data"


def test_a_sound_big_matrix_passes(raw):
    values = run("ingest=kuairec")
    assert values["verdict"]["status"] == "pass"
    lines = len((raw / "big_matrix.csv").read_text().splitlines()) - 1
    assert values["rows"]["exposures"]["in"] == lines


def test_a_log_without_surfaces_gets_its_features(raw):
    run("ingest=kuairec")
    shutil.copytree(ROOT / "features", "features", ignore=shutil.ignore_patterns("__pycache__"))
    arguments = {"tables": "data/validate", "repo": "features", "out": "data/features", "report": "reports/features"}
    features.main([word for name, path in arguments.items() for word in (f"--{name}", path)])
    values = json.loads(Path("reports/features/metrics.json").read_text())
    assert {entry["feature"]: entry["share"] for entry in values["null_shares"]}["surface"] == 1.0
    assert values["online_parity"]["equal_share"] == 1.0 and values["online_parity"]["rows"] > 0


def test_a_user_table_that_lacks_a_tenth_of_its_users_stops_the_line_with_the_rule(raw):
    users = pl.read_csv(raw / "user_features.csv", infer_schema=False)
    users.filter(pl.int_range(pl.len()) % 10 != 0).write_csv(raw / "user_features.csv")
    with pytest.raises(validate.DatasetRuleError, match="unknown_user"):
        run("ingest=kuairec")


def test_a_repeated_video_with_other_topics_ends_in_quarantine(raw):
    path = raw / "item_categories.csv"
    first = path.read_text().splitlines()[1].split(",")[0]
    path.write_text(path.read_text() + f"{first},[99]\n")
    assert run("ingest=kuairec")["quarantine"]["videos"]["conflicting_id"] == 1


def test_the_preset_of_both_matrices_passes_with_its_undated_rows_on_the_last_day(raw):
    # The files end on 2020-07-08, the published ones on 2020-09-05: the same rule on another last day.
    window = WINDOW | {"rows": {"kind": "unbiased", "valid_share": 0.1, "eval_share": 0}}
    values = run("experiment=kuairec_big_to_small", "ingest.undated_day=2020-07-08", window=window)
    assert values["verdict"]["status"] == "pass"
    rows = pl.read_parquet("data/validate/exposures/date=2020-07-08/part-0.parquet")
    assert rows["exposed_at"].max().isoformat() == "2020-07-08T15:59:59+00:00"
    assert (json.loads(Path("reports/ingest/metrics.json").read_text()))["rows"]["unparsable"] == 0
