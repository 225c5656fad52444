"""The flows that run the line: `run` with any overrides, `daily` on the newest complete day, `backfill` on a range.

dvc.yaml stays the only DAG: a flow walks its stages in order, each a task. No postponed annotations here: Prefect loads
this file by its path and reads the types of the flows' parameters.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, timedelta
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from pipelines.artifacts import name_flow_run, only_said, show
from pipelines.experiments import finished
from pipelines.gate import is_owed
from pipelines.line import Plan, identity_of, newest_day, run_line, window_end
from pipelines.params import compose_params
from pipelines.push import PushError, push_records, push_registry
from pipelines.settings import BackfillSettings, DailySettings, RunSettings, Settings
from pipelines.stage import StageResult
from pipelines.workspace import hold

ROOT = Path(__file__).resolve().parent.parent
# What became of a day of a backfill.
RAN, RECORDED, NOT_PUSHED = "ran", "recorded before", "ran, not on the remote"
PUSHED, NOT_REACHED = "ran, pushed at the end", "not recorded"

WHERE = "each day is a DVC experiment: `dvc exp show` lists them, `dvc exp apply NAME` brings one back"


@flow(name="run", log_prints=True)
def run(settings: RunSettings = RunSettings(), root: Path = ROOT) -> list[StageResult]:  # noqa: B008
    """Run the line once, up to any stage and with any overrides; a stage that DVC has cached is done at once.

    Args:
        settings: what to run, and where its result goes
        root: project folder
    """
    plan = Plan("run", settings, settings.all_overrides, settings.target)
    with held(root, "run", settings) as named:
        return run_line(root, plan, named)


@flow(name="daily", log_prints=True)
def daily(settings: DailySettings = DailySettings(), root: Path = ROOT) -> list[StageResult]:  # noqa: B008
    """Advance the window to the newest complete day of the source, run the whole line, ask the gate.

    Args:
        settings: overrides, and where the result goes
        root: project folder
    """
    with held(root, "daily", settings) as named:
        day = newest_day(root, settings.all_overrides)
        return run_line(root, plan_of(settings, day), named)


@flow(name="day", log_prints=True)
def one_day(settings: BackfillSettings, day: date, root: Path) -> list[StageResult]:
    """One day of a backfill, which holds the workspace: the run that `daily` would have made on that day."""
    return run_line(root, plan_of(settings, day), lambda _: None)


@flow(name="backfill", log_prints=True)
def backfill(settings: BackfillSettings = BackfillSettings(), root: Path = ROOT) -> dict[str, str]:  # noqa: B008
    """Run a range of days in order. Days that are recorded are skipped, so that a repeat goes on where one ended.

    Where that was between a day's record and its verdict, the day runs once more, all stages cached, and is judged.

    A remote that does not take a day does not stop the others: they are recorded here, and everything that the remotes
    lack is pushed at the end. Raises StageError of the first stage that fails, PushError when copies are still missing.

    Args:
        settings: the range, overrides, and where the results go
        root: project folder
    """
    with held(root, "backfill", settings) as named:
        days = days_of(root, settings)
        name = f"backfill-{days[0]}-to-{days[-1]}-{settings.experiment}"
        named(name)
        name_flow_run(name)
        results = dict.fromkeys(map(str, days), NOT_REACHED)
        try:
            for day in days:
                results[str(day)] = fill(settings, day, root, may_push=NOT_PUSHED not in results.values())
                print(f"{day}: {results[str(day)]}")
            if settings.push and set(results.values()) != {RAN}:
                push_records(root, [name_of(root, settings, day) for day in days], settings.branch_or_none)
                if settings.gate:
                    push_registry(root)
                results = {day: PUSHED if result == NOT_PUSHED else result for day, result in results.items()}
        finally:
            table = [{"window ends": day, "result": result} for day, result in results.items()]
            counts = ", ".join(f"{count} {result}" for result, count in Counter(results.values()).items())
            print(f"{name}: {counts}")
            with only_said():
                show(root, name, [f"days: {counts}", WHERE], "index.html", table)
    return results


def fill(settings: BackfillSettings, day: date, root: Path, may_push: bool) -> str:
    """One day of a backfill unless it is recorded; what became of it. `may_push`: the remotes took what came before."""
    if not settings.redo and is_recorded(root, settings, day):
        return RECORDED
    try:
        one_day(settings.model_copy(update={"push": settings.push and may_push}), day, root)
    except PushError:  # the flow of the day says why; the record is safe here
        return NOT_PUSHED
    return RAN if may_push or not settings.push else NOT_PUSHED


def held(root: Path, kind: str, settings: Settings) -> AbstractContextManager[Callable[[str], None]]:
    """The workspace, held in the name of the present flow run."""
    keep_files = settings.record == "workspace"
    return hold(root, f"{kind} {flow_run.name}", settings.wait_s, print, keep_files, str(flow_run.id))


def plan_of(settings: DailySettings, day: date) -> Plan:
    """The run of one day, the same for `daily` and `backfill`."""
    return Plan("daily", settings, [*settings.all_overrides, window_end(day)], gate=settings.gate)


def days_of(root: Path, settings: BackfillSettings) -> list[date]:
    """The days of a backfill, oldest first; raises ValueError where the first is after the newest complete one."""
    last = settings.last or newest_day(root, settings.all_overrides)
    first = settings.first or last - timedelta(days=settings.days - 1)
    if first > last:
        raise ValueError(f"first {first} is after the newest complete day of the source, {last}")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def is_recorded(root: Path, settings: DailySettings, day: date) -> bool:
    """Whether that day has a result with the present code and parameters, and its run is owed no verdict."""
    name = name_of(root, settings, day)
    return name in finished(root) and not (settings.gate and is_owed(root, name))


def name_of(root: Path, settings: DailySettings, day: date) -> str:
    """Name of the day's run with the present code and parameters."""
    plan = plan_of(settings, day)
    params = compose_params(root, plan.overrides, root / "runs/workspace/params.yaml")
    return identity_of(root, plan, params).name
