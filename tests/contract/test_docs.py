"""The documents name only what exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "recipes").glob("*/README.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_no_placeholder_is_left(page):
    text = page.read_text()
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert not [link for link in links if link and not (page.parent / link).exists()]
    assert not re.search(r"@[A-Z]+@|\bTODO\b|\bTBD\b", text)


def test_every_make_target_that_a_page_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    named = {name for page in PAGES for name in re.findall(r"(?:^ *|`)make\s([a-z-]+)", page.read_text(), flags=re.M)}
    assert {"repro", "test-faults", "ui-down"} <= named <= targets


def test_raw_data_below_data_raw_can_be_tracked():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/data/" not in ignored and not [line for line in ignored if line.startswith("/data/raw")]


def test_the_library_example_of_hd_pissa_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/hd_pissa.md").read_text(), flags=re.S)
    code += "\nassert 0 < error < 0.01 and type(model[0]) is nn.Linear"
    environment = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "tuned/adapter_model.safetensors").is_file()
