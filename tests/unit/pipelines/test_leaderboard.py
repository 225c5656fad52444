"""The leaderboard's runs through DVC's real queue: failure, resume, stop, a worker that died; and what names a run."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from pipelines.experiment_queue import hold_experiments
from pipelines.experiments import FAILED, clear_dead, enqueue, finished, has_worker, run_queue, statuses
from pipelines.file_lock import WorkspaceHeldError
from pipelines.interruptions import note
from pipelines.leaderboard_config import plan_of, read_config
from pipelines.leaderboard_runs import experiments
from pipelines.process import CommandTimeoutError
from pipelines.settings import LeaderboardSettings, SearchSettings
from pipelines.workspace import hold
from tests.helpers.daily_project import git_status
from tests.helpers.leaderboard_project import ROOT, make_project
from tests.helpers.waiting import wait_until
from tests.unit.pipelines.test_flow import artifacts_of, newest_run

SLEEP = "sleep 611"
LEADERBOARD = """
import sys
from pathlib import Path
from pipelines.leaderboard import leaderboard
leaderboard(root=Path(sys.argv[1]))
"""


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """The folder outside the project that breaks stages and counts them."""
    folder = tmp_path / "where"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("template") / "project")


@pytest.fixture
def project(template: Path, tmp_path: Path, where: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHERE", str(where))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))
    monkeypatch.setenv("WATCHLINE_RUNS", str(tmp_path / "runs"))
    return Path(shutil.copytree(template, tmp_path / "project", symlinks=True))


def names(root: Path, data: str | None = None, *overrides: str) -> list[str]:
    config = read_config(root)
    plan = plan_of(root, config, config.choose(None, data is not None), list(overrides))
    return [each.name for each in experiments(root, config, plan, data)]


def sleepers(project: Path) -> list[psutil.Process]:
    """Processes of the toy's stages that wait, in this project alone."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if SLEEP in " ".join(process.info["cmdline"] or []) and str(project) in (process.info["cwd"] or ""):
            found.append(process)
    return found


def works_in(project: Path) -> list[psutil.Process]:
    """The queue's worker, the experiments, and what runs in their copies of the project."""
    found = []
    for process in psutil.process_iter(["cwd", "status"]):
        if str(project) in (process.info["cwd"] or "") and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_failed_seed_is_named_and_a_repeat_runs_it_alone(project, where, prefect_api):
    from pipelines.leaderboard import LeaderboardError, leaderboard
    from pipelines.search import search

    (where / "broken-2").touch()
    with pytest.raises(LeaderboardError, match=r"(?s)seed 2: .*no such luck"):
        leaderboard(root=project)
    page = project / "reports/leaderboard/index.html"
    assert "seed 2: failed" in page.read_text() and "on this protocol" in page.read_text()
    ran = (where / "ran").read_text().splitlines()
    assert ran[:2] == ["train gr 1", "train lightgbm 1"] and not any("abtest" in line for line in ran)

    (where / "broken-2").unlink()
    (where / "ran").unlink()
    held, busy = (
        pytest.raises(WorkspaceHeldError, match="queue is held by search one"),
        (project, "search one", 0, print),
    )
    with hold_experiments(*busy), held:
        leaderboard(LeaderboardSettings(wait_s=0), project)
    shutil.copy(ROOT / "conf/search.yaml", project / "conf/search.yaml")
    with hold_experiments(*busy), held:
        search(SearchSettings(wait_s=0), project)
    (project / "conf/search.yaml").unlink()
    held, busy = pytest.raises(WorkspaceHeldError, match="workspace is held by a daily"), (project, "a daily", 0, print)
    with hold(*busy), held:
        leaderboard(LeaderboardSettings(wait_s=0), project)
    assert leaderboard(root=project) == page and not git_status(project)
    assert (where / "ran").read_text().splitlines() == ["train gr 2", "train lightgbm 2"]
    result = json.loads((project / "reports/leaderboard/metrics.json").read_text())
    assert (result["seeds"], result["missing"], result["winners"]["mae_s"]["model"]) == ([1, 2], [], "lightgbm")

    (where / "ran").unlink()
    run = names(project)[0].removesuffix("-seed1")
    note(project, run, "its process died")
    leaderboard(root=project)
    assert not (where / "ran").exists()
    assert newest_run().name == run
    found = artifacts_of(newest_run())
    assert '"model": "lightgbm", "mae_s": ' in found["table"].data and "its process died" in found["run"].data
    assert f"]({(project / 'reports/leaderboard/index.html').as_uri()})" in found["reports"].data


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_stop_leaves_no_process_and_the_run_can_be_queued_again(project, where):
    (where / "slow").touch()
    enqueue(project, "slow-one", ["models=[gr]", "train.common.seed=1"], "evaluate")
    enqueue(project, "slow-one", ["models=[gr]", "train.common.seed=1"], "evaluate")  # it waits: not queued twice
    assert list(statuses(project).items()) == [("slow-one", "Queued")]
    with pytest.raises(CommandTimeoutError):
        run_queue(project, lambda line: None, timeout_s=15)
    assert (where / "ran").read_text().splitlines() == ["train gr 1"]
    assert not sleepers(project)

    (where / "slow").unlink()
    wait_until(lambda: not has_worker(project))
    assert statuses(project)["slow-one"] == FAILED
    enqueue(project, "slow-one", ["models=[gr]", "train.common.seed=1"], "evaluate")
    run_queue(project, lambda line: None, timeout_s=120)
    assert set(finished(project)) == {"slow-one"}


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_cancel_leaves_nothing_of_the_queue_within_ten_seconds(project, where, prefect_api):
    """The worker of the service says SIGTERM to the flow's process."""
    from prefect.settings import PREFECT_API_URL

    (where / "slow").touch()
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    with subprocess.Popen([sys.executable, "-c", LEADERBOARD, str(project)], env=environment) as flow:
        wait_until(lambda: sleepers(project), 120)
        assert has_worker(project)
        flow.terminate()
        wait_until(lambda: not works_in(project), 10, "everything that works in the project to end")
    (where / "slow").unlink()
    assert not git_status(project)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_run_whose_worker_died_counts_as_failed(project, where):
    (where / "slow").touch()
    enqueue(project, "lost", ["models=[gr]"], "evaluate")
    subprocess.run(["dvc", "queue", "start"], cwd=project, check=True, stdout=subprocess.DEVNULL)
    wait_until(lambda: sleepers(project))
    waiting = sleepers(project)
    above = {each for process in waiting for each in process.parents() if each.pid > 1 and str(project) in each.cwd()}
    # The worker, what runs the stage, and the stage: oldest first, so that none is left to say how the others ended.
    for process in sorted({*waiting, *above}, key=lambda each: each.create_time()):
        with contextlib.suppress(psutil.NoSuchProcess):  # some end with what they wait for
            process.kill()
    wait_until(lambda: not has_worker(project))
    assert statuses(project)["lost"] == "Running"
    clear_dead(project)
    assert statuses(project)["lost"] == FAILED


def test_a_name_holds_code_overrides_and_data(project, tmp_path):
    before = names(project)
    assert names(project) == before and before[0].startswith("leaderboard-generated-")
    assert before[0].endswith("-seed1") and before[0] != before[1]
    assert names(project, None, "train.common.seed=5") != before
    log = tmp_path / "log.csv"
    log.write_text("a")
    with_data = names(project, str(log))
    assert with_data[0].startswith("leaderboard-kuairand_time-")
    log.write_text("ab")
    assert names(project, str(log)) != with_data
    (project / "params.yaml").write_text("composed: anew\n")
    assert names(project) == before
    (project / "dvc.yaml").write_text((project / "dvc.yaml").read_text() + "# another line\n")
    assert names(project) != before


def test_overrides_hold_the_seed_of_every_stage_that_has_one_and_an_absolute_path(project, tmp_path, monkeypatch):
    (tmp_path / "my log").mkdir()
    monkeypatch.chdir(tmp_path)
    config = read_config(project)
    first = experiments(project, config, plan_of(project, config, "kuairand_time", ["a.b=1"]), "my log")[0]
    assert first.overrides == [
        "models=[gr,lightgbm]", "a.b=1", f"ingest.path='{tmp_path}/my log'", "train.common.seed=1", "finetune.seed=1"
    ]  # fmt: skip
    with pytest.raises(FileNotFoundError, match="nothing: no such file or folder"):
        experiments(project, config, plan_of(project, config, "kuairand_time", []), "nothing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1, 1]}, "repeat"),
        ({"models": ["lightgbm"]}, "gr is missing"),
        ({"sedes": [1]}, "sedes: Extra inputs"),
        ({"replicates": 5}, "replicates: Input should be greater"),
        ({"protocol": "other"}, "'other' is not among protocols: generated, kuairand_time"),
    ],
)
def test_a_mistake_in_the_configuration_names_file_and_key(project, change, message):
    path = project / "conf/leaderboard.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises(ValueError, match=rf"(?s)conf/leaderboard.yaml.*{message}"):
        read_config(project)


def test_a_protocol_that_is_none_or_reads_no_data_is_refused(project):
    config = read_config(project)
    with pytest.raises(ValueError, match="unknown protocol 'kuairand'; there are generated, kuairand_time"):
        config.choose("kuairand", True)
    with pytest.raises(ValueError, match="reads no data"):
        config.choose("generated", True)
