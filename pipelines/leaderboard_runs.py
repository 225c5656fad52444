"""The experiments of a leaderboard, and the names by which a repeat knows them again."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.leaderboard_config import LeaderboardConfig


@dataclass(frozen=True)
class Experiment:
    """One run of the line: its seed, its name in DVC, and the Hydra overrides that make it."""

    seed: int
    name: str
    overrides: list[str]


def experiments(root: Path, config: LeaderboardConfig, plan: dict[str, Any], data: str | None) -> list[Experiment]:
    """An experiment a seed. Its name holds the code (HEAD and what is not committed), the overrides and the data.

    Raises FileNotFoundError for data that is not there.
    """
    shared = [f"models=[{','.join(config.models)}]", *plan["overrides"], *data_override(data)]
    mark = mark_of([code_of(root), shared], data)
    return [
        Experiment(
            seed,
            f"leaderboard-{plan['protocol']}-{mark}-seed{seed}",
            [*shared, f"train.common.seed={seed}", f"finetune.seed={seed}"],
        )
        for seed in config.seeds
    ]


def data_override(data: str | None) -> list[str]:
    """The override that names the log, by its absolute path; raises FileNotFoundError where there is none."""
    if data is None:
        return []
    source = Path(data).resolve()
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder; DATA is the published archive or its folder")
    return [f"ingest.path='{source}'"]


def mark_of(parts: list[Any], data: str | None) -> str:
    """Ten hexadecimal digits that change with `parts` (JSON) and with the files of the log."""
    stamped = [*parts, _stamp(Path(data).resolve() if data else None)]
    return hashlib.blake2b(json.dumps(stamped).encode(), digest_size=5).hexdigest()


def code_of(root: Path) -> list[str]:
    """What a queued experiment would run: the commit, and changes of tracked files (params.yaml is composed anew)."""
    ours = ["--", ".", ":!dvc.lock", ":!params.yaml"]
    return [
        subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout
        for words in (["rev-parse", "HEAD"], ["diff", "HEAD", "--binary", *ours])
    ]


def _stamp(source: Path | None) -> list[Any]:
    """Names, sizes and times of the files of a log: cheap, and other than before whenever they are written anew."""
    if source is None:
        return []
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
