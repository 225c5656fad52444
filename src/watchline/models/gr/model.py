"""GR as a model of the line: table encoder, network and vocabulary, fitted, saved and loaded together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from pydantic import Field

from watchline.codec import Vocabulary, describe, fit_vocabulary
from watchline.data.columns import Columns
from watchline.data.encoding import EncodedTable, Table, TableEncoder
from watchline.models.base import DistributionModel, Fit, FitContext
from watchline.models.common import CommonConfig
from watchline.models.encoder import EncoderConfig, FeatureEncoder
from watchline.models.gr.network import GRConfig, GRNetwork
from watchline.models.gr.ratio import restore_statistics, statistics_of_ratio
from watchline.models.network_files import load_weights, read_config, reading, save_network
from watchline.models.ranks import LabelRanks
from watchline.training.batches import cumulative_table, predict_table
from watchline.training.loop import LoopConfig, fit_network
from watchline.training.prepare import encode_tables


class GRFitConfig(GRConfig, LoopConfig):
    """The network's settings and the training loop's, side by side as in conf/train/gr.yaml."""

    label_per: str = Field(
        default="", description="column that the label is divided by, such as duration_s for the watch ratio; '': none"
    )

    @property
    def network(self) -> GRConfig:
        """The settings that belong to the network and go with the saved model."""
        return GRConfig(**{name: getattr(self, name) for name in GRConfig.model_fields})


class GRModel(DistributionModel):
    """A trained GR network with the coding of its inputs; final."""

    name: ClassVar[str] = "gr"
    distributed: ClassVar[bool] = True

    def __init__(
        self,
        encoder: TableEncoder,
        encoder_config: EncoderConfig,
        config: GRConfig,
        vocabulary: Vocabulary,
        predict_batch_size: int = 8192,
        ranks: LabelRanks | None = None,
    ) -> None:
        self.encoder, self.encoder_config = encoder, encoder_config
        self.config, self.vocabulary = config, vocabulary
        self.predict_batch_size = predict_batch_size
        self.ranks = ranks  # of the label itself, where the network knows its ratio to a column
        features = FeatureEncoder(encoder.cardinalities, encoder.num_numeric, encoder_config, config.width)
        self.network = GRNetwork(config, features, vocabulary)

    @property
    def statistics(self) -> tuple[str, ...]:
        """The named statistics; besides them any `quantile:Q` with 0 < Q < 1."""
        return ("median", "mean", "expected_rank", "mean_log", "window", "argmax")

    def predict(self, table: pl.DataFrame, statistics: Sequence[str]) -> dict[str, np.ndarray]:
        """One float64 array (rows,) per statistic; raises KeyError for one that GR does not have."""
        return self.predict_encoded(self.encoder.transform(table), statistics)

    def predict_encoded(self, table: EncodedTable, statistics: Sequence[str]) -> dict[str, np.ndarray]:
        """`predict` of rows that are encoded already."""
        self.check(statistics)
        asked = statistics if self.ranks is None else statistics_of_ratio(statistics)
        device = next(self.network.parameters()).device
        found = predict_table(self.network, table, asked, self.predict_batch_size, device)
        if self.ranks is None or table.per_N is None:
            return found
        return restore_statistics(found, table.per_N, self.ranks, statistics)

    def cumulative(self, table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """F(y-) and F(y) of the label y of each labelled row (rows,): the predicted probability below and up to it."""
        device = next(self.network.parameters()).device
        return cumulative_table(self.network, self.encoder.transform(table), self.predict_batch_size, device)

    def save(self, directory: Path) -> None:
        """Write model.json, config.json, the encoder's files and network.safetensors."""
        config = {
            "network": self.config.model_dump(mode="json"),
            "encoder": self.encoder_config.model_dump(mode="json"),
            "vocabulary": self.vocabulary.to_json(),
            "predict_batch_size": self.predict_batch_size,
        }
        save_network(directory, self.name, self.encoder, self.network, config)
        if self.ranks is not None:
            self.ranks.save(directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote, on the CPU; raises ValueError naming the folder when a file is missing or broken."""
        with reading(directory, cls.name):
            config = read_config(directory)
            encoder = TableEncoder.load(directory)
            model = cls(
                encoder,
                EncoderConfig(**config["encoder"]),
                GRConfig(**config["network"]),
                Vocabulary.from_json(config["vocabulary"]),
                config["predict_batch_size"],
                LabelRanks.load(directory) if encoder.denominator else None,
            )
            load_weights(model.network, directory)
        return model


def fit(
    config: GRFitConfig, common: CommonConfig, train: Table, valid: Table, columns: Columns, context: FitContext
) -> Fit:
    """Fit vocabulary, encoder and network on `train`; `valid` decides only which step's weights are kept.

    The processes of `context` share every batch. Memory does not grow with the rows where `context` has a run folder.
    """
    encoder, train_rows, valid_rows = encode_tables(train, valid, columns, common.columns, context, config.label_per)
    label_N = train_rows.label_N
    if label_N is None:
        raise ValueError(f"training needs the label column {columns.label!r}; the feature table lacks it")
    vocabulary = fit_vocabulary(label_N, config.vocabulary)
    torch.manual_seed(common.seed)
    ranks = LabelRanks.fit(_sample(train_rows)) if config.label_per else None
    model = GRModel(encoder, common.encoder, config.network, vocabulary, common.predict_batch_size, ranks)
    model.network.fit_ranks(label_N)
    model.network.to(context.processes.device)
    progress = fit_network(
        model.network,
        train_rows,
        valid_rows,
        config,
        context,
        seed=common.seed,
        predict_batch_size=common.predict_batch_size,
    )
    model.network.eval()
    return Fit(model, progress.curves, _facts(model, progress.best_step, label_N))


def _sample(rows: EncodedTable, limit: int = 1 << 18) -> np.ndarray:
    """Labels of at most `limit` rows, evenly spaced, in the measure of their column."""
    every = slice(None, None, max(1, -(-len(rows) // limit)))
    assert rows.label_N is not None
    return rows.label_N[every] * (1.0 if rows.per_N is None else rows.per_N[every])


def _facts(model: GRModel, best_step: int, label_N: np.ndarray) -> dict[str, Any]:
    return {
        "best_step": best_step,
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "vocabulary": describe(model.vocabulary, label_N),
    }
