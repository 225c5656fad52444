"""A reward model answers: what remains for logs of one policy, labelled as what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from watchline.data.columns import Columns
from watchline.data.encoding import TableEncoder, TableEncoderConfig
from watchline.experiment.assignment import assign
from watchline.experiment.environments.base import Floats, Ints
from watchline.metrics import rmse, xauc

# Columns of many codes (users, videos, authors) are left out: two days are too few to learn each of them.
_MAX_CATEGORIES = 64
_ID_COLUMNS = frozenset({"user_id", "video_id"})


@dataclass(frozen=True)
class RewardAnswers:
    """Expected watch times (B,), and what draws are made of: predictions and bins (B,), a bin's relative plays."""

    mean_s: Floats
    predicted: Floats
    bins: Ints
    plays: tuple[Floats, ...]

    def draw(self, rows: Ints, generator: np.random.Generator) -> Floats:
        """One drawn watch time of each of `rows`, seconds: the prediction times a play of its bin."""
        bins, position, play = self.bins[rows], generator.random(rows.shape), np.empty(rows.shape)
        for number, plays in enumerate(self.plays):
            of_bin = bins == number
            play[of_bin] = plays[(position[of_bin] * len(plays)).astype(np.int64)]
        return self.predicted[rows] * play


class RewardModelEnvironment:
    """A reward model in the world's place: what remains for logs of one policy, and no proof of anything online.

    m(x), gradient-boosted trees of Tweedie loss, is fitted on the exposures of half of the users on days that no arm
    was trained on. The other half of the users calibrates it: rows are cut by m into `num_bins` bins of equal size, and
    an answer is m(x) times y / mean(m) of a row drawn from its bin, so that zeros and the tail are those of real plays.
    Expectation: m(x) * mean(y) / mean(m) of the bin. Assumption: given the features, the videos of the log were shown
    independently of what else moves watch time. Arms of the same family and features as m are favoured.
    """

    name: ClassVar[str] = "model"
    is_truth: ClassVar[bool] = False

    def __init__(
        self, exposures: pl.DataFrame, columns: Columns, *, seed: int, num_trees: int = 100, num_bins: int = 20
    ) -> None:
        """Fit on labelled rows of `exposures`; raises ValueError when half of the users has fewer rows than bins."""
        is_fit = assign(exposures["user_id"].to_numpy(), f"reward-{seed}") == 0
        fit, held_out = exposures.filter(is_fit), exposures.filter(~is_fit)
        if min(len(fit), len(held_out)) < num_bins:
            raise ValueError(
                f"{len(exposures)} labelled rows of {exposures['user_id'].n_unique()} users are too few for a reward "
                f"model with {num_bins} bins; lengthen window.eval_days or take abtest.environment=oracle"
            )
        few = [name for name in columns.categorical if fit[name].n_unique() <= _MAX_CATEGORIES]
        used = tuple(name for name in few if name not in _ID_COLUMNS)
        self.columns = Columns(columns.label, columns.keys, used, columns.numeric)
        self._encoder = TableEncoder.fit(fit, self.columns, TableEncoderConfig())
        self._booster = self._fit_trees(fit, seed, num_trees)
        self._fit_answers(held_out, num_bins)

    def _fit_trees(self, fit: pl.DataFrame, seed: int, num_trees: int) -> Any:
        import lightgbm

        data = lightgbm.Dataset(
            self._arrays(fit),
            label=fit[self.columns.label].to_numpy(),
            categorical_feature=list(range(len(self.columns.categorical))),
        )
        settings = {
            "objective": "tweedie",
            "tweedie_variance_power": 1.5,
            "learning_rate": 0.05,
            "num_leaves": 15,
            "min_data_in_leaf": 100,
            "cat_smooth": 50,
            "seed": seed,
            "num_threads": 1,  # tens of thousands of rows: a second thread costs more than it brings
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        return lightgbm.train(settings, data, num_boost_round=num_trees)

    def _fit_answers(self, held_out: pl.DataFrame, num_bins: int) -> None:
        label, predicted = held_out[self.columns.label].to_numpy(), self._predict(held_out)
        order = np.argsort(predicted, kind="stable")
        parts = np.array_split(order, num_bins)
        self._edges = predicted[[part[0] for part in parts[1:]]]
        self._plays = tuple(label[part] / predicted[part].mean() for part in parts)
        self._scale = np.array([plays.mean() for plays in self._plays])
        answered = predicted * self._scale[self._bin_of(predicted)]
        self.fit_quality = {
            "rows": len(label),
            "rmse_s": rmse(label, answered),
            "xauc": xauc(label, answered),
            "calibration_before_scaling": float(predicted.mean() / label.mean()) if label.mean() else 1.0,
        }

    def _arrays(self, exposures: pl.DataFrame) -> NDArray[np.float64]:
        codes, numbers = self._encoder.codes(exposures), self._encoder.numbers(exposures)
        return np.concatenate([codes.astype(np.float64), numbers], axis=1)

    def _predict(self, exposures: pl.DataFrame) -> Floats:
        predicted: Floats = self._booster.predict(self._arrays(exposures))
        return predicted

    def _bin_of(self, predicted: Floats) -> Ints:
        return np.searchsorted(self._edges, predicted, side="right")

    def answer(self, exposures: pl.DataFrame) -> RewardAnswers:
        """The reward model's answers to a table of exposures."""
        predicted = self._predict(exposures)
        bins = self._bin_of(predicted)
        return RewardAnswers(predicted * self._scale[bins], predicted, bins, self._plays)

    def known(self, user_id: Ints, video_id: Ints) -> None:
        """The reward model answers everything."""
