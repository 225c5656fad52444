"""How long a fit took. Seconds are of a machine, so they are no output of a stage: they lie beside the checkpoints.

A fit's timing is found again by the metrics that the stage wrote for it, which only an equal fit repeats: also where
DVC brings the stage's outputs back instead of running it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from watchline.training.distributed import Processes


@dataclass(frozen=True)
class Timing:
    """Wall seconds of a fit, its training rows, these over seconds, and what it ran on.

    `device` as torch names its type; `processes` times `threads` worked on it; `resumed`: a checkpoint was rejoined, so
    that the seconds are those of the last part.
    """

    seconds: float
    rows: int
    rows_per_s: float
    device: str
    processes: int
    threads: int
    resumed: bool


def timing_of(seconds: float, rows: int, processes: Processes, threads: int, resumed: bool) -> Timing:
    """The timing of a fit of `rows` that took `seconds` above 0."""
    return Timing(seconds, rows, rows / seconds, processes.device.type, processes.world_size, threads, resumed)


def write_timing(runs: Path, model: str, metrics_path: Path, timing: Timing) -> None:
    """Keep the timing of the fit whose metrics are in `metrics_path`; one that was not resumed is not replaced by one
    that was."""
    known = read_timing(runs, model, metrics_path)
    if known is not None and timing.resumed and not known.resumed:
        return
    path = _path(runs, model, metrics_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(timing)) + "\n", encoding="utf-8")
    partial.replace(path)


def read_timing(runs: Path, model: str, metrics_path: Path) -> Timing | None:
    """What `write_timing` kept; None where the fit was not timed on this machine.

    Raises ValueError naming a file that holds something else.
    """
    path = _path(runs, model, metrics_path)
    if not path.is_file():
        return None
    try:
        return Timing(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: not the timing of a fit ({error}); remove it") from None


def _path(runs: Path, model: str, metrics_path: Path) -> Path:
    digest = hashlib.blake2b(metrics_path.read_bytes(), digest_size=8).hexdigest()
    return runs / "timings" / f"{model}-{digest}.json"
