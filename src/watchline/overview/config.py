"""Section `report` of params.yaml."""

from __future__ import annotations

from pydantic import Field

from watchline.config import Config


class ReportConfig(Config):
    """What the index and the cards show."""

    title: str = Field(min_length=1)
    metrics: list[str] = Field(min_length=1, description="columns of the model table, as in reports/evaluate")
    drifted_columns: int = Field(ge=0, le=100, description="strongest drifts shown")
