"""recipes/llm_sft on a Llama of two layers, offline: it learns, by every method, the same on 1 and 2 processes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported
pytest.importorskip("transformers", reason="the recipe's models come from transformers")

from pipelines.params import compose_params
from tests.helpers.tiny_llm import TEMPLATE, all_pairs, make_model, make_tokenizer, pretrain, write_jsonl
from watchline.sft import evaluate, train
from watchline.sft.loop import Training
from watchline.stages import RankError

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/llm_sft"
NUM_TRAINED = 70  # of the 100 sums; the others are asked about
NO_LM_EVAL = "evaluation needs lm-evaluation-harness: make llm"
IN_BARE_WORDS = {"evaluate__chat_template": "false"}
SETTINGS = {
    "train.model.path": "base",
    "train.data.path": "data.jsonl",
    "train.device": "cpu",
    "train.precision": "fp32",
    "train.activation_checkpointing": "false",
    "train.sequence.length": "64",
    "train.sequence.template": json.dumps(TEMPLATE),
    "train.micro_batch_size": "8",
    "train.accumulation": "2",
    "train.epochs": "20",
    "train.lr": "1e-3",
    "train.checkpoint_every": "30",
    "train.tuner.num_slices": "2",
    "evaluate.tasks": "[held_out]",
    "evaluate.device": "cpu",
    "evaluate.precision": "fp32",
    "evaluate.batch_size": "32",
}


@pytest.fixture(scope="module", autouse=True)
def plain_torch_afterwards() -> Iterator[None]:
    """The stages fix threads and kernels of the process they run in."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained model, sums in words it has not seen, and other such sums as a task."""
    folder = tmp_path_factory.mktemp("llm_sft")
    torch.set_num_threads(1)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    pretrain(model, tokenizer, num_steps=300)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    write_jsonl(folder / "data.jsonl", all_pairs()[:NUM_TRAINED])
    write_jsonl(folder / "tasks/held_out.jsonl", all_pairs()[NUM_TRAINED:])
    task = (RECIPE / "tasks/held_out.yaml").read_text().replace("max_gen_toks: 512", "max_gen_toks: 8")
    (folder / "tasks/held_out.yaml").write_text(task)
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def compose(folder: Path, tuner: str = "hd_pissa", **changes: str) -> None:
    """Write params.yaml as `dvc exp run -S` does; dots in the names of settings are __ here."""
    ranks = {} if tuner == "full" else {"train.tuner.rank": "8"}
    settings = {**SETTINGS, **ranks, **{name.replace("__", "."): value for name, value in changes.items()}}
    overrides = [f"{name}={value}" for name, value in settings.items()]
    compose_params(RECIPE, [f"tuner={tuner}", *overrides], folder / "params.yaml")


def run(out: str) -> None:
    train.main(["--out", f"{out}/model", "--report", f"{out}/report"])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def differing(first: Path, second: Path) -> list[str]:
    """Files that one of the folders lacks or whose bytes differ."""
    one, two = contents(first), contents(second)
    return [name for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def metrics(report: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((report / "metrics.json").read_text())
    return values


@pytest.fixture(scope="module")
def straight(folder: Path) -> Path:
    """HD-PiSSA with two slices on one process, never stopped."""
    here = Path.cwd()
    compose(folder)
    try:
        os.chdir(folder)
        run("straight")
    finally:
        os.chdir(here)
    return folder / "straight"


def test_model_metrics_and_curves_are_written_and_no_checkpoint_is_left(folder: Path, straight: Path) -> None:
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in (straight / "model").iterdir()
    }
    values = metrics(straight / "report")
    assert values["method"] == "hd_pissa"
    assert values["examples"] == {"trained_on": NUM_TRAINED, "truncated": 0, "dropped": 0}
    assert values["last_loss"] < 0.2 * values["first_loss"]
    with (straight / "report/curves.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    # 35 sequences a slice, 8 in a step: 5 steps an epoch, the last of 3.
    assert [int(row["step"]) for row in rows] == list(range(10, 101, 10))
    assert float(rows[-1]["epoch"]) == 20
    assert not list((folder / "runs/train").glob("*/step-*"))


def test_nothing_written_names_a_path_of_this_machine_or_how_the_model_was_loaded(folder: Path, straight: Path) -> None:
    assert (
        not {"is_local", "local_files_only"} & json.loads((straight / "model/tokenizer_config.json").read_text()).keys()
    )
    assert not [name for name, data in contents(straight).items() if str(folder).encode() in data]


def test_held_out_accuracy_after_fine_tuning_is_above_the_one_before(
    folder: Path, straight: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both are asked in the words of training, through the harness and a task file."""
    pytest.importorskip("lm_eval", reason=NO_LM_EVAL)
    datasets = pytest.importorskip("datasets", reason=NO_LM_EVAL)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    compose(folder)
    tokenizer = ["--tokenizer", str(straight / "model")]
    accuracy = {}
    for name, model in (("before", Path("base")), ("after", straight / "model")):
        evaluate.main(["--model", str(model), *tokenizer, "--report", f"evaluated/{name}"])
        values = metrics(Path("evaluated") / name)
        assert values["questions"] == {"held_out": 100 - NUM_TRAINED}
        accuracy[name] = values["tasks"]["held_out"]["last_number"]["exact_match"]
    assert accuracy["after"] > accuracy["before"] + 0.3, accuracy


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(folder: Path, straight: Path) -> None:
    compose(folder, train__num_processes="2")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    result = subprocess.run(
        [*launcher, "-m", "watchline.sft.train", "--out", "two/model", "--report", "two/report"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert differing(folder / "two", straight) == []


def interrupt(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Make the next run stop before a step."""
    plain = Training._step

    def stop(self: Training) -> None:
        if self.state.step == step:
            raise KeyboardInterrupt
        plain(self)

    monkeypatch.setattr(Training, "_step", stop)


def test_a_run_interrupted_and_repeated_gives_the_same_bytes(
    folder: Path, straight: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compose(folder)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt(patched, 75)
        run("resumed")
    assert not (folder / "resumed").exists()
    run("resumed")
    assert "continuing from step 60 of 100" in capsys.readouterr().out
    assert differing(folder / "resumed", straight) == []


@pytest.mark.parametrize(("tuner", "lr"), [("lora", "1e-2"), ("pissa", "3e-3"), ("full", "1e-3")])
def test_every_other_method_learns_and_resumes_bitwise(
    folder: Path, straight: Path, monkeypatch: pytest.MonkeyPatch, tuner: str, lr: str
) -> None:
    compose(folder, tuner, train__lr=lr, train__epochs="4", train__checkpoint_every="5", train__log_every="5")
    run(f"{tuner}/straight")
    values = metrics(folder / tuner / "straight/report")
    assert values["method"] == tuner
    assert values["last_loss"] < 0.7 * values["first_loss"]
    assert names(folder / tuner / "straight/model") == names(straight / "model")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt(patched, 12)
        run(f"{tuner}/resumed")
    run(f"{tuner}/resumed")
    assert contents(folder / tuner / "resumed") == contents(folder / tuner / "straight")


def test_how_a_step_is_cut_into_micro_batches_changes_its_loss_by_rounding_alone(folder: Path) -> None:
    """Responses have 3 or 4 tokens, so a mean of the micro-batches' means would differ."""
    losses = {}
    for size, number in ((8, 2), (3, 6), (1, 16)):
        sizes = {"train__micro_batch_size": str(size), "train__accumulation": str(number)}
        compose(folder, **sizes, train__max_steps="1", train__log_every="1")
        run(f"cut/{size}")
        losses[size] = metrics(folder / f"cut/{size}/report")["first_loss"]
    assert losses[1] == pytest.approx(losses[8], rel=1e-5)
    assert losses[3] != pytest.approx(losses[8], rel=1e-5)  # 9 sequences a slice instead of 8


def test_bfloat16_packing_and_recomputed_activations_learn_too(folder: Path) -> None:
    compose(
        folder, train__precision="bf16", train__sequence__packing="true", train__activation_checkpointing="true",
        train__micro_batch_size="2", train__epochs="8", train__log_every="4",
    )  # fmt: skip
    run("packed")
    values = metrics(folder / "packed/report")
    assert values["sequences"] < NUM_TRAINED / 3
    assert values["last_loss"] < 0.7 * values["first_loss"]
    assert json.loads((folder / "packed/model/config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__model__path": "'???'"}, "train.model: neither path"),
        ({"train__data__path": "'???'"}, "train.data: neither path"),
        ({"train__model__path": "nowhere"}, "nowhere/config.json: no such file"),
        ({"train__data__path": "nowhere.jsonl"}, "nowhere.jsonl: no such file"),
        ({"train__data__response_field": "answer"}, "data.jsonl:1: field 'answer' is missing"),
        ({"train__tuner__num_slices": "8", "train__accumulation": "8"}, "exceeds the smaller side"),
    ],
)
def test_what_cannot_run_ends_with_one_message_that_says_why(
    folder: Path, changes: dict[str, str], message: str
) -> None:
    compose(folder, **{"train__tuner__rank": "16", **changes})
    with pytest.raises(RankError, match=message.replace("'", ".")):
        run("wrong")
    assert not (folder / "wrong").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluate__tasks": "[held_out,no_such_task]", **IN_BARE_WORDS}, "no_such_task: neither among"),
        ({"evaluate__include_path": "nowhere", **IN_BARE_WORDS}, "evaluate.include_path: nowhere: no such folder"),
        ({}, "base: the tokenizer has no chat template"),
    ],
)
def test_what_cannot_be_evaluated_ends_with_one_message_that_says_why(
    folder: Path, changes: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("lm_eval", reason=NO_LM_EVAL)
    datasets = pytest.importorskip("datasets", reason=NO_LM_EVAL)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    compose(folder, **changes)
    with pytest.raises(ValueError, match=message):
        evaluate.main(["--model", "base", "--report", "evaluated/wrong"])
