"""Steps of a promotion as programs, which `python -m pipelines promote` and `rollback` call from the project's root:

PYTHONPATH=src python -m watchline.registry arms --models models --comparison runs/promote
PYTHONPATH=src python -m watchline.registry judge --comparison runs/promote --reports reports
PYTHONPATH=src python -m watchline.registry keep | record | previous | rollback | history
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from watchline.config import ConfigError, parse
from watchline.registry.arms import Arms, choose_arms
from watchline.registry.evidence import Evidence, Reference, read_evidence, read_reference
from watchline.registry.gate import GateConfig, Judgement, judge
from watchline.registry.history import read_history
from watchline.registry.loading import FOLDER
from watchline.registry.page import HISTORY, history_page, taken_back_page, unchanged_page, verdict_page
from watchline.registry.store import keep, previous_version, read_verdict, record, roll_back
from watchline.report import write_json

ARMS, VERDICT = "arms.json", "verdict.json"


def main(argv: list[str] | None = None) -> None:
    """Run one step; the last line of its output is its answer."""
    given = _parser().parse_args(argv)
    commands = {
        "arms": _arms,
        "judge": _judge,
        "keep": _keep,
        "record": _record,
        "previous": lambda given: print(f"v{previous_version(given.registry).version}"),
        "rollback": _rollback,
        "history": lambda given: None,
    }
    commands[given.step](given)
    if given.step in ("judge", "record", "rollback", "history"):
        history_page(read_history(given.registry)).write(given.report / HISTORY)


def read_gate_config(path: Path) -> GateConfig:
    """The thresholds; raises ConfigError naming file, key, rule and value."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; the gate's thresholds are in conf/promote.yaml")
    return parse(GateConfig, yaml.safe_load(path.read_text(encoding="utf-8")), str(path))


def _arms(given: argparse.Namespace) -> None:
    config = read_gate_config(given.config)
    candidate = given.candidate or config.candidate
    arms = choose_arms(given.models, candidate, config.baseline, given.registry, given.against, given.again)
    arms.write(given.comparison / ARMS)
    print(f"{arms.candidate} against {arms.label or 'nothing'}")


def _judge(given: argparse.Namespace) -> None:
    """Write verdict.json and the page."""
    arms, config = Arms.read(given.comparison / ARMS), read_gate_config(given.config)
    if arms.unchanged or arms.taken_back:
        page = taken_back_page(arms) if arms.taken_back else unchanged_page(arms.candidate, arms.label)
        assert page.verdict is not None
        verdict = asdict(arms) | {"status": page.verdict.status, "text": page.verdict.text, "checks": []}
    else:
        evidence = read_evidence(arms.candidate, given.reports, given.comparison)
        reference = None
        if arms.reference:
            known = arms.label, arms.judged_until, given.comparison
            reference = read_reference(*known, config.slices, config.replicates)
        judgement = judge(evidence, reference, config)
        page = verdict_page(judgement, evidence, reference, config)
        verdict = asdict(arms) | _as_json(judgement, evidence, reference)
        verdict["statistic"] = given.statistic
    write_json(given.report / VERDICT, verdict)
    page.write(given.report / "index.html")
    print(verdict["text"])


def _as_json(judgement: Judgement, evidence: Evidence, reference: Reference | None) -> dict[str, Any]:
    first, last = evidence.windows["candidate"]
    measured = {key: getattr(evidence.measured, key) for key in ("mae_s", "rmse_s", "xauc", "calibration")}
    lift = reference.test.lift if reference else None
    return {
        **asdict(judgement),
        "window": {"eval_first": first, "eval_last": last},
        "metrics": measured | ({"lift": lift.value, "lift_low": lift.low, "lift_high": lift.high} if lift else {}),
        "evidence": asdict(evidence),
        "compared": asdict(reference) if reference else None,
    }


def _keep(given: argparse.Namespace) -> None:
    print(f"v{keep(read_verdict(given.report / VERDICT), given.models, given.registry)}")


def _record(given: argparse.Namespace) -> None:
    verdict = read_verdict(given.report / VERDICT)
    entry = record(verdict, given.registry, given.version, given.note, given.commit, Path())
    print(f"v{entry.version} ({entry.model}) is in production")


def _rollback(given: argparse.Namespace) -> None:
    entry = roll_back(given.registry, given.note, given.commit)
    print(f"v{entry.version} ({entry.model}) is in production again")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m watchline.registry", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("step", choices=["arms", "judge", "keep", "record", "previous", "rollback", "history"])
    parser.add_argument("--registry", type=Path, default=FOLDER)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    parser.add_argument("--comparison", type=Path, default=Path("runs/promote"))
    parser.add_argument("--report", type=Path, default=Path("reports/promote"))
    parser.add_argument("--config", type=Path, default=Path("conf/promote.yaml"))
    parser.add_argument("--candidate", help="folder of models/; none: that of the configuration")
    parser.add_argument("--against", choices=["production", "baseline"], default="production")
    parser.add_argument(
        "--again", action=argparse.BooleanOptionalAction, default=True, help="judge what a rollback took back too"
    )
    parser.add_argument("--statistic", default="mean", help="what the candidate ranks by")
    parser.add_argument("--version", type=int, help="what `keep` answered")
    parser.add_argument("--note", default="", help="why, for the history")
    parser.add_argument("--commit", help="git commit of the code")
    return parser


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # the message alone is the answer
        sys.exit(f"error: {error}")
