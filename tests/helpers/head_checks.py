"""What every method that is a head must hold, for the tests of each: fits, round trips, gradients, odd tables."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.helpers.known_law import COLUMNS, KnownLaw, draw
from watchline.data.encoding import EncodedTable, TableEncoder, TableEncoderConfig
from watchline.models import load_model
from watchline.models.base import DistributionModel, FitContext, WatchTimeModel
from watchline.models.common import CommonConfig
from watchline.models.encoder import EncoderConfig
from watchline.models.heads import Rows
from watchline.models.heads.model import HeadModel
from watchline.training.seeding import seed_everything

COMMON = CommonConfig(
    num_threads=1,
    device="cpu",
    encoder=EncoderConfig(embedding_width=4, hidden_width=32, dropout=0.0, number_dropout=0.0),
)
LOOP = {
    "width": 16,
    "epochs": 6,
    "batch_size": 256,
    "lr": 0.01,
    "final_lr_share": 0.05,
    "validations_per_epoch": 1,
    # Medians of so few rows tell little of the rest of a distribution.
    "stop_on": "valid_loss",
}
NUM_ROWS = 20_000


@cache
def known_tables() -> tuple[pl.DataFrame, pl.DataFrame, KnownLaw]:
    """Training and validation rows, and the law of the latter."""
    return draw(NUM_ROWS, 1)[0], *draw(4_000, 2)


def fit(
    module: ModuleType, train: pl.DataFrame | None = None, valid: pl.DataFrame | None = None, **changes: Any
) -> HeadModel:
    """Fit a method on the known law, or on other tables."""
    seed_everything(COMMON.seed, COMMON.num_threads)
    config = module.CONFIG(**{**LOOP, **changes})
    tables = known_tables()[:2] if train is None else (train, train if valid is None else valid)
    return module.fit(config, COMMON, *tables, COLUMNS, FitContext(progress=lambda line: None)).model


def relative_errors(model: WatchTimeModel, statistics: tuple[str, ...]) -> dict[str, float]:
    """Mean absolute difference from the law's own statistic, as a share of that statistic's mean."""
    _, valid, law = known_tables()
    truth = {"mean": law.mean_N, "median": law.quantile_N(0.5), "expectation": law.mean_N}
    truth |= {name: law.quantile_N(float(name[9:])) for name in statistics if name.startswith("quantile:")}
    found = model.predict(valid, statistics)
    return {name: float(np.abs(found[name] - truth[name]).mean() / truth[name].mean()) for name in statistics}


def check_distribution(model: HeadModel) -> None:
    """Quantiles rise; cumulative probability, expected rank and mean_log are the law's."""
    assert isinstance(model, DistributionModel)
    _, valid, law = known_tables()
    names = [f"quantile:{level}" for level in (0.01, 0.1, 0.3, 0.6, 0.9, 0.99)]
    found = model.predict(valid, [*names, "expected_rank", "mean_log"])
    assert (np.diff(np.stack([found[name] for name in names]), axis=0) >= 0).all()
    assert (found[names[0]] >= 0).all()
    assert 0 <= found["expected_rank"].min() <= found["expected_rank"].max() <= 1
    label = valid["watch_time_s"].to_numpy()
    below, upto = model.cumulative(valid)
    assert (below <= upto).all() and below.min() >= 0 and upto.max() <= 1
    positive = label > 0
    assert np.abs(upto - law.cumulative_N(label))[positive].mean() < 0.03
    quantiles = np.stack([law.quantile_N((i + 0.5) / 500) for i in range(500)])
    assert np.abs(found["mean_log"] - np.log1p(quantiles).mean(axis=0)).mean() < 0.1
    assert np.abs(found["expected_rank"] - model.ranks(quantiles).mean(axis=0)).mean() < 0.03


def check_odd_tables(module: ModuleType, **changes: Any) -> None:
    """Zeros only, constant labels, one kind, one duration and no durations give finite statistics."""
    train, _, _ = known_tables()
    few = train.head(300)
    odd = {
        "zeros": few.with_columns(watch_time_s=pl.lit(0.0)),
        "constant": few.with_columns(watch_time_s=pl.lit(7.0)),
        "two values": few.with_columns(watch_time_s=pl.col("kind") * 3.0),
        "one kind": few.with_columns(kind=pl.lit(1)),
        "one duration": few.with_columns(duration_s=pl.lit(10.0)),
        "no durations": few.with_columns(duration_s=pl.lit(None, pl.Float64)),
    }
    for name, table in odd.items():
        same = name in ("zeros", "constant")
        model = fit(module, table, epochs=40 if same else 1, **changes)
        found = model.predict(table, model.statistics)
        assert all(np.isfinite(values).all() and (values >= 0).all() for values in found.values()), name
        if isinstance(model, DistributionModel):
            assert all(np.isfinite(part).all() for part in model.cumulative(table)), name
        if same:
            value = table["watch_time_s"][0]
            assert found["median"] == pytest.approx(value, abs=1.0), name


def check_files(module: ModuleType, tmp_path: Path, **changes: Any) -> None:
    """The same seed gives the same files; a loaded model predicts the same and saves the same files."""
    train = known_tables()[0].head(500)
    model = fit(module, train, epochs=1, **changes)
    model.save(tmp_path / "a")
    fit(module, train, epochs=1, **changes).save(tmp_path / "b")
    loaded = load_model(tmp_path / "a")
    loaded.save(tmp_path / "c")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert {"model.json", "network.safetensors", "prepared.safetensors"} <= set(names)
    for other in ("b", "c"):
        assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / other / name).read_bytes() for name in names)
    before, after = (each.predict(train, each.statistics) for each in (model, loaded))
    assert all(np.array_equal(before[name], after[name]) for name in model.statistics)
    (tmp_path / "a/prepared.safetensors").unlink()
    with pytest.raises(ValueError, match=f"not a saved {model.name} model"):
        load_model(tmp_path / "a")


def check_unknown_statistic(model: WatchTimeModel, name: str = "mode") -> None:
    """Another statistic is an error that names it and those there are."""
    with pytest.raises(KeyError, match=rf"{model.name} has no statistic {name}; it has median, mean"):
        model.predict(known_tables()[1], ["median", name])


def check_gradient(module: ModuleType, **changes: Any) -> None:
    """The gradient of the head's loss by memory and weights is that of finite differences, in float64."""
    train = known_tables()[0]
    config = module.MODEL.Config(width=5, **changes)
    encoder = TableEncoder.fit(train, COLUMNS, TableEncoderConfig())
    encoded = encoder.transform(train)
    torch.manual_seed(0)
    head = module.MODEL.Head(config, 5, module.MODEL.Head.prepare(config, encoded, encoder)).double()
    label_B = torch.from_numpy(encoded.label_N[:12])
    memory_BW = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    weights = [parameter.requires_grad_() for parameter in head.parameters()]

    def loss(memory_BW: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return head.loss(Rows(memory_BW, torch.from_numpy(encoded.numeric_ND[:12])), label_B)

    assert torch.autograd.gradcheck(loss, (memory_BW, *weights))


def encoded_known(num_rows: int) -> tuple[TableEncoder, EncodedTable]:
    """Encoder and encoded rows of the known law."""
    train = known_tables()[0].head(num_rows)
    encoder = TableEncoder.fit(train, COLUMNS, TableEncoderConfig())
    return encoder, encoder.transform(train)
