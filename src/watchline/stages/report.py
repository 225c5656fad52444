"""The index page over everything that ran, with the run's verdict, and a card for each model.

Run by `dvc repro report`, or: python -m watchline.stages.report --reports reports --out reports/index.html
--cards reports/report/cards --summary reports/report/metrics.json
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from watchline.config import load_section, read_params
from watchline.data.splits import Window
from watchline.overview.card import FINETUNED, Subject, build_card
from watchline.overview.config import ReportConfig
from watchline.overview.index_page import build_page
from watchline.overview.reading import read_run
from watchline.overview.verdict import summarise
from watchline.report import Page, write_json
from watchline.stages import log, run_stage

PARAMS = Path("params.yaml")


def main(argv: list[str] | None = None) -> None:
    """Read every stage's metrics.json, write the index, its summary and the cards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("reports", "out", "cards", "summary"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    paths = parser.parse_args(argv)
    index, cards, summary = make_pages(paths.reports)
    write_json(paths.summary, summary)
    shutil.rmtree(paths.cards, ignore_errors=True)
    for name, card in cards.items():
        card.write(paths.cards / f"{name}.html")
    index.write(paths.out)
    log(f"{summary['verdict']['word']}. {summary['verdict']['text']}")


def make_pages(reports: Path, params_path: Path = PARAMS) -> tuple[Page, dict[str, Page], dict[str, Any]]:
    """The index, a card by model, and the summary, from the files in `reports` and params.yaml."""
    config = load_section(ReportConfig, "report", params_path)
    window = load_section(Window, "window", params_path)
    run = read_run(reports, load_section(list[str], "models", params_path))
    params = read_params(params_path)
    cards = {
        name: build_card(Subject(name, params_of(name, params)), run, window)
        for name in run.stages["evaluate"]["models"]
    }
    return build_page(run, config, window), cards, summarise(run.stages)


def params_of(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """The sections of params.yaml that made a model."""
    trained = "gr" if name == FINETUNED else name
    train = params.get("train", {})
    sections = {"window": params["window"], "train": {key: train[key] for key in ("common", trained) if key in train}}
    return sections | ({"finetune": params.get("finetune", {})} if name == FINETUNED else {})


if __name__ == "__main__":
    run_stage(main)
