"""The example of docs/sources.md is a source: it reads, and it is as short as the page says."""

import re
from datetime import date
from pathlib import Path

import pytest

from tests.helpers.docs_example import module_of
from tests.helpers.kuairand_files import exposures_of
from watchline.config import parse
from watchline.data.schema import EXPOSURES
from watchline.data.sources.base import SourceError, conform
from watchline.stages.ingest import INGEST_SOURCES

PAGE = Path(__file__).resolve().parents[4] / "docs/sources.md"


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return module_of(PAGE, "plays", tmp_path_factory.mktemp("source"), fewer_lines_than=60)


def test_the_example_reads_its_log_and_keeps_what_it_cannot_read(module, tmp_path):
    (tmp_path / "plays.txt").write_text("user|video|at_ms|played_ms\n1|5|1709247600000|1500\n2|x|1709247600000|10\n")
    config = parse(module.PlaysConfig, {"source": "plays", "path": str(tmp_path)}, "ingest")
    tables = module.read(tmp_path, config)
    rows = exposures_of(tables)
    assert rows.select("user_id", "watch_time_s", "date").rows() == [(1, 1.5, date(2024, 3, 1))]
    assert dict(conform(rows, EXPOSURES).schema) == EXPOSURES
    assert tables.unparsable["reason"].to_list() == ["column video: x is not a whole number"]
    with pytest.raises(SourceError, match=r"plays\.txt: no such file"):
        module.read(tmp_path / "nowhere", config)


def test_the_page_has_a_row_for_every_source_there_is():
    rows = re.findall(r"^\| `(\w+)`", PAGE.read_text(), flags=re.M)
    assert set(INGEST_SOURCES) <= set(rows)


def test_the_page_names_experiments_that_exist():
    names = re.findall(r"^\| `((?:kuairec|cikm16|kuairand)_\w+)`", PAGE.read_text(), flags=re.M)
    experiments = {path.stem for path in (PAGE.parents[1] / "conf/experiment").glob("*.yaml")}
    assert len(names) == 5
    assert set(names) <= experiments
