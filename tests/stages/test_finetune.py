"""The finetune stage on a tiny folder, under torchrun and alone."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pipelines.params import compose_params
from tests.helpers.feature_table import write_feature_table
from watchline.data.splits import Window
from watchline.data.tables import read_days
from watchline.finetuning.loop import Finetuner
from watchline.models import load_model, model_module
from watchline.models.base import FitContext
from watchline.models.common import CommonConfig
from watchline.models.encoder import EncoderConfig
from watchline.stages import RankError
from watchline.stages.finetune import main

ROOT = Path(__file__).resolve().parents[2]
WINDOW = {"end": "2024-03-06", "eval_days": 1, "finetune_days": 2, "valid_days": 1, "train_days": 2}
GR = {"width": 16, "num_layers": 1, "num_heads": 2, "ffn_width": 32, "epochs": 2, "batch_size": 64}
PATHS = ["--model", "models/gr", "--features", "data/features"]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a feature table, a small trained GR model and params.yaml."""
    folder = tmp_path_factory.mktemp("line")
    columns = write_feature_table(folder / "data/features", days=6, rows_per_day=300)
    window = Window.model_validate(WINDOW)
    train, valid = (read_days(folder / "data/features/table", window.split_days(name)) for name in ("train", "valid"))
    module = model_module("gr")
    config = module.CONFIG.model_validate(GR)
    common = CommonConfig(num_threads=1, device="cpu", encoder=EncoderConfig(embedding_width=4, hidden_width=32))
    fit = module.fit(config, common, train, valid, columns, FitContext(progress=lambda line: None))
    fit.model.save(folder / "models/gr")
    return folder


@cache
def composed(method: str) -> dict[str, Any]:
    """The section as conf/ composes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = compose_params(ROOT, [f"finetune={method}"], Path(folder) / "params.yaml")
        return yaml.safe_load(path.read_text())["finetune"]


def write_params(folder: Path, window: dict[str, Any], changes: dict[str, Any]) -> None:
    params = composed(changes.get("method", "hd_pissa"))
    small = {"rank": 2, "batch_size": 20, "lr": 1e-3, "epochs": 2, "device": "cpu", **changes}
    params = params | {key: value for key, value in small.items() if key in params or key in changes}
    text = yaml.safe_dump({"window": {**WINDOW, **window}, "finetune": params})
    (folder / "params.yaml").write_text(text)


def run(folder: Path, out: str, program: list[str] | None = None, **changes: Any) -> subprocess.CompletedProcess[str]:
    write_params(folder, {}, changes)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    stage = program or ["-m", "watchline.stages.finetune"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, *stage, *PATHS, "--out", f"{out}/model", "--report", f"{out}/reports/finetune"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.fixture
def alone(line: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Run the stage in this process, without torchrun."""
    monkeypatch.chdir(line)
    threads = torch.get_num_threads()

    def call(out: str, window: dict[str, Any] | None = None, model: str = "models/gr", **changes: Any) -> None:
        write_params(line, window or {}, changes)
        main(["--model", model, *PATHS[2:], "--out", f"{out}/model", "--report", f"{out}/reports/finetune"])

    yield call
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def straight(line: Path) -> Path:
    """Outputs of one run on two processes."""
    result = run(line, "two")
    assert result.returncode == 0, result.stderr
    return line / "two"


def test_the_stage_writes_a_model_of_the_same_format_and_its_report(line: Path, straight: Path) -> None:
    assert {path.name for path in (straight / "model").iterdir()} == {p.name for p in (line / "models/gr").iterdir()}
    assert load_model(straight / "model").name == "gr"
    metrics = json.loads((straight / "reports/finetune/metrics.json").read_text())
    assert metrics["method"] == "hd_pissa"
    assert metrics["rows"]["train"] + metrics["rows"]["held_out"] == 600
    assert metrics["rows"]["held_out"] == 120
    assert metrics["steps"]["kept"] > 0
    assert metrics["after"]["loss"] < metrics["before"]["loss"]
    with (straight / "reports/finetune/curves.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert next(iter(rows[0])) == "step"
    assert float(rows[-1]["step"]) == metrics["steps"]["last"]
    assert "Singular spectrum" in (straight / "reports/finetune/index.html").read_text()


def test_one_process_gives_the_same_bytes_as_two(line: Path, straight: Path, alone: Callable[..., None]) -> None:
    alone("one", num_processes=1)
    assert contents(line / "one") == contents(straight)


@pytest.mark.parametrize("method", ["lora", "pissa", "full"])
def test_every_method_gives_a_model_of_the_same_format_and_the_same_bytes_on_one_and_two_processes(
    line: Path, alone: Callable[..., None], method: str
) -> None:
    result = run(line, f"{method}-two", method=method)
    assert result.returncode == 0, result.stderr
    alone(f"{method}-one", method=method, num_processes=1)
    one, two = contents(line / f"{method}-one"), contents(line / f"{method}-two")
    assert one == two
    tuned, trained = load_model(line / f"{method}-two/model"), load_model(line / "models/gr")
    before, after = trained.network.state_dict(), tuned.network.state_dict()
    assert before.keys() == after.keys()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    if method == "full":
        assert any("embedding" in name for name in moved) and any(name.endswith("bias") for name in moved)
    else:
        assert moved and all("layers" in name and name.endswith("weight") for name in moved)
    metrics = json.loads((line / f"{method}-two/reports/finetune/metrics.json").read_text())
    assert metrics["method"] == method
    assert metrics["after"]["loss"] < metrics["before"]["loss"]
    ranks = {"lora": 2, "pissa": 4, "full": 32}
    assert metrics["update"]["highest_rank"] <= ranks[method]


CONTENDERS = {"lora": {"method": "lora"}, "lora 8": {"method": "lora", "rank": 8}, "mean": {"reduce": "mean"}}


def test_contenders_are_set_side_by_side(line: Path, straight: Path, alone: Callable[..., None]) -> None:
    alone("compared", comparison={"contenders": CONTENDERS, "num_seeds": 2}, num_processes=1)
    assert contents(line / "compared/model") == contents(straight / "model")
    metrics = json.loads((line / "compared/reports/finetune/metrics.json").read_text())
    assert set(metrics["methods"]) == {"hd_pissa", *CONTENDERS}
    ours = metrics["methods"]["hd_pissa"]
    either_seed = [pytest.approx(ours["loss"] + sign * ours["loss_sd"] / 2**0.5) for sign in (-1, 1)]
    assert metrics["after"]["loss"] in either_seed
    page = (line / "compared/reports/finetune/index.html").read_text()
    for words in ("Methods side by side", "Singular spectrum by method", "lora 8", "total rank", "rate"):
        assert words in page


def test_a_comparison_killed_and_repeated_in_another_order_gives_every_setting_its_own_figures(
    line: Path, alone: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_step = Finetuner._step

    def killed_in_the_last_contender(self: Finetuner) -> None:
        if getattr(self.config, "reduce", None) == "mean":
            raise KeyboardInterrupt
        plain_step(self)

    def run_all(out: str, contenders: dict[str, Any]) -> dict[str, Any]:
        alone(out, comparison={"contenders": contenders, "num_seeds": 2}, num_processes=1, lr=2e-3, epochs=1)
        return json.loads((line / out / "reports/finetune/metrics.json").read_text())

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Finetuner, "_step", killed_in_the_last_contender)
        run_all("repeated", CONTENDERS)
    capsys.readouterr()
    repeated = run_all("repeated", dict(reversed(CONTENDERS.items())))
    assert capsys.readouterr().out.count("finetune: lora") == 0  # done before, not done again
    assert repeated == run_all("uninterrupted", CONTENDERS)


@pytest.mark.parametrize("key", ["holdout_share", "num_processes", "comparison"])
def test_a_contender_cannot_change_what_all_share(alone: Callable[..., None], key: str) -> None:
    with pytest.raises(RankError, match=rf"contenders\.other\.{key}: the same for all that are compared"):
        alone("wrong", comparison={"contenders": {"other": {key: 0.5}}})


def test_a_wrong_contender_is_named(alone: Callable[..., None]) -> None:
    with pytest.raises(RankError, match=r"comparison\.contenders\.wide\.rank: Input should be .* got 0"):
        alone("wrong", comparison={"contenders": {"wide": {"method": "lora", "rank": 0}}})


def test_a_killed_rank_ends_the_stage_and_the_repeat_gives_the_same_bytes(
    line: Path, straight: Path, alone: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Rank 1 dies after the second checkpoint; what was done until then is not done again."""
    killed = run(line, "killed", program=[str(ROOT / "tests/helpers/finetune_killed.py"), "7"])
    assert time.time() - (line / "killed_at").stat().st_mtime < 30
    assert killed.returncode != 0
    assert "rank" in killed.stderr and "Signal 9 (SIGKILL)" in killed.stderr
    assert not (line / "killed/model").exists()

    alone("killed", num_processes=1)
    assert "continuing from step 6 of" in capsys.readouterr().out
    assert contents(line / "killed") == contents(straight)
    assert not list((line / "runs/finetune").glob("*/step-*"))


def test_over_rank_ends_every_rank_with_its_number_and_what_to_do(line: Path) -> None:
    result = run(line, "over", rank=64)
    assert result.returncode != 0
    for rank in (0, 1):
        assert f"error: finetune, rank {rank} of 2: num_slices * rank = 4 * 64 = 256 exceeds" in result.stderr
    assert not (line / "over").exists()


@pytest.mark.parametrize(
    ("window", "changes", "message"),
    [
        ({"end": "2024-03-09"}, {}, "no file for 2024-03-07, 2024-03-08"),
        ({}, {"num_slices": 3}, "num_processes=2 must divide num_slices=3"),
        ({}, {"targets": ["*.q", "no_such_layer"]}, "target 'no_such_layer': it matches no module"),
    ],
)
def test_wrong_parameters_end_with_one_clear_error(
    line: Path, alone: Callable[..., None], window: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RankError, match=re.escape(message)):
        alone("wrong", window, **changes)
    assert not (line / "wrong").exists()


def test_without_finetune_days_there_is_a_page_and_no_model(line: Path, alone: Callable[..., None]) -> None:
    alone("none", {"finetune_days": 0})
    assert [path.name for path in (line / "none/model").iterdir()] == ["skipped.json"]
    assert "window.finetune_days is 0" in (line / "none/reports/finetune/index.html").read_text()
    assert (line / "none/reports/finetune/curves.csv").read_text().startswith("step,")


def test_a_missing_model_is_an_error_that_names_it(alone: Callable[..., None]) -> None:
    with pytest.raises(RankError, match=r"models/other/model.json: no such file"):
        alone("wrong", model="models/other")


def test_metrics_of_a_model_of_the_watch_ratio_are_those_of_watch_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = write_feature_table(tmp_path / "data/features", days=6, rows_per_day=150)
    window = Window.model_validate(WINDOW)
    tables = [read_days(tmp_path / "data/features/table", window.split_days(name)) for name in ("train", "valid")]
    vocabulary = {"unit_s": 0.01, "cap_s": 30.0}
    config = model_module("gr").CONFIG.model_validate({**GR, "label_per": "duration_s", "vocabulary": vocabulary})
    common = CommonConfig(num_threads=1, device="cpu", encoder=EncoderConfig(embedding_width=4, hidden_width=32))
    fit = model_module("gr").fit(config, common, *tables, columns, FitContext(progress=lambda line: None))
    fit.model.save(tmp_path / "models/gr")
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, {}, {"epochs": 1})
    main([*PATHS, "--out", "out/model", "--report", "out/reports/finetune"])
    before = json.loads((tmp_path / "out/reports/finetune/metrics.json").read_text())["before"]
    with (tmp_path / "out/reports/finetune/curves.csv").open() as stream:
        first = next(csv.DictReader(stream))
    held_out = read_days(tmp_path / "data/features/table", window.split_days("finetune"))
    assert before["mae_s"] == pytest.approx(float(first["held_out_mae_s"]), rel=1e-6)
    assert before["xauc"] == pytest.approx(float(first["held_out_xauc"]), rel=1e-6)
    assert before["mae_s"] < (held_out["watch_time_s"] - held_out["watch_time_s"].median()).abs().mean() * 1.2
