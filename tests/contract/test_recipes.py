"""Recipes: params.yaml is the composition of conf/, dvc.yaml names the code that runs, published settings are there."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

from pipelines.params import compose_params
from tests.helpers.import_closure import import_closure
from watchline.config import load_section
from watchline.sft.config import SFTConfig
from watchline.sft.evaluate import EvaluateConfig

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/llm_sft"
DAG = yaml.safe_load((RECIPE / "dvc.yaml").read_text())
STAGES = DAG["stages"]
TUNERS = sorted(path.stem for path in (RECIPE / "conf/tuner").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (RECIPE / "conf/experiment").glob("*.yaml"))
NAMED = ["train.model.path=model", "train.data.path=data.jsonl"]
# What every stage does alike and what changes no output; of the page builder the stages use the JSON form alone.
EVERYWHERE = {
    "src/watchline/__init__.py",
    "src/watchline/config.py",
    "src/watchline/stages/__init__.py",
    "src/watchline/sft/__init__.py",
    "src/watchline/adapters/__init__.py",
    "src/watchline/training/__init__.py",
}


def compose(tmp_path: Path, *overrides: str) -> Path:
    return compose_params(RECIPE, overrides, tmp_path / "params.yaml")


def code_of(stage: str) -> set[str]:
    """Files a stage imports and that its outputs depend on."""
    files = import_closure(ROOT / f"src/watchline/sft/{stage}.py") - EVERYWHERE
    page_builder = {file for file in files if file.startswith("src/watchline/report/")}
    return files - page_builder | {"src/watchline/report/json_file.py"}


def declared_code(stage: str) -> set[str]:
    (source,) = (variables["src"] for variables in DAG["vars"])
    assert (RECIPE / source).resolve() == ROOT / "src"
    return {dep.replace("${src}", "src") for dep in STAGES[stage]["deps"] if dep.startswith("${src}")}


def test_committed_params_equal_the_composition_of_conf(tmp_path):
    assert compose(tmp_path).read_text() == (RECIPE / "params.yaml").read_text()


def test_a_stage_is_a_module_and_a_section_of_params_and_a_folder_of_reports():
    params = yaml.safe_load((RECIPE / "params.yaml").read_text())
    assert set(params) == {*STAGES, "watched"}
    for stage, entry in STAGES.items():
        assert f"-m watchline.sft.{stage} " in entry["cmd"]
        assert entry["params"] == [stage]
        assert entry["metrics"] == [f"reports/{stage}/metrics.json"]


@pytest.mark.parametrize("stage", STAGES)
def test_dependencies_are_exactly_the_files_a_stage_imports(stage):
    assert declared_code(stage) == code_of(stage)


def test_every_path_a_command_names_is_declared():
    for stage, entry in STAGES.items():
        plots = [path for plot in entry.get("plots", []) for path in plot]
        declared = [*entry["deps"], *entry.get("outs", []), *entry["metrics"], *plots]
        for word in entry["cmd"].split():
            if word.startswith(("models/", "reports/")):
                assert any(path == word or path.startswith(word + "/") for path in declared), f"{stage}: {word}"


@pytest.mark.parametrize("overrides", [[], *([f"tuner={name}"] for name in TUNERS)], ids=str)
def test_every_tuner_composes_to_settings_its_stage_accepts(tmp_path, overrides):
    path = compose(tmp_path, *NAMED, *overrides)
    config = load_section(SFTConfig, "train", path)
    config.check_sources()
    assert config.tuner.method == (overrides[0].removeprefix("tuner=") if overrides else "hd_pissa")
    load_section(EvaluateConfig, "evaluate", path)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_to_settings_its_stages_accept_and_changes_something(tmp_path, experiment):
    path = compose(tmp_path, f"experiment={experiment}")
    assert path.read_text() != (RECIPE / "params.yaml").read_text()
    load_section(SFTConfig, "train", path).check_sources()
    load_section(EvaluateConfig, "evaluate", path)


def test_the_published_setting_is_that_of_the_paper(tmp_path):
    path = compose(tmp_path, "experiment=metamath_llama2_7b")
    train, evaluate = load_section(SFTConfig, "train", path), load_section(EvaluateConfig, "evaluate", path)
    tuner = train.tuner
    assert (tuner.method, tuner.rank, tuner.num_slices, tuner.reduce) == ("hd_pissa", 16, 8, "local")
    assert set(tuner.targets) == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert (train.num_processes, train.micro_batch_size, train.accumulation) == (8, 2, 64)
    assert train.rows_per_slice == 2 * 8  # 8 micro-batches of a process in a step
    assert (train.lr, train.decay, train.warmup_share) == (2e-5, "cosine", 0.03)
    assert (train.sequence.length, train.sequence.packing, train.precision) == (512, False, "bf16")
    assert train.model.id == "meta-llama/Llama-2-7b-hf"
    assert (train.data.id, train.data.query_field, train.data.response_field) == (
        "meta-math/MetaMathQA",
        "query",
        "response",
    )
    assert evaluate.tasks == ("gsm8k",)


def test_dvc_watches_local_models_and_data_and_stands_in_for_those_of_the_hub(tmp_path):
    local = yaml.safe_load(compose(tmp_path, *NAMED).read_text())["watched"]
    assert (local["model"], local["data"]) == ("model", "data.jsonl")
    hub = yaml.safe_load(compose(tmp_path, "experiment=metamath_llama2_7b").read_text())["watched"]
    assert all((RECIPE / path).exists() for path in hub.values())


def test_the_recipe_is_a_dvc_project_of_its_own_with_hydra_and_no_stage_of_the_line():
    from dvc.repo import Repo

    config = configparser.ConfigParser()
    config.read(RECIPE / ".dvc/config")
    assert config.getboolean("hydra", "enabled")
    with Repo(str(RECIPE)) as repo:
        assert [stage.name for stage in repo.index.stages] == list(STAGES)
    with Repo(str(ROOT)) as repo:
        assert not [stage for stage in repo.index.stages if "recipes" in Path(stage.path).parts]


def test_the_readme_links_to_files_that_exist_and_names_every_tuner_and_experiment():
    text = (RECIPE / "README.md").read_text()
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert not [link for link in links if link and not (RECIPE / link).exists()]
    assert all(name in text for name in (*TUNERS, *EXPERIMENTS))
