"""One name everywhere: stage = module = config group = section of params.yaml = report folder."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["ingest", "validate", "features", "train", "finetune", "evaluate", "abtest", "drift", "report"]


@pytest.fixture(scope="module")
def dag() -> dict:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_the_dag_has_the_stages_of_the_design_in_order(dag):
    assert list(dag) == STAGES


def test_every_stage_is_a_module_and_every_module_a_stage():
    modules = {path.stem for path in (ROOT / "src/watchline/stages").glob("*.py")} - {"__init__"}
    assert modules == set(STAGES)


def test_every_stage_is_a_config_group():
    groups = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()} - {"experiment"}
    assert groups == set(STAGES)


def test_every_stage_is_a_section_of_params():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert set(params) == {*STAGES, "window", "models"}
    assert set(params["models"]) <= set(params["train"])


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_its_module_reads_its_section_and_writes_its_report_folder(dag, stage):
    entry = dag[stage]
    assert f"watchline.stages.{stage} " in entry["cmd"].replace("${run}", "watchline.stages")
    assert any(str(param).split(".")[0] == stage for param in entry["params"])
    assert f"src/watchline/stages/{stage}.py" in entry["deps"]
    assert all(path.startswith(f"reports/{stage}/") for path in entry["metrics"])


def test_every_path_a_command_names_is_declared(dag):
    for stage, entry in dag.items():
        declared = [*entry["deps"], *entry["outs"], *entry["metrics"]]
        words = [word for word in entry["cmd"].split() if word.startswith(("data/", "models", "reports", "features"))]
        for word in words:
            assert any(f"{path}/".startswith(f"{word}/") or word.startswith(f"{path}/") for path in declared), (
                f"{stage}: {word} is not declared"
            )


def test_flow_tasks_are_the_stages_in_an_order_that_dvc_accepts():
    from pipelines.dag import stages_in_order

    order = stages_in_order(ROOT)
    names = [address.split("@")[0] for address in order]
    assert list(dict.fromkeys(names)) == STAGES
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert {address.split("@")[1] for address in order if "@" in address} == set(params["models"])
