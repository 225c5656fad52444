"""CIKM Cup 2016's queries through ingest and validate: lines that stand twice, and a day missing from the log."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from pipelines.params import compose_params
from tests.helpers.two_stages import ingest_and_validate
from watchline.stages import validate

ROOT = Path(__file__).resolve().parents[2]
WINDOW = {"end": "2016-05-12", "eval_days": 1, "finetune_days": 0, "valid_days": 1, "train_days": 2}
HEADER = "queryId;sessionId;userId;timeframe;duration;eventdate;searchstring.tokens;categoryId;items;is.test"


@pytest.fixture
def raw(tmp_path, monkeypatch) -> Path:
    """raw/train-queries.csv of 4 days with 500 queries each, and no view of an item."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    rng = np.random.default_rng(1)
    lines = []
    for number in range(2000):
        dwell, page, day = rng.integers(1, 60_000), rng.integers(1, 40), 9 + number // 500
        user = number % 90 if number % 3 else "NA"
        start = number * 1000 % 86_000_000
        lines.append(f"{number};{number};{user};{start};{dwell};2016-05-{day:02};;{page};{page},{page + 1};FALSE")
    (tmp_path / "raw/train-queries.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    views = "sessionId;userId;itemId;timeframe;eventdate\n1;NA;5;10;2016-05-09\n1;NA;6;900;2016-05-09\n"
    (tmp_path / "raw/train-item-views.csv").write_text(views)
    return tmp_path / "raw"


def run() -> dict:
    """Both stages on the queries; returns what validate measured."""
    params = yaml.safe_load(compose_params(ROOT, ["ingest=cikm16"], Path("params.yaml").absolute()).read_text())
    params["ingest"]["path"] = "raw"
    params["window"] |= WINDOW
    Path("params.yaml").write_text(yaml.safe_dump(params))
    return ingest_and_validate("raw")


def test_queries_that_stand_twice_end_as_duplicates(raw):
    assert run()["quarantine"]["exposures"]["duplicate"] == 0
    path = raw / "train-queries.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, *lines[600:609]]) + "\n")
    assert run()["quarantine"]["exposures"]["duplicate"] == 9


def test_a_day_missing_from_the_log_stops_the_line(raw):
    path = raw / "train-queries.csv"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if ";2016-05-10;" not in line) + "\n")
    with pytest.raises(validate.DatasetRuleError, match="2016-05-10"):
        run()
