"""What recipes/llm_sft is told: the section `train` of its params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from watchline.adapters.tuner import TunerConfig
from watchline.config import Config, ConfigError
from watchline.sft.precision import Precision
from watchline.sft.prompts import QUERY

_UNSET = "???"  # what Hydra writes for a value that has to be given


class Source(Config):
    """A local `path`, or the `id` of something on the Hugging Face hub."""

    path: Path | None = Field(None, description="local file or folder")
    id: str | None = Field(None, description="name on the hub, used when there is no path")
    revision: str | None = Field(None, description="commit, tag or branch of `id`")

    @field_validator("path", mode="before")
    @classmethod
    def _unset_is_none(cls, value: Any) -> Any:
        return None if value == _UNSET else value

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.path is not None and self.id is not None:
            raise ValueError(f"path={self.path} and id={self.id} are both set; leave one of them out")
        if self.revision is not None and self.id is None:
            raise ValueError(f"revision={self.revision} is that of a hub id, and there is none")
        return self

    @property
    def name(self) -> str:
        """The path or the hub id, for messages."""
        return str(self.path or self.id)


class ModelConfig(Source):
    """The model that is fine-tuned, with its tokenizer."""

    untie: bool = Field(False, description="give the output layer weights of its own, where they are the embedding's")


class DataConfig(Source):
    """The instructions: JSON Lines (a file, or a folder of *.jsonl), or a hub data set."""

    subset: str | None = Field(None, description="configuration of the hub data set")
    split: str = Field("train", description="of the hub data set")
    query_field: str = "query"
    response_field: str = "response"
    max_examples: int | None = Field(None, ge=1, description="the first so many")


class SequenceConfig(Config):
    """How an example becomes tokens."""

    length: int = Field(ge=8, description="tokens of a sequence, at most")
    packing: bool = Field(description="fill sequences with several whole examples instead of padding")
    template: str = Field(description="the prompt around {query}; the response follows it directly")

    @field_validator("template")
    @classmethod
    def _has_one_query(cls, template: str) -> str:
        if template.count(QUERY) != 1:
            raise ValueError(f"the prompt template must contain {QUERY} exactly once")
        return template


class SFTConfig(Config):
    """Section `train`."""

    model: ModelConfig
    data: DataConfig
    sequence: SequenceConfig
    tuner: TunerConfig
    num_processes: int = Field(ge=1, description="processes torchrun starts; divides num_slices, changes no result")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_threads: int = Field(1, ge=1, description="per process; fixed, because sums depend on how work is split")
    precision: Precision = Field(description="of the weights and of the passes")
    activation_checkpointing: bool = Field(description="recompute each layer in the backward pass: less memory")
    seed: int = Field(ge=0)
    epochs: int = Field(ge=1, description="passes over the data, unless max_steps ends them")
    max_steps: int | None = Field(None, ge=1)
    micro_batch_size: int = Field(ge=1, description="sequences of one forward pass")
    accumulation: int = Field(ge=1, description="micro-batches of one step over all slices")
    lr: float = Field(gt=0, description="peak learning rate")
    warmup_share: float = Field(ge=0, le=1, description="share of all steps with a rising rate")
    decay: Literal["constant", "linear", "cosine"] = "cosine"
    log_every: int = Field(ge=1, description="steps between rows of the curves")
    checkpoint_every: int = Field(ge=1, description="steps between checkpoints")

    @model_validator(mode="after")
    def _slices_divide(self) -> Self:
        slices = self.tuner.num_slices
        if slices % self.num_processes:
            raise ValueError(f"num_processes={self.num_processes} must divide tuner.num_slices={slices}")
        if self.accumulation % slices:
            raise ValueError(
                f"tuner.num_slices={slices} must divide accumulation={self.accumulation}, "
                "which counts the micro-batches of all slices"
            )
        return self

    @property
    def rows_per_slice(self) -> int:
        """Sequences of one slice in a full step."""
        return self.micro_batch_size * self.accumulation // self.tuner.num_slices

    def check_sources(self) -> None:
        """Raise ConfigError unless model and data are named."""
        for name, source, what in (
            ("model", self.model, "a folder written by save_pretrained"),
            ("data", self.data, "a JSON Lines file"),
        ):
            if source.path is None and source.id is None:
                raise ConfigError(
                    f"params.yaml: train.{name}: neither path ({what}) nor id (its name on the hub) is set; "
                    f"run `dvc exp run -S train.{name}.path=PATH`, or set it in conf/config.yaml and compose"
                )
