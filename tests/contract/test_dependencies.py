"""dvc.yaml names the code each stage runs: none is stale after an edit, none runs for code it does not use."""

import importlib.util
from pathlib import Path

import pytest
import yaml

from watchline.models import MODULES

ROOT = Path(__file__).resolve().parents[2]
DAG = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Reading and checking parameters, which every stage does alike and which changes no output.
EVERYWHERE = {
    "src/watchline/__init__.py",
    "src/watchline/config.py",
    "src/watchline/stages/__init__.py",
    "src/watchline/data/__init__.py",
}


def closure(stage: str) -> set[str]:
    """Files a stage imports; models are imported by name, so every stage that may load one is given all of them."""
    path = ROOT / "tests/helpers/import_closure.py"
    spec = importlib.util.spec_from_file_location("import_closure", path)
    assert spec and spec.loader
    helper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helper)
    files = helper.import_closure(ROOT / f"src/watchline/stages/{stage}.py")
    if stage in ("train", "finetune", "evaluate", "abtest"):
        for module in MODULES.values():
            base = ROOT / "src" / module.replace(".", "/")
            files |= helper.import_closure(base / "__init__.py" if base.is_dir() else base.with_suffix(".py"))
    return files - EVERYWHERE


def covers(dependency: str, file: str) -> bool:
    return file == dependency or file.startswith(dependency + "/")


@pytest.mark.parametrize("stage", DAG)
def test_every_file_a_stage_imports_is_a_dependency(stage):
    dependencies = DAG[stage]["deps"]
    files = closure(stage)
    assert not sorted(file for file in files if not any(covers(dependency, file) for dependency in dependencies))


@pytest.mark.parametrize("stage", DAG)
def test_every_code_dependency_of_a_stage_is_imported(stage):
    files = closure(stage)
    code = [dependency for dependency in DAG[stage]["deps"] if dependency.startswith("src/")]
    assert not [dependency for dependency in code if not any(covers(dependency, file) for file in files)]
