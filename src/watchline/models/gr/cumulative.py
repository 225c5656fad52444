"""The cumulative distribution at given labels: exact, in one teacher-forced pass over their own sequences.

Sequences are ordered as labels are, so the labels below y are those whose sequence, where it parts from y's, has a
smaller class: P(label < y) sums, over y's positions, the probability of y's prefix times that of smaller classes.
"""

# B rows, D width, P packed positions, C classes

from __future__ import annotations

import torch
from torch import Tensor

from watchline.codec import Vocabulary
from watchline.models.gr.decoder import Decoder
from watchline.models.gr.packing import Packed, pack_labels


def cumulative(decoder: Decoder, vocabulary: Vocabulary, memory_BD: Tensor, label_s_B: Tensor) -> tuple[Tensor, Tensor]:
    """F(y-) and F(y) of each row's label y, float64 (B,): probability of the labels below it, and up to it.

    Labels (B,) are rounded to the vocabulary's unit and clipped to its cap; raises ValueError for negative or
    non-finite ones.
    """
    packed = pack_labels(vocabulary, label_s_B)
    logits_PC = decoder(decoder.embed(packed), memory_BD.index_select(0, packed.order_B), packed)
    probability_PC = logits_PC.double().softmax(dim=1)
    target_P1 = packed.target_P[:, None]
    smaller_PC = torch.arange(probability_PC.shape[1], device=target_P1.device) < target_P1
    below_P = (probability_PC * smaller_PC).sum(dim=1)
    below, own = _along_rows(packed, below_P, probability_PC.gather(1, target_P1).squeeze(1))
    below_B, own_B = torch.empty_like(below), torch.empty_like(own)
    below_B[packed.order_B], own_B[packed.order_B] = below, own
    below_B = below_B.clamp(max=1.0)  # a sum of probabilities can come out a rounding above 1
    return below_B, (below_B + own_B).clamp(max=1.0)


def _along_rows(packed: Packed, below_P: Tensor, chosen_P: Tensor) -> tuple[Tensor, Tensor]:
    """Per packed row (B,): sum of `below` weighted by the probability of the prefix, and the whole sequence's.

    An `<eos>` that is certain has no position: its probability is 1, and no class is smaller.
    """
    sizes = [rows * positions for rows, positions in packed.blocks]
    below, own = [], []
    for (rows, positions), *parts in zip(packed.blocks, below_P.split(sizes), chosen_P.split(sizes)):
        smaller, chosen = (part.view(rows, positions) for part in parts)
        path = chosen.cumprod(dim=1)
        before = torch.cat([torch.ones_like(path[:, :1]), path[:, :-1]], dim=1)
        below.append((smaller * before).sum(dim=1))
        own.append(path[:, -1])
    return torch.cat(below), torch.cat(own)
