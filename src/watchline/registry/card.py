"""The model card of a version, as Markdown in git: what it is, what it was judged by, how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_CARD = """# v{version}: {model}

| | |
|---|---|
| method | `{method}` |
| ranks by | {statistic} |
| eval days | {first} to {last} |
| promoted | {at} |
| code | {commit} |
| in place of | {predecessor} |
| SHA-256 of the files | `{digest}` |
| SHA-256 of params.yaml | `{params}` |

{verdict}

Reason given: {reason}

## Use

Predicts the watch time of exposures of the feature table it was fitted on: the mean and the median in seconds, and the
expected rank among training labels. `watchline.registry.load("v{version}")` gives the model; its files are tracked by
`registry/models/v{version}.dvc`. Lift is of a simulation: it says how the model ranks in that environment, not what
users will do. Metrics are of the eval days alone.

## Metrics

| metric | value |
|---|---|
{metrics}

## Reasons

| check | holds | found | rule |
|---|---|---|---|
{checks}

## Outputs it came from (DVC)

{outputs}
"""


def card_of(values: Mapping[str, Any], checks: Sequence[Mapping[str, str]]) -> str:
    """The card of an entry's `values`, with the gate's checks."""
    before = values["predecessor"]
    return _CARD.format(
        **{key: values[key] for key in ("version", "model", "method", "at", "digest")},
        reason=_cell(values["reason"]),
        statistic=values["statistic"].replace("_", " "),
        first=values["window"]["eval_first"],
        last=values["window"]["eval_last"],
        commit=f"`{values['commit']}`" if values["commit"] else "not known",
        predecessor="nothing" if before is None else f"v{before}",
        params=values["lock"]["params"],
        verdict=values["verdict"]["text"],
        metrics="\n".join(f"| {key} | {_number(value)} |" for key, value in values["metrics"].items()),
        checks="\n".join(_row(check) for check in checks),
        outputs="\n".join(f"- `{path}`: `{md5}`" for path, md5 in values["lock"]["outputs"].items())
        or "None recorded.",
    )


def _row(check: Mapping[str, str]) -> str:
    holds = {"pass": "yes", "fail": "no", "info": "-"}[check["status"]]
    return f"| {check['name']} | {holds} | {_cell(check['found'])} | {_cell(check['rule'])} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.5g}"
