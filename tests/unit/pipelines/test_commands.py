"""What dvc.yaml hands to a shell."""

import shlex
import shutil
from pathlib import Path

import yaml

from pipelines.dag import command_of
from tests.helpers.git_project import start_repository

ROOT = Path(__file__).parents[3]


def test_a_log_may_lie_anywhere_on_the_disk(tmp_path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["ingest"]["path"] = "/logs (new); $HOME/my log"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copy(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    words = shlex.split(command_of(start_repository(tmp_path), "ingest"))
    assert words[words.index("--raw") + 1 : words.index("--out")] == [params["ingest"]["path"]]
