"""params.yaml is the composition of conf/, and every section of it is accepted by the stage that reads it."""

import re
from pathlib import Path

import pytest
import yaml

from pipelines.params import compose_params

ROOT = Path(__file__).resolve().parents[2]


def compose(tmp_path: Path, *overrides: str) -> dict:
    return yaml.safe_load(compose_params(ROOT, overrides, tmp_path / "params.yaml").read_text())


def test_committed_params_equal_the_composition_of_conf(tmp_path):
    assert compose_params(ROOT, (), tmp_path / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()


def test_config_has_one_defaults_line_per_group():
    defaults = yaml.safe_load((ROOT / "conf/config.yaml").read_text())["defaults"]
    groups = [next(iter(line)).split("@")[0] for line in defaults if isinstance(line, dict)]
    expected = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    assert {group.removeprefix("optional ") for group in groups} == expected


@pytest.mark.parametrize("path", sorted((ROOT / "conf/experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_named_experiment_composes(path, tmp_path):
    assert compose(tmp_path, f"experiment={path.stem}") != compose(tmp_path)


def test_choosing_a_source_brings_its_window(tmp_path):
    values = compose(tmp_path, "ingest=kuairand", "ingest.path=elsewhere")
    assert values["ingest"] == {"source": "kuairand", "path": "elsewhere"}
    assert values["window"]["end"] == "2022-05-04"


def test_an_unknown_override_is_an_error_that_names_it(tmp_path):
    with pytest.raises(Exception, match=r"widht"):
        compose(tmp_path, "train.gr.widht=128")


def test_no_parameter_holds_a_place_of_a_machine():
    assert not re.search(r"(^|\s)/\w|https?://", (ROOT / "params.yaml").read_text())
