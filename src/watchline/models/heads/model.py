"""A network of encoder and head as a model of the line: fitted, saved, loaded and asked like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays

from watchline.data.columns import Columns
from watchline.data.encoding import Table, TableEncoder
from watchline.models.base import DistributionModel, Fit, FitContext, WatchTimeModel
from watchline.models.common import CommonConfig
from watchline.models.encoder import EncoderConfig, FeatureEncoder
from watchline.models.heads.head import DistributionHead, Head, HeadConfig, PointHead, Prepared, sample_labels
from watchline.models.heads.network import HeadNetwork
from watchline.models.network_files import load_weights, read_config, reading, save_network
from watchline.models.ranks import LabelRanks
from watchline.training.batches import cumulative_table, predict_table
from watchline.training.loop import fit_network
from watchline.training.prepare import encode_tables


class HeadModel(WatchTimeModel):
    """Abstract model of one head; a method names it, its `Config` (a HeadConfig) and its `Head`, and is final.

    The folder: model.json, config.json, the encoder's files, ranks.safetensors, prepared.safetensors (what the head
    counted in the training rows) and network.safetensors.
    """

    distributed: ClassVar[bool] = True
    Config: ClassVar[type[HeadConfig]]
    Head: ClassVar[type[Head]]

    def __init__(
        self,
        encoder: TableEncoder,
        encoder_config: EncoderConfig,
        config: HeadConfig,
        prepared: Prepared,
        ranks: LabelRanks,
        predict_batch_size: int = 8192,
    ) -> None:
        self.encoder, self.encoder_config, self.config = encoder, encoder_config, config
        self.prepared, self.ranks, self.predict_batch_size = prepared, ranks, predict_batch_size
        features = FeatureEncoder(encoder.cardinalities, encoder.num_numeric, encoder_config, config.width)
        self.network = HeadNetwork(features, self.Head(config, config.width, prepared), ranks)

    def predict(self, table: pl.DataFrame, statistics: Sequence[str]) -> dict[str, np.ndarray]:
        """One float64 array (rows,) per statistic; raises KeyError for one that this method does not have."""
        self.check(statistics)
        rows, device = self.encoder.transform(table), next(self.network.parameters()).device
        return predict_table(self.network, rows, statistics, self.predict_batch_size, device)

    def save(self, directory: Path) -> None:
        """Write the files of the model, which a load gives back byte for byte."""
        config = {
            "head": self.config.model_dump(mode="json"),
            "encoder": self.encoder_config.model_dump(mode="json"),
            "predict_batch_size": self.predict_batch_size,
        }
        save_network(directory, self.name, self.encoder, self.network, config)
        self.ranks.save(directory)
        save_arrays(dict(self.prepared), directory / "prepared.safetensors")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote, on the CPU; raises ValueError naming the folder when a file is missing or broken."""
        with reading(directory, cls.name):
            config = read_config(directory)
            model = cls(
                TableEncoder.load(directory),
                EncoderConfig(**config["encoder"]),
                cls.Config(**config["head"]),
                load_arrays(directory / "prepared.safetensors"),
                LabelRanks.load(directory),
                config["predict_batch_size"],
            )
            load_weights(model.network, directory)
        return model

    @classmethod
    def fit(
        cls, config: Any, common: CommonConfig, train: Table, valid: Table, columns: Columns, context: FitContext
    ) -> Fit:
        """Fit encoder and head on `train`; `valid` decides only which step's weights are kept.

        `config`: the head's settings and the loop's. The processes of `context` share every batch. Raises KeyError
        for a column the method needs and the table lacks, ValueError for labels it cannot learn from.
        """
        encoder, train_rows, valid_rows = encode_tables(train, valid, columns, common.columns, context)
        own = cls.Config(**{name: getattr(config, name) for name in cls.Config.model_fields})
        ranks = LabelRanks.fit(sample_labels(train_rows))
        prepared = cls.Head.prepare(own, train_rows, encoder)
        torch.manual_seed(common.seed)
        model = cls(encoder, common.encoder, own, prepared, ranks, common.predict_batch_size)
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
        parameters = sum(parameter.numel() for parameter in model.network.parameters())
        return Fit(model, progress.curves, {"best_step": progress.best_step, "parameters": parameters})


class PointHeadModel(HeadModel):
    """Abstract model of one number per row, which stands for every statistic; its training rank is `expected_rank`."""

    Head: ClassVar[type[PointHead]]

    @property
    def statistics(self) -> tuple[str, ...]:
        """The three that metrics ask for: all of them the same number, the last one as a rank."""
        return ("median", "mean", "expected_rank")


class DistributionHeadModel(HeadModel, DistributionModel):
    """Abstract model of a distribution per row."""

    Head: ClassVar[type[DistributionHead]]

    @property
    def statistics(self) -> tuple[str, ...]:
        """The named statistics; besides them any `quantile:Q` with 0 < Q < 1."""
        return ("median", "mean", "expected_rank", "mean_log", *self.Head.extras)

    def cumulative(self, table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """F(y-) and F(y) of the label y of each labelled row (rows,): the predicted probability below and up to it."""
        device = next(self.network.parameters()).device
        return cumulative_table(self.network, self.encoder.transform(table), self.predict_batch_size, device)
