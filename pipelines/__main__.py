"""Command line of the flows: `python -m pipelines COMMAND`. The Makefile's targets call it."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel

ROOT = Path(__file__).resolve().parent.parent
FLOWS = {  # command -> the module under pipelines/ that has the flow of that name, help
    "run": ("flow", "run the line once, any overrides, any target"),
    "daily": ("flow", "the whole line on the newest complete day"),
    "backfill": ("flow", "a range of days, oldest first"),
    "leaderboard": ("leaderboard", "methods x seeds of a protocol through DVC's experiment queue"),
    "search": ("search", "settings of every method on a protocol's validation days"),
    "promote": ("promote", "judge a candidate by the gate; it becomes production if it passes"),
    "rollback": ("promote", "the version before the present one becomes production again"),
}
POSITIONAL = {"run": "overrides", "daily": "overrides", "backfill": "overrides", "promote": "candidate"}


class RefusedError(RuntimeError):
    """The gate does not let a candidate through."""


def configure_environment(root: Path, api_port: int | None = None) -> None:
    """Keep Prefect's state inside the project and off the network; must run before prefect is imported.

    With `api_port` flows report to the server there (the UI needs its own address when the port is not 4200).
    """
    os.environ.setdefault("PREFECT_HOME", str(root / ".prefect"))
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "240")  # 20 is short on a busy machine
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if api_port is not None:
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{api_port}/api"
        os.environ["PREFECT_SERVER_UI_API_URL"] = os.environ["PREFECT_API_URL"]
        os.environ["PREFECT_SERVER_UI_V2_ENABLED"] = "false"  # it calls a host on the internet from the browser
        os.environ["PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT"] = "false"


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipelines", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    params = commands.add_parser("params", help="compose params.yaml from conf/")
    params.add_argument("overrides", nargs="*", help="Hydra overrides, for example train.gr.width=128")
    for name, (_, text) in FLOWS.items():
        add_settings(commands.add_parser(name, help=text), name)
    ui = commands.add_parser("ui", help="Prefect server, worker, deployments and report server")
    ui.add_argument("--port", type=int, default=4200)
    ui.add_argument("--reports-port", type=int, default=4201)
    commands.add_parser("ui-down", help="stop what `ui` started")
    arguments = parser.parse_args(argv)

    configure_environment(ROOT, arguments.port if arguments.command == "ui" else find_service(ROOT))
    if arguments.command == "params":
        from pipelines.params import compose_params

        print(f"composed {compose_params(ROOT, arguments.overrides).name} from conf/")
    elif arguments.command in FLOWS:
        from pipelines.workspace import marked

        with marked(ROOT):  # Prefect's temporary server, too, ends where this process is killed
            return _told(arguments.command, lambda: _passed(run_flow(arguments)))
    elif arguments.command == "ui":
        from pipelines.service import up

        return _status(lambda: up(ROOT, arguments.port, arguments.reports_port))
    else:
        from pipelines.service import down

        print("stopped" if down(ROOT) else "no service of this project runs")
    return 0


def find_service(root: Path) -> int | None:
    """Port of the project's service, where it runs: a flow of the command line is then seen there, with its reports."""
    from pipelines.reports_server import REPORTS_URL
    from pipelines.service_lock import running

    service = running(root)
    if service is None:
        return None
    os.environ[REPORTS_URL] = service.reports
    return int(service.ui.rsplit(":", 1)[1])


def add_settings(command: argparse.ArgumentParser, name: str) -> None:
    """Options of a flow's settings; what is not given keeps the default of its model."""
    for key, field in settings_of(name).model_fields.items():
        option, common = "--" + key.replace("_", "-"), {"default": argparse.SUPPRESS, "help": field.description}
        if POSITIONAL.get(name) == key:
            command.add_argument(key, nargs="*" if key == "overrides" else "?", **common)
        elif key == "overrides":
            command.add_argument("-S", dest=key, nargs="+", action="extend", **common)
        elif field.annotation is bool:
            command.add_argument(option, dest=key, action=argparse.BooleanOptionalAction, **common)
        elif key == "models":
            command.add_argument(option, nargs="+", **common)
        elif key != "timeouts_s":  # a mapping: for the UI's form
            command.add_argument(option, dest=key, **common)


def settings_of(name: str) -> type[BaseModel]:
    """The model of a flow's settings."""
    from pipelines import settings

    return getattr(settings, f"{name.capitalize()}Settings")


def run_flow(arguments: argparse.Namespace) -> object:
    """Run a flow with the settings that were given."""
    module, _ = FLOWS[arguments.command]
    flow = getattr(importlib.import_module(f"pipelines.{module}"), arguments.command)
    return flow(settings_from(arguments.command, vars(arguments)))


def settings_from(name: str, given: dict[str, object]) -> BaseModel:
    """A flow's settings of what `add_settings` parsed; raises pydantic's ValidationError, which names the field."""
    model = settings_of(name)
    return model(**{key: value for key, value in given.items() if key in model.model_fields})


def _passed(verdict: object) -> None:
    """Raise for a verdict that is `fail`, so that scripts see it; a rollback gives a version."""
    if isinstance(verdict, dict) and verdict.get("status") == "fail":
        raise RefusedError(verdict["text"])


def _told(command: str, run: Callable[[], object]) -> int:
    """`_status` of a flow whose failure people are told of; where the service runs, that tells it."""

    def watched() -> None:
        try:
            run()
        except RefusedError:  # a verdict, of which the gate has told
            raise
        except Exception as error:
            from pipelines.notifications import tell_failure

            tell_failure(command, error)
            raise

    return _status(watched)


def _status(run: Callable[[], object]) -> int:
    try:
        run()
    except Exception as error:  # the flow has logged it; the exit status is what callers read
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
