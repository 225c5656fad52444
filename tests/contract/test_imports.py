"""The core is importable on its own: it knows nothing of the pipeline's tools."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src/watchline"
CORE = ["codec", "models", "adapters", "training", "metrics.py", "experiment", "leaderboard", "registry"]
TOOLS = {"dvc", "prefect", "hydra", "omegaconf", "feast", "great_expectations", "evidently"}


def imported_modules(path: Path) -> set[str]:
    """Top-level names of everything a file imports, at any depth of nesting."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def files_of(part: str) -> list[Path]:
    path = SOURCE / part
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("part", CORE)
def test_core_imports_no_pipeline_tool_and_no_stage(part):
    files = files_of(part)
    assert files
    for file in files:
        for module in imported_modules(file):
            assert module.split(".")[0] not in TOOLS, f"{file}: imports {module}"
            assert not module.startswith(("watchline.stages", "pipelines")), f"{file}: imports {module}"


def test_codec_imports_nothing_else_of_the_project_but_config():
    for file in files_of("codec"):
        inner = {name for name in imported_modules(file) if name.startswith("watchline")}
        assert all(name.startswith(("watchline.codec", "watchline.config")) for name in inner), f"{file}: {inner}"


def test_only_stages_read_params():
    of_recipes = [SOURCE / "sft/train.py", SOURCE / "sft/evaluate.py"]
    for file in SOURCE.rglob("*.py"):
        if file.parent.name != "stages" and file.name != "config.py" and file not in of_recipes:
            text = file.read_text()
            assert "load_section" not in text and "read_params" not in text, f"{file} reads params"


def test_importing_the_core_loads_no_pipeline_tool():
    parts = [part.removesuffix(".py") for part in CORE]
    code = (
        f"import sys; [__import__(f'watchline.{{p}}') for p in {parts}]; "
        "import watchline.models.gr, watchline.adapters.hd_pissa, watchline.models.lightgbm; "
        f"print(sorted(set(sys.modules) & set({sorted(TOOLS)})))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True
    )
    assert output.returncode == 0, output.stderr
    assert output.stdout.strip() == "[]"


def test_prefect_is_used_in_pipelines_only_and_feast_not_beyond_its_places():
    for file in SOURCE.rglob("*.py"):
        tools = {name.split(".")[0] for name in imported_modules(file)} & TOOLS
        assert "prefect" not in tools and "dvc" not in tools, f"{file}: {tools}"
        if "feast" in tools:
            assert file.parent.name == "feature_store", f"{file} imports feast"
    for file in (ROOT / "pipelines").glob("*.py"):
        assert not {name for name in imported_modules(file) if name.startswith("watchline")}, (
            f"{file} imports the library"
        )
