"""params.yaml is the composition of conf/, and every section of it is accepted by the stage that reads it."""

import re
from pathlib import Path

import pytest
import yaml

from pipelines.params import compose_params
from watchline.config import load_section
from watchline.data.splits import Window
from watchline.evaluation.measure import EvaluateConfig
from watchline.experiment.config import AbtestConfig
from watchline.finetuning.config import FinetuneConfig
from watchline.models import model_module
from watchline.models.common import CommonConfig
from watchline.stages.drift import DriftConfig
from watchline.stages.features import FeaturesConfig
from watchline.stages.ingest import load_ingest
from watchline.stages.report import ReportConfig
from watchline.stages.validate import ValidateConfig

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))
SECTIONS = {
    "window": Window,
    "validate": ValidateConfig,
    "features": FeaturesConfig,
    "train.common": CommonConfig,
    "finetune": FinetuneConfig,
    "evaluate": EvaluateConfig,
    "abtest": AbtestConfig,
    "drift": DriftConfig,
    "report": ReportConfig,
}


def compose(tmp_path: Path, *overrides: str) -> dict:
    return yaml.safe_load(compose_params(ROOT, overrides, tmp_path / "params.yaml").read_text())


def test_committed_params_equal_the_composition_of_conf(tmp_path):
    assert compose_params(ROOT, (), tmp_path / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()


def test_config_has_one_defaults_line_per_group():
    defaults = yaml.safe_load((ROOT / "conf/config.yaml").read_text())["defaults"]
    groups = [next(iter(line)).split("@")[0] for line in defaults if isinstance(line, dict)]
    expected = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    assert {group.removeprefix("optional ") for group in groups} == expected


@pytest.mark.parametrize("experiment", [None, *EXPERIMENTS])
def test_every_section_of_a_composition_is_accepted_by_the_stage_that_reads_it(experiment, tmp_path):
    overrides = [f"experiment={experiment}"] if experiment else []
    path = tmp_path / "params.yaml"
    sections = set(compose(tmp_path, *overrides)["train"]) - {"common"}
    for section, kind in SECTIONS.items():
        load_section(kind, section, path)
    for model in sections:
        load_section(model_module(model).CONFIG, f"train.{model}", path)
    load_ingest(path)
    assert set(load_section(list[str], "models", path)) <= sections


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_named_experiment_changes_something(experiment, tmp_path):
    assert compose(tmp_path, f"experiment={experiment}") != compose(tmp_path)


def test_the_published_gr_has_its_size_and_milliseconds(tmp_path):
    values = compose(tmp_path, "experiment=gr_paper")["train"]["gr"]
    assert (values["width"], values["num_layers"], values["num_heads"], values["ffn_width"]) == (128, 3, 8, 256)
    assert values["vocabulary"]["unit_s"] == 0.001
    assert (values["w_ce"], values["w_huber"], values["curriculum"]["kind"]) == (10, 1, "mixup")


def test_choosing_a_source_brings_its_window(tmp_path):
    values = compose(tmp_path, "ingest=kuairand", "ingest.path=elsewhere")
    assert values["ingest"] == {"source": "kuairand", "path": "elsewhere"}
    assert values["window"]["end"] == "2022-05-04"


def test_an_unknown_override_is_an_error_that_names_it(tmp_path):
    with pytest.raises(Exception, match=r"widht"):
        compose(tmp_path, "train.gr.widht=128")


def test_no_parameter_holds_a_place_of_a_machine():
    assert not re.search(r"(^|\s)/\w|https?://", (ROOT / "params.yaml").read_text())
