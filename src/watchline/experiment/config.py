"""What a simulated test is asked for: section `abtest` of params.yaml."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from watchline.config import Config, parse
from watchline.experiment.patience import Patience
from watchline.experiment.requests import Retrieval
from watchline.experiment.statistics import GUARDRAILS


class ArmConfig(Config):
    """One arm: a trained model, what it ranks by, and how it explores."""

    model: str
    statistic: str = "mean"
    epsilon: float = Field(default=0.0, ge=0, le=1, description="chance that a place is given to any candidate alike")
    temperature: float = Field(default=0.0, ge=0, description="of a softmax over scores, in the statistic's unit")

    @model_validator(mode="after")
    def _explores_one_way(self) -> Self:
        if self.epsilon and self.temperature:
            raise ValueError("epsilon and temperature exclude each other; set one of them to 0")
        return self


class AbtestConfig(Config):
    """Section `abtest` of params.yaml."""

    environment: Literal["auto", "oracle", "matrix", "replay", "model"] = "auto"
    control: str = "lightgbm"
    treatment: str = "gr_finetuned"
    control_statistic: str = "mean"
    treatment_statistic: str = "mean"
    treatment_epsilon: float = Field(default=0.0, ge=0, le=1)
    treatment_temperature: float = Field(default=0.0, ge=0)
    treatments: list[ArmConfig] = Field(default=[], description="more arms, which share the treatments' users")
    treatment_share: float = Field(default=0.5, gt=0, lt=1, description="share of the users, of all treatments")
    requests: int = Field(default=6000, ge=10, description="drawn from the exposures of the eval days")
    retrieval: Retrieval = "popular"
    catalogue_days: int = Field(default=3, ge=1, description="days before a request whose videos may be candidates")
    candidates: int = Field(default=20, ge=2, le=1000)
    top_k: int = Field(default=4, ge=1, description="exposures of a page")
    pages: int = Field(default=3, ge=1, description="of a session at most")
    patience: Patience = Patience()
    pre_period_days: int = Field(default=7, ge=1, description="days before the eval days, for CUPED and expectations")
    false_positive_runs: int = Field(default=200, ge=10, le=10_000, description="A/A splits")
    expectation_runs: int = Field(default=8, ge=2, le=1000, description="of every session, for the expected lift")
    smallest_lift: float = Field(default=0.02, gt=0, description="relative lift that matters, for power before the run")
    sweep_runs: int = Field(default=2, ge=0, le=1000, description="the same for each model of the sweep; 0: no sweep")
    margins: dict[str, float] = Field(default={}, description="guardrail -> relative loss that is accepted")
    seed: int = Field(default=1, ge=0)
    processes: int = Field(default=1, ge=1, description="no part of the result")
    num_threads: int = Field(default=2, ge=1, description="of each process; sums depend on how work is split")
    salt: str = Field(default="watchline", min_length=1)

    @field_validator("top_k")
    @classmethod
    def _within_candidates(cls, top_k: int, info: ValidationInfo) -> int:
        if top_k > info.data.get("candidates", top_k):
            raise ValueError(f"must be at most abtest.candidates, {info.data['candidates']}")
        return top_k

    @field_validator("pages")
    @classmethod
    def _pages_within_candidates(cls, pages: int, info: ValidationInfo) -> int:
        size, top_k = info.data.get("candidates"), info.data.get("top_k")
        if size and top_k and pages * top_k > size:
            raise ValueError(f"pages of {top_k} take more than the {size} of abtest.candidates")
        return pages

    @field_validator("margins")
    @classmethod
    def _known_guardrails(cls, margins: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(margins) - set(GUARDRAILS))
        if unknown or not all(margin > 0 for margin in margins.values()):
            raise ValueError(f"takes margins above 0 of {', '.join(GUARDRAILS)}")
        return margins

    @property
    def arms(self) -> dict[str, tuple[str, ArmConfig]]:
        """Arms in order, the control first: name -> the parameter that names its model, and the arm."""
        control = ArmConfig(model=self.control, statistic=self.control_statistic)
        treatment: ArmConfig = parse(
            ArmConfig,
            {
                "model": self.treatment,
                "statistic": self.treatment_statistic,
                "epsilon": self.treatment_epsilon,
                "temperature": self.treatment_temperature,
            },
            "abtest.treatment",
        )
        more = {f"treatment_{i + 2}": (f"treatments.{i}.model", arm) for i, arm in enumerate(self.treatments)}
        return {"control": ("control", control), "treatment": ("treatment", treatment), **more}
