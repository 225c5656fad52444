"""The UI in a real browser against the real service: clicks and typing as of a person, and what pages then show."""

import json
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from pipelines.service_lock import running
from pipelines.settings import Experiment, Record, RunSettings, Target
from tests.helpers.browser import Tab, browser, chromium, opened
from tests.helpers.daily_project import LINE, make_project
from tests.helpers.reader import WAIT_S, choose, click, field, see, thing, wait_for, words, write
from tests.helpers.service import Serving, lives, serving

PROGRAM = chromium()
pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(900),
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on the path"),
]
SLOW_TRAIN = """
    print("epoch 1 of 2", flush=True)
    while (where / "slow").exists():
        time.sleep(0.1)
    print("epoch 2 of 2", flush=True)
"""
STAGES = ["ingest", "train@gr", "evaluate", "report"]
START_S = 300.0
# What Prefect's pages say on their own: there are no such icons, no graphics card draws the line of time, and it is
# still drawn for a moment when its page has been left.
NOT_OURS = ("/favicon.ico", "/ico/", "WebGL", "Cannot read properties of null (reading 'position')")
ARTIFACT = "a[href*='/artifacts/artifact/'], .artifact-card *"
# Background of the mark with a task's state, by the task's name.
COLOURS = """Object.fromEntries([...document.querySelectorAll('.task-run-list-item')].map(item => [
    item.querySelector('a').innerText.trim(),
    getComputedStyle(item.querySelector('.state-badge')).backgroundColor.match(/[\\d.]+/g).map(Number)]))"""


@pytest.fixture(scope="module")
def where(tmp_path_factory) -> Path:
    """Where the stages look for what to do: a file `slow` makes train wait after its first epoch."""
    return tmp_path_factory.mktemp("where")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    root = make_project(tmp_path_factory.mktemp("browser") / "project", "2024-03-01")
    waits = LINE[LINE.index('    while (where / "slow")') : LINE.index('    if (where / "broken")')]
    (root / "line.py").write_text(LINE.replace(waits, SLOW_TRAIN.lstrip("\n")))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "commit", "-qam", "Train says its epochs"], cwd=root, check=True)
    return root


@pytest.fixture(scope="module")
def service(project: Path, where: Path, tmp_path_factory) -> Serving:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHERE", str(where))
        with serving(project, tmp_path_factory.mktemp("log") / "service.log") as service:
            until = time.monotonic() + 240
            while running(project) is None:
                assert time.monotonic() < until, "the service is not up"
                time.sleep(0.5)
            yield service


@pytest.fixture(scope="module")
def window() -> Tab:
    with browser(PROGRAM) as tab:
        yield tab


@pytest.fixture
def tab(window: Tab, service: Serving) -> Tab:
    """The browser at the service's address; pages must have no errors but Prefect's own, and stay on this machine."""
    window.visit(service.ui)
    yield window
    assert [problem for problem in window.problems if not any(each in problem for each in NOT_OURS)] == []
    local = (service.ui, service.reports, service.ui.replace("http", "ws"), "data:", "blob:")
    assert [url for url in window.requests if not url.startswith(local)] == []


def open_deployment(tab: Tab, name: str) -> None:
    """Its page, by way of the list; the first page may turn to the dashboard once more after a click has left it."""
    until = time.monotonic() + WAIT_S
    row = thing(name, "a[href*='/deployments/deployment/']")
    while not tab.run(f"location.pathname === '/deployments' && Boolean({row})"):
        assert time.monotonic() < until, "Deployments does not open"
        if tab.run(f"Boolean({thing('Not now')})"):  # Prefect's advertisement of its V2 UI takes the first click
            click(tab, thing("Not now"))
        if tab.run("location.pathname") != "/deployments":
            click(tab, thing("Deployments"))
        time.sleep(0.5)
    click(tab, row)
    see(tab, "Schedules")


def start(tab: Tab, kind: str) -> None:
    """Quick run or Custom run of the deployment whose page is open."""
    click(tab, thing("Run"))
    click(tab, thing(kind, "button, a, [class*=menu-item]"))


def see_table(tab: Tab, *rows: list[str]) -> None:
    """Wait until the page's table has these rows, cut to as many cells as the first is long."""
    cells = f"[...row.cells].slice(0, {len(rows[0])}).map(cell => cell.innerText.trim())"
    found = f"JSON.stringify([...document.querySelectorAll('tr')].map(row => {cells}))"
    wait_for(tab, f"{found} === {json.dumps(json.dumps(rows, separators=(',', ':')))}", f"the table {rows}")


def turn_to(tab: Tab, name: str) -> None:
    """Open a part of a run's page; a click that comes while the page is made anew is lost, so there may be a second."""
    until = time.monotonic() + WAIT_S
    while tab.run("document.querySelector('.p-tab__active')?.innerText") != name:
        assert time.monotonic() < until, f"{name} does not open"
        click(tab, thing(name, ".p-tab"))
        time.sleep(0.5)


def processes_in(folder: Path) -> list[psutil.Process]:
    """DVC and the stage's own programs: they run in the project's folder, the service and its flows do not."""
    found = []
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] == str(folder) and lives(process):
            found.append(process)
    return found


def test_deployments_are_listed_and_show_their_schedules(tab: Tab):
    click(tab, thing("Deployments"))
    see(tab, "7 Deployments", "backfill", "daily", "leaderboard", "promote", "rollback", "run", "search")
    schedules = {"daily": "At 05:00 AM", "run": "At 12:00 PM", "backfill": "only on Sunday", "leaderboard": "Friday"}
    for name, schedule in schedules.items():
        open_deployment(tab, name)
        see(tab, schedule)
        switch = "document.querySelector('[role=switch]')?.ariaChecked"
        wait_for(tab, f"{switch} === '{'true' if name == 'daily' else 'false'}'", f"the switch of {name}")


def test_a_custom_run_is_filled_in_and_watched_until_it_is_green(tab: Tab, where: Path):
    (where / "slow").touch()
    open_deployment(tab, "run")
    start(tab, "Custom run")
    see(tab, *(str(setting.description).replace("`", "") for setting in RunSettings.model_fields.values()))
    assert choose(tab, "Experiment", "none") == list(Experiment.__args__)
    assert choose(tab, "Record", "experiment") == list(Record.__args__)
    assert choose(tab, "Last stage", "evaluate") == list(Target.__args__)
    click(tab, thing("Add item"))
    write(tab, field("Overrides", "textarea"), "train.scale=3")
    click(tab, thing("Submit"))
    click(tab, thing("View run"))
    see(tab, "Running stage 'train@gr':", "epoch 1 of 2", seconds=START_S)
    assert "epoch 2 of 2" not in words(tab)
    turn_to(tab, "Task Runs")
    see(tab, "ingest\nCompleted", "train@gr\nRunning")
    (where / "slow").unlink()
    see(tab, "train@gr\nCompleted", "evaluate\nCompleted")
    colours = tab.run(COLOURS)
    assert set(colours) == {"ingest", "train@gr", "evaluate"}
    assert all(green > max(red, blue) for red, green, blue, *_ in colours.values())
    turn_to(tab, "Logs")
    see(tab, "epoch 1 of 2", "epoch 2 of 2", "Finished in state Completed")
    turn_to(tab, "Parameters")
    see(tab, '"train.scale=3"', '"target": "evaluate"')
    turn_to(tab, "Artifacts")
    see(tab, "stages", "metrics", "hashes", "run")
    assert "The pages of this run" not in words(tab)  # it ended before the stage `report`
    click(tab, thing("metrics", ARTIFACT))
    see(tab, "Models on the eval days")
    see_table(tab, ["model", "mae_s"], ["gr", str(3 * len("2024-03-01 "))])


def test_the_next_run_shows_what_was_cached_and_its_artifacts_lead_to_the_reports(tab: Tab, service: Serving):
    open_deployment(tab, "run")
    start(tab, "Quick run")
    click(tab, thing("View run"))
    see(tab, "Finished in state Completed()", seconds=START_S)
    turn_to(tab, "Task Runs")
    see(tab, "ingest\nCached", "train@gr\nCompleted", "evaluate\nCompleted", "report\nCompleted")
    turn_to(tab, "Artifacts")
    click(tab, thing("stages", ARTIFACT))
    see(tab, "Rows, seconds and peak memory of each stage")
    see_table(tab, ["stage", "result"], ["ingest", "cached"], *([stage, "ran"] for stage in STAGES[1:]))
    tab.run("history.back()")
    turn_to(tab, "Artifacts")
    click(tab, thing("run", ARTIFACT))
    see(tab, "git commit:", "record: DVC experiment", "overrides: none")
    tab.run("history.back()")
    turn_to(tab, "Artifacts")
    click(tab, thing("reports", ARTIFACT))
    click(tab, "[...document.querySelectorAll('a')].find(each => each.innerText.startsWith('Reports of run-'))")
    until = time.monotonic() + WAIT_S
    while (report := opened(tab, f"{service.reports}/index.html")) is None:
        assert time.monotonic() < until, "the link opens no tab with the index of the reports"
        time.sleep(0.2)
    see(report, '"mae_s": 11')


def test_the_button_cancel_leaves_no_process_of_the_stage(tab: Tab, where: Path, project: Path):
    (where / "slow").touch()
    open_deployment(tab, "run")
    start(tab, "Custom run")
    click(tab, thing("Add item"))
    write(tab, field("Overrides", "textarea"), "train.scale=5")
    click(tab, thing("Submit"))
    click(tab, thing("View run"))
    see(tab, "epoch 1 of 2", seconds=START_S)
    assert processes_in(project)
    click(tab, thing("Cancel"))
    see(tab, "Cancel Flow Run")
    click(tab, thing("Confirm"))
    pressed = time.monotonic()
    while left := processes_in(project):
        assert time.monotonic() - pressed < 10, left
        time.sleep(0.2)
    see(tab, "Cancelled", seconds=60)
    assert "epoch 2 of 2" not in words(tab)
    (where / "slow").unlink()
