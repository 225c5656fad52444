"""The embedded generator beside the real excerpt, and what writing a large log costs.

    python benchmarks/generator.py --raw ../shared/data/kuairand-pure-10d      # ten minutes; --quick for a million rows

Summaries (benchmarks/log_summaries.py) are taken of the excerpt and of generated logs: one of the excerpt's days and
rows, one of the default parameters. Where a summary moves with the size of the log, the first is held against the
excerpt, elsewhere the default one. `--pictures DIR` also draws both logs (docs/generator.md), `--table FILE` writes the
table as Markdown. Writing runs the stage ingest in a process of its own. The last line is one JSON object: figure ->
value, target, unit, better.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / "src")]

import polars as pl

from benchmarks.figures import Figure, report
from benchmarks.log_summaries import Summary, summarize
from pipelines.params import compose_params
from watchline.config import parse, read_params
from watchline.data.sources import kuairand
from watchline.data.sources.base import SourceTables
from watchline.data.synthetic import SyntheticConfig
from watchline.data.synthetic import source as synthetic

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 15.0  # percent
ROWS, QUICK_ROWS = 30_000_000, 1_000_000
BYTES_A_ROW = 40  # on disk, with room to spare


@dataclass(frozen=True)
class Log:
    """One log in memory."""

    exposures: pl.DataFrame
    users: pl.DataFrame
    videos: pl.DataFrame
    utc_offset_hours: int

    @classmethod
    def of(cls, tables: SourceTables) -> Log:
        """Every day of a source."""
        exposures = pl.concat([tables.exposures_of(day) for day in tables.days])
        return cls(exposures, tables.users, tables.videos, tables.utc_offset_hours)

    def summaries(self) -> list[Summary]:
        """Its summaries, in their fixed order."""
        return summarize(self.exposures, self.users, self.videos, self.utc_offset_hours)


@dataclass(frozen=True)
class Compared:
    """One summary of the excerpt, of a generated log of its size, and of the default one."""

    real: Summary
    same_size: float
    default: float

    @property
    def ratio(self) -> float:
        """Generated to real, at the size that the summary is held to."""
        return (self.same_size if self.real.scales else self.default) / self.real.value

    @property
    def percent_off(self) -> float:
        """Distance of the ratio from 1, in percent."""
        return 100.0 * abs(self.ratio - 1.0)


def main() -> None:
    """Compare, draw and write as asked; print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--raw", type=Path, help="folder or archive of KuaiRand-Pure; without it only writing is measured"
    )
    parser.add_argument("--quick", action="store_true", help=f"write {QUICK_ROWS:,} rows, to see that it runs")
    parser.add_argument("--no-writing", action="store_true", help="only compare")
    parser.add_argument("--pictures", type=Path, help="folder for the pictures of docs/generator.md")
    parser.add_argument("--table", type=Path, help="file for the table in Markdown")
    arguments = parser.parse_args()
    parts = []
    if arguments.raw:
        parts.append(lambda: _compare(arguments))
    if not arguments.no_writing:
        parts.append(lambda: measure_writing(QUICK_ROWS if arguments.quick else ROWS))
    report(parts)


def default_config() -> SyntheticConfig:
    """The generator's parameters as conf/ has them."""
    with tempfile.TemporaryDirectory() as scratch:
        params = read_params(compose_params(ROOT, [], Path(scratch) / "params.yaml"))
    return parse(SyntheticConfig, params["ingest"], "ingest")


def compare(real: Log, default: SyntheticConfig) -> tuple[list[Compared], Log]:
    """Every summary of both, and the generated log of the excerpt's size: its days, weekdays and rows."""
    days = real.exposures["date"]
    like_real = default.model_copy(
        update={"first_day": days.min(), "days": days.n_unique(), "exposures": len(real.exposures)}
    )
    same_size, by_default = (Log.of(synthetic.read(Path(), config)) for config in (like_real, default))
    values = zip(real.summaries(), same_size.summaries(), by_default.summaries(), strict=True)
    return [Compared(real_one, same.value, other.value) for real_one, same, other in values], same_size


def _compare(arguments: argparse.Namespace) -> dict[str, Figure]:
    config = kuairand.KuaiRandConfig(source="kuairand", path=str(arguments.raw))
    real = Log.of(kuairand.read(arguments.raw, config))
    compared, generated = compare(real, default_config())
    print_table(compared)
    if arguments.table:
        arguments.table.write_text(as_markdown(compared))
    if arguments.pictures:
        from benchmarks.generator_pictures import draw_all

        draw_all(real.exposures, generated.exposures, arguments.pictures)
    figures = {
        f"{one.real.group}: {one.real.name}": Figure(one.percent_off, TOLERANCE, "% off", "lower") for one in compared
    }
    beyond = sum(one.percent_off > TOLERANCE for one in compared)
    return figures | {"summaries beyond the tolerance": Figure(beyond, 0, f"of {len(compared)}", "lower")}


def print_table(compared: list[Compared]) -> None:
    """Real value, both generated values and the ratio, a line each."""
    print(f"{'summary':<78}{'real':>11}{'same size':>11}{'default':>11}{'ratio':>7}")
    for one in compared:
        name = f"{one.real.group}: {one.real.name}"
        print(f"{name:<78}{one.real.value:>11.4g}{one.same_size:>11.4g}{one.default:>11.4g}{one.ratio:>7.2f}")


def as_markdown(compared: list[Compared]) -> str:
    """The same table for a page; the value that the ratio is of stands alone."""
    lines = ["| of | summary | real | generated | ratio |", "|---|---|---|---|---|"]
    for one in compared:
        generated = one.same_size if one.real.scales else one.default
        mark = " \\*" if one.real.scales else ""
        lines.append(
            f"| {one.real.group} | {one.real.name}{mark} | {one.real.value:.4g} | {generated:.4g} | {one.ratio:.2f} |"
        )
    return "\n".join(lines) + "\n"


def measure_writing(rows: int) -> dict[str, Figure]:
    """Peak memory and speed of the stage ingest on the generator, in a fresh process and a temporary folder."""
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        rows = min(rows, shutil.disk_usage(work).free // 2 // BYTES_A_ROW)
        compose_params(ROOT, [f"ingest.exposures={rows}"], work / "params.yaml")
        paths = ["--raw", "generator", "--out", "data/ingest", "--report", "reports/ingest"]
        command = [sys.executable, "-m", "watchline.stages.ingest", *paths]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        began = time.perf_counter()
        subprocess.run(command, cwd=work, env=environment, check=True, stdout=sys.stderr)
        seconds = time.perf_counter() - began
        written = sum(path.stat().st_size for path in work.rglob("*.parquet"))
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9  # no other child was larger
    return {
        "rows written": Figure(rows, None, "rows"),
        "rows a second": Figure(rows / seconds, None, "rows/s"),
        "peak memory": Figure(peak_gb, 2.0, "GB", "lower"),
        "bytes a row on disk": Figure(written / rows, None, "bytes", "lower"),
    }


if __name__ == "__main__":
    main()
