"""Page, CSV and metrics.json of one protocol's runs; `make leaderboard` calls it after the runs.

PYTHONPATH=src python -m watchline.leaderboard --runs runs/leaderboard/kuairand_time --timings runs/train
--report reports/leaderboard
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from watchline.leaderboard.build import as_json, build, write_csv
from watchline.leaderboard.page import build_page
from watchline.report import write_json


def main(argv: list[str] | None = None) -> None:
    """Read the runs, write REPORT/{index.html, leaderboard.csv, metrics.json} and say who wins."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of one protocol, with its plan.json")
    parser.add_argument("--timings", type=Path, required=True, help="what the train stage had as --runs")
    parser.add_argument("--report", type=Path, required=True)
    paths = parser.parse_args(argv)
    board = build(paths.runs, paths.timings)
    write_json(paths.report / "metrics.json", as_json(board))
    write_csv(board, paths.report / "leaderboard.csv")
    build_page(board).write(paths.report / "index.html")
    for words in (*board.missing, *board.verdict):
        print(words.replace("`", ""), flush=True)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # the message alone is the answer
        sys.exit(f"error: {error}")
