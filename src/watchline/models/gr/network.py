"""The GR network: any feature encoder, a decoder over tokens, a training loss and a prediction of any statistic."""

# B rows, F categorical and D numeric columns, C classes, G knots of the labels' law, P packed positions

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from watchline.codec import Vocabulary
from watchline.models.base import quantile_level
from watchline.models.gr.config import GRConfig
from watchline.models.gr.cumulative import cumulative
from watchline.models.gr.decode import decode_rows
from watchline.models.gr.decoder import Decoder
from watchline.models.gr.label_law import LabelLaw
from watchline.models.gr.loss import mix_inputs, sequence_loss
from watchline.models.gr.packing import Packed, pack_labels
from watchline.models.gr.statistics import Request
from watchline.training.curriculum import teacher_share

# Rows decoded at a time: enough to fill the machine, few enough to stay in its cache; expectations split each row.
_ROWS, _ROWS_OF_EXPECTATIONS, _NODES_OF_ENUMERATION = 4096, 512, 1 << 18
_DEVICE_FACTOR = 16  # more of them on an accelerator


class GRNetwork(nn.Module):
    """Conditional distribution of the label given a row, as a distribution over greedy token sequences.

    `encoder(categorical_BF, numeric_BD)` gives memory vectors (B, config.width). Call `fit_ranks` with the training
    labels before asking for expectations. Source: arXiv 2412.20211; METHODS section 2 states where this differs.
    """

    class_value_s_C: Tensor

    def __init__(self, config: GRConfig, encoder: nn.Module, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.encoder = encoder
        self.decoder = Decoder(config, vocabulary)
        self.law = LabelLaw(vocabulary)
        values = torch.from_numpy(vocabulary.class_values * vocabulary.unit_s).float()
        self.register_buffer("class_value_s_C", values, persistent=False)

    def fit_ranks(self, labels_s: ArrayLike) -> None:
        """Take in the training labels (N,): ranks for `expected_rank`, conditional means for `mean`, `mean_log`."""
        self.law.fit(labels_s)

    def loss(
        self,
        categorical_BF: Tensor,
        numeric_BD: Tensor,
        label_s_B: Tensor,
        *,
        step: int,
        total_steps: int,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Mean loss over the rows; `step` of `total_steps` sets the curriculum, `generator` draws what it replaces.

        Labels are rounded to the vocabulary's unit and clipped to its cap; raises ValueError for negative ones.
        """
        packed = pack_labels(self.vocabulary, label_s_B)
        memory_BD = self.encoder(categorical_BF, numeric_BD).index_select(0, packed.order_B)
        logits_PC = self._logits(packed, memory_BD, teacher_share(self.config.curriculum, step, total_steps), generator)
        return sequence_loss(self.config, logits_PC, packed, label_s_B, self.class_value_s_C)

    def _logits(self, packed: Packed, memory_BD: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
        """Logits (P, C) of the pass that is trained: the only one, or the one after the curriculum's mixture."""
        embedded_PD = self.decoder.embed(packed)
        if share >= 1.0 or not self.training:
            return self.decoder(embedded_PD, memory_BD, packed)
        with torch.set_grad_enabled(self.config.curriculum.first_pass_gradient and torch.is_grad_enabled()):
            first_PC = self.decoder(embedded_PD, memory_BD, packed)
        mixed_PD = mix_inputs(self.decoder, self.config, packed, first_PC, share, generator)
        return self.decoder(mixed_PD, memory_BD, packed)

    @torch.no_grad()
    def predict(self, categorical_BF: Tensor, numeric_BD: Tensor, statistics: Sequence[str]) -> dict[str, Tensor]:
        """One float64 tensor (B,) per statistic: seconds; expected_rank 0 to 1; mean_log in log1p of seconds.

        Statistics: median, quantile:Q, mean, expected_rank, mean_log, window, argmax; asked together they share work.
        Raises KeyError for another one and RuntimeError for expectations before `fit_ranks`.
        """
        request = Request.parse(statistics)
        if request.expectations and not self.law.fitted:
            raise RuntimeError(f"{', '.join(request.expectations)}: call fit_ranks with the training labels first")
        rows = self._rows_at_a_time(request, categorical_BF.device)
        parts = [
            decode_rows(self.decoder, self.vocabulary, self.law, self.config, self.encoder(*part), request)
            for part in zip(categorical_BF.split(rows), numeric_BD.split(rows))
        ]
        levels = {name: quantile_level(name) for name in statistics}
        keys = {name: name if level is None else f"quantile:{level}" for name, level in levels.items()}
        return {name: torch.cat([part[key] for part in parts]) for name, key in keys.items()}

    @torch.no_grad()
    def cumulative(self, categorical_BF: Tensor, numeric_BD: Tensor, label_s_B: Tensor) -> tuple[Tensor, Tensor]:
        """F(y-) and F(y) of each row's label y, float64 (B,): probability below it, and up to it (cumulative.py)."""
        return cumulative(self.decoder, self.vocabulary, self.encoder(categorical_BF, numeric_BD), label_s_B)

    def _rows_at_a_time(self, request: Request, device: torch.device) -> int:
        rows = _ROWS_OF_EXPECTATIONS if request.expectations else _ROWS
        rows *= 1 if device.type == "cpu" else _DEVICE_FACTOR
        exact = request.expectations and 0 in (self.config.mean_tolerance_s, self.config.rank_tolerance)
        return min(rows, max(1, _NODES_OF_ENUMERATION // (self.vocabulary.cap + 1))) if exact else rows
