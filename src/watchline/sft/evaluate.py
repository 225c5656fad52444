"""Stage evaluate of recipes/llm_sft: a saved model on tasks of lm-evaluation-harness, the library's or own ones.

python -m watchline.sft.evaluate --model models/tuned --report reports/evaluate
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from watchline.config import Config, load_section
from watchline.report.json_file import write_json
from watchline.sft.precision import DTYPES, Precision
from watchline.stages import log, run_stage
from watchline.training.seeding import seed_everything


class EvaluateConfig(Config):
    """What lm-evaluation-harness is asked."""

    tasks: tuple[str, ...] = Field(min_length=1, description="names of tasks or groups: gsm8k, mbpp, ...")
    include_path: Path | None = Field(None, description="folder of own task YAML files")
    num_fewshot: int | None = Field(None, ge=0, description="worked examples before each question; null: the task's")
    chat_template: bool = Field(description="ask in the prompt template of training, not in the task's bare words")
    batch_size: int = Field(ge=1, description="requests of one forward pass")
    limit: int | None = Field(None, ge=1, description="the first so many of each task, to try things out")
    allow_code: bool = Field(False, description="run programs the model wrote (humaneval, mbpp) on this machine")
    precision: Precision = "fp32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_threads: int = Field(1, ge=1)
    seed: int = Field(ge=0)


def main(argv: list[str] | None = None) -> None:
    """Write metrics.json: by task, filter of the answers and metric."""
    parser = argparse.ArgumentParser(description="Evaluate a saved causal language model.")
    parser.add_argument("--model", type=Path, required=True, help="folder that save_pretrained wrote")
    parser.add_argument("--tokenizer", type=Path, help="of another folder: a base model in a tuned one's words")
    parser.add_argument("--report", type=Path, required=True)
    args = parser.parse_args(argv)
    config: EvaluateConfig = load_section(EvaluateConfig, "evaluate")
    if not (args.model / "config.json").is_file():
        raise ValueError(f"{args.model / 'config.json'}: no such file; run stage train first (`dvc repro train`)")
    seed_everything(config.seed, config.num_threads)
    tokenizer = _load_tokenizer(args.tokenizer or args.model, config)
    results = _evaluate(args.model, tokenizer, _load_tasks(config), config)
    measured = summary(results)
    write_json(args.report / "metrics.json", {"tasks": measured, "questions": question_counts(results)})
    for line in _lines(measured):
        log(line)


def summary(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Numbers by task and metric (`METRIC_stderr` beside it); a filter of the answers comes between when it has a name.

    The harness names them `METRIC,FILTER`, with `none` where answers are not filtered.
    """
    tasks: dict[str, dict[str, Any]] = {}
    for task, values in results["results"].items():
        for key, value in values.items():
            metric, comma, answers = key.partition(",")
            if not comma or not isinstance(value, int | float) or not math.isfinite(value):
                continue
            own = tasks.setdefault(task, {})
            (own if answers == "none" else own.setdefault(answers, {}))[metric] = value
    return tasks


def question_counts(results: dict[str, Any]) -> dict[str, int]:
    """Questions asked, by task."""
    return {task: count["effective"] for task, count in results["n-samples"].items()}


def _load_tokenizer(directory: Path, config: EvaluateConfig) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    if config.chat_template and tokenizer.chat_template is None:
        raise ValueError(
            f"{directory}: the tokenizer has no chat template, and evaluate.chat_template=true asks in its words; "
            "set it to false, or give --tokenizer a folder that stage train wrote"
        )
    return tokenizer


def _load_tasks(config: EvaluateConfig) -> Any:
    """The harness's task objects; raises ValueError for a name it does not know and for a task that cannot be used."""
    if config.allow_code:
        os.environ["HF_ALLOW_CODE_EVAL"] = "1"  # read by the metric itself, beside the harness's own switch
    manager = _task_manager(config)
    unknown = [task for task in config.tasks if task not in manager.all_tasks]
    if unknown:
        where = f" nor in {config.include_path}" if config.include_path else "; own ones need evaluate.include_path"
        raise ValueError(f"evaluate.tasks: {', '.join(unknown)}: neither among the harness's tasks{where}")
    try:
        loaded = manager.load(list(config.tasks))
    except ImportError as error:
        raise ValueError(
            f"evaluate.tasks={list(config.tasks)}: a task needs packages that are not here: {error}. The recipe's "
            "README says how to run it in an environment of its own; name the others in evaluate.tasks"
        ) from error
    for task in loaded["tasks"].values():
        own = task.get_config("num_fewshot")
        if own is None or (own != 0 and config.num_fewshot is not None):  # a task that says 0 cannot take any
            task.set_config(key="num_fewshot", value=config.num_fewshot or 0)
        task.set_fewshot_seed(seed=config.seed)
    return loaded


def _task_manager(config: EvaluateConfig) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise ValueError("evaluation needs the package lm-eval; run `make llm` in the project's root") from None
    if config.include_path is None:
        return TaskManager()
    if not config.include_path.is_dir():
        raise ValueError(f"evaluate.include_path: {config.include_path}: no such folder")
    own = TaskManager(include_path=str(config.include_path), include_defaults=False)
    if set(config.tasks) <= set(own.all_tasks):
        return own  # reading the index of the harness's own thousands takes seconds
    return TaskManager(include_path=str(config.include_path))


def _evaluate(model: Path, tokenizer: Any, tasks: Any, config: EvaluateConfig) -> dict[str, Any]:
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM

    on_cuda = config.device != "cpu" and torch.cuda.is_available()
    if config.device == "cuda" and not on_cuda:
        raise ValueError("evaluate.device=cuda, and there is no CUDA device here; set auto or cpu")
    lm = HFLM(
        pretrained=str(model),
        tokenizer=tokenizer,
        device="cuda:0" if on_cuda else "cpu",
        dtype=DTYPES[config.precision],
        batch_size=config.batch_size,
    )
    results: dict[str, Any] | None = evaluate(
        lm=lm,
        task_dict=tasks,
        limit=config.limit,
        log_samples=False,
        apply_chat_template=config.chat_template,
        fewshot_as_multiturn=config.chat_template,
        confirm_run_unsafe_code=config.allow_code,
    )
    assert results is not None  # None on the other processes of several only
    return results


def _lines(tasks: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for task, values in tasks.items():
        for name, value in values.items():
            inner = value if isinstance(value, dict) else {name: value}
            label = f"{task} ({name})" if isinstance(value, dict) else task
            lines += [f"{label}: {metric} {x:.4f}" for metric, x in inner.items() if not metric.endswith("_stderr")]
    return lines


if __name__ == "__main__":
    run_stage(main)
