"""The training loss: likelihood and rank scores of the sequence, Huber of its windowed expectation, the curriculum."""

# B rows, P packed positions, C classes, D width

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from watchline.codec import EOS
from watchline.models.gr.config import GRConfig
from watchline.models.gr.decoder import Decoder
from watchline.models.gr.packing import Packed


def window_values(probability_NC: Tensor, class_value_C: Tensor, window: int, renormalised: bool) -> Tensor:
    """Expectation (N,) of the token values within `window` / 2 tokens of the likeliest; 0 where that is `<eos>`.

    The paper sums probability times value over the window; renormalised, it is the mean within the window.
    """
    last = probability_NC.shape[1] - 1
    best_N = probability_NC.argmax(dim=1)
    low_N = (best_N - window // 2).clamp(min=EOS + 1)
    high_N = (best_N + window // 2).clamp(max=last)
    classes_C = torch.arange(last + 1, device=best_N.device)
    inside_NC = (classes_C >= low_N[:, None]) & (classes_C <= high_N[:, None])
    weight_NC = probability_NC * inside_NC
    # No matrix product: under autocast it would round seconds to the three digits of bfloat16.
    value_N = (weight_NC * class_value_C.to(weight_NC.dtype)).sum(dim=1)
    if renormalised:
        value_N = value_N / weight_NC.sum(dim=1).clamp(min=1e-12)
    return value_N * (best_N != EOS)


def mix_inputs(
    decoder: Decoder,
    config: GRConfig,
    packed: Packed,
    first_logits_PC: Tensor,
    share: float,
    generator: torch.Generator | None,
) -> Tensor:
    """Input embeddings (P, D) of the second pass: from position 1 on, with probability 1 - `share`, the first pass's
    prediction of that token instead of the token: its mean embedding (mixup) or its likeliest class (sample)."""
    embedded_PD = decoder.embed(packed)
    if config.curriculum.kind == "mixup":
        predicted_PD = first_logits_PC.softmax(dim=1) @ decoder.embedding.weight[:-1]
    else:
        predicted_PD = decoder.embedding(first_logits_PC.argmax(dim=1))
    # The prediction for a row's position i was made at i - 1, its neighbour in the flat layout.
    predicted_PD = predicted_PD.roll(1, dims=0)
    device = generator.device if generator is not None else embedded_PD.device
    drawn_P = torch.rand(len(embedded_PD), generator=generator, device=device).to(embedded_PD.device)
    replaced_P = (drawn_P >= share) & (packed.position_P > 0)
    return torch.where(replaced_P[:, None], predicted_PD, embedded_PD)


def rank_scores(logits_PC: Tensor, target_P: Tensor) -> Tensor:
    """Ranked probability score (P,) of each position: sum over classes c of (P(class <= c) - 1[target <= c])^2.

    The likelihood sees the probability of the target alone; this proper score also sees how far off the rest of the
    distribution lies, in classes, which are ordered as labels are. Source: Epstein 1969, "A scoring system for
    probability forecasts of ranked categories".
    """
    cumulative_PC = logits_PC.softmax(dim=1).cumsum(dim=1)
    reached_PC = target_P[:, None] <= torch.arange(logits_PC.shape[1], device=target_P.device)
    return (cumulative_PC - reached_PC.to(cumulative_PC.dtype)).square().sum(dim=1)


def sequence_loss(
    config: GRConfig, logits_PC: Tensor, packed: Packed, label_s_B: Tensor, class_value_s_C: Tensor
) -> Tensor:
    """Mean over rows of w_ce * -log p(sequence) + w_rps * rank scores of its positions, summed, + w_huber * Huber(sum
    over positions of windowed values, label)."""
    rows = len(packed.order_B)
    loss = logits_PC.new_zeros(())
    if config.w_ce:
        loss = loss + config.w_ce * functional.cross_entropy(logits_PC, packed.target_P, reduction="sum") / rows
    if config.w_rps:
        loss = loss + config.w_rps * rank_scores(logits_PC, packed.target_P).sum() / rows
    if config.w_huber:
        values_P = window_values(logits_PC.softmax(1), class_value_s_C, config.window, config.window_renormalised)
        value_B = values_P.new_zeros(rows).index_add(0, packed.row_P, values_P)
        label_B = label_s_B[packed.order_B].to(value_B.dtype)
        loss = loss + config.w_huber * functional.huber_loss(value_B, label_B, delta=config.huber_delta_s)
    return loss
