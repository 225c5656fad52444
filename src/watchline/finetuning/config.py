"""Configuration of the finetune stage: the method's own settings and how any method is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from watchline.adapters.hd_pissa import HDPiSSAConfig
from watchline.adapters.tuner import FullConfig, PeftConfig
from watchline.config import Config, ConfigError, parse


class ComparisonConfig(Config):
    """Other settings to set beside the configured one on the page; the model that goes on is the configured one's."""

    contenders: dict[str, dict[str, Any]] = Field({}, description="name on the page -> parameters that differ")
    num_seeds: int = Field(3, ge=1, description="runs of each contender and of the configured setting")


class TrainingConfig(Config):
    """How a method is trained, whichever it is."""

    num_slices: int = Field(ge=1, description="parts of a step's rows (K), one for each slice of HD-PiSSA")
    num_processes: int = Field(ge=1, description="processes torchrun starts; divides num_slices")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_threads: int = Field(1, ge=1, description="per process; fixed, because sums depend on how work is split")
    seed: int = Field(ge=0)
    epochs: int = Field(ge=1, description="passes over the rows trained on, at most")
    batch_size: int = Field(ge=1, description="rows of one slice in one step, about")
    micro_batches: int = Field(1, ge=1, description="parts a slice's rows of a step are cut into, to save memory")
    lr: float = Field(gt=0, description="peak learning rate")
    warmup_share: float = Field(ge=0, le=1, description="share of all steps with a rising rate")
    decay: Literal["constant", "linear", "cosine"] = "cosine"
    holdout_share: float = Field(gt=0, lt=1, description="last share of the finetune rows by time, not trained on")
    validations_per_epoch: int = Field(ge=1, description="each one also writes a checkpoint")
    patience: int = Field(ge=1, description="validations without a lower held-out loss before training stops")
    validation_batch_size: int = Field(4096, ge=1)
    comparison: ComparisonConfig = ComparisonConfig()

    @model_validator(mode="after")
    def _slices_divide(self) -> Self:
        if self.num_slices % self.num_processes:
            raise ValueError(f"num_processes={self.num_processes} must divide num_slices={self.num_slices}")
        return self


class HDPiSSAFinetune(TrainingConfig, HDPiSSAConfig):
    """method: hd_pissa."""


class PeftFinetune(TrainingConfig, PeftConfig):
    """method: lora or pissa."""


class FullFinetune(TrainingConfig, FullConfig):
    """method: full."""


FinetuneConfig = Annotated[HDPiSSAFinetune | PeftFinetune | FullFinetune, Field(discriminator="method")]
# What all runs of a comparison share: the rows are split once, and the processes are there already.
_SHARED = ("num_processes", "device", "num_threads", "holdout_share", "comparison")
_OF_METHOD = {"hd_pissa": HDPiSSAFinetune, "lora": PeftFinetune, "pissa": PeftFinetune, "full": FullFinetune}


def contenders_of(config: FinetuneConfig, where: str = "params.yaml: finetune") -> dict[str, FinetuneConfig]:
    """The configured setting under its method's name, then every contender, each with one setting and the first seed.

    A contender has what it says, and for the rest what the configured setting says where its method knows the
    parameter. Raises ConfigError naming the contender's key.
    """
    settings: dict[str, FinetuneConfig] = {_own_name(config): config}
    shared = config.model_dump(mode="json", exclude={"method", "comparison"})
    for name, changes in config.comparison.contenders.items():
        fixed = [key for key in _SHARED if key in changes]
        if fixed:
            key = f"{where}.comparison.contenders.{name}.{fixed[0]}"
            raise ConfigError(f"{key}: the same for all that are compared; set it in the section itself")
        kind = _OF_METHOD.get(str(changes.get("method", config.method)))
        known = {key: value for key, value in shared.items() if kind is None or key in kind.model_fields}
        values = {"method": config.method, **known, **changes}
        settings[name] = parse(FinetuneConfig, values, f"{where}.comparison.contenders.{name}")
    return settings


def _own_name(config: FinetuneConfig) -> str:
    """A name no contender has."""
    name: str = config.method
    while name in config.comparison.contenders:
        name += " (configured)"
    return name
