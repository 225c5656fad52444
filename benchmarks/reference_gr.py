"""GR written plainly from its formulas, to measure against: one label at a time, two full passes, no cache.

Per-row greedy encoding; a standard Transformer decoder with cross-attention, padded batches, dropout everywhere; CLEM's
two full passes; 19 fixed decoding steps, each over the whole prefix. Legal tokens are masked as in METHODS section 2,
so that the same weights mean the same distribution.
"""

# B rows, L padded positions, C classes, D width, H heads

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from watchline.codec import Vocabulary
from watchline.models.gr.config import GRConfig
from watchline.models.gr.decoder import Decoder

EOS = 0
NUM_STEPS = 19


def encode_label(values: tuple[int, ...], units: int) -> list[int]:
    """Classes of one label: for each value from the largest down, emit it while the remainder holds it."""
    classes = []
    for index in range(len(values) - 1, -1, -1):
        while units >= values[index]:
            classes.append(index + 1)
            units -= values[index]
    return classes


def pad_labels(vocabulary: Vocabulary, label_s_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Input and target classes (B, L) padded to the longest row, and which positions are real (B, L)."""
    cap, unit_s = vocabulary.cap, vocabulary.unit_s
    rows = [encode_label(vocabulary.values, min(round(label / unit_s), cap)) for label in label_s_B.tolist()]
    longest = max(map(len, rows)) + 1
    sos = vocabulary.num_classes
    inputs = [[sos, *row] + [EOS] * (longest - 1 - len(row)) for row in rows]
    targets = [row + [EOS] * (longest - len(row)) for row in rows]
    real = [[True] * (len(row) + 1) + [False] * (longest - 1 - len(row)) for row in rows]
    return torch.tensor(inputs), torch.tensor(targets), torch.tensor(real)


class Attention(nn.Module):
    """Multi-head attention with dropout on its weights."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.drop = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, source_BLD: Tensor, mask_LL: Tensor | None) -> Tensor:
        """Attend from `x` to `source`; `mask_LL` is True where attention is not allowed."""
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.q(x_BLD), self.k(source_BLD), self.v(source_BLD))
        )
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if mask_LL is not None:
            scores = scores.masked_fill(mask_LL, float("-inf"))
        return self.o((self.drop(scores.softmax(-1)) @ v).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Pre-norm Transformer decoder layer."""

    def __init__(self, config: GRConfig) -> None:
        super().__init__()
        width = config.width
        self.own = Attention(width, config.num_heads, config.dropout)
        self.cross = Attention(width, config.num_heads, config.dropout)
        self.ffn_in, self.ffn_out = nn.Linear(width, config.ffn_width), nn.Linear(config.ffn_width, width)
        self.norm_own, self.norm_cross, self.norm_ffn = (nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x_BLD: Tensor, memory_B1D: Tensor, mask_LL: Tensor) -> Tensor:
        """Self-attention, cross-attention, feed-forward."""
        h_BLD = self.norm_own(x_BLD)
        x_BLD = x_BLD + self.drop(self.own(h_BLD, h_BLD, mask_LL))
        x_BLD = x_BLD + self.drop(self.cross(self.norm_cross(x_BLD), memory_B1D, None))
        hidden = self.drop(functional.relu(self.ffn_in(self.norm_ffn(x_BLD))))
        return x_BLD + self.drop(self.ffn_out(hidden))


class ReferenceGR(nn.Module):
    """The plain network around any encoder (see `GRNetwork`)."""

    def __init__(self, config: GRConfig, encoder: nn.Module, vocabulary: Vocabulary) -> None:
        super().__init__()
        assert config.norm_first and config.position == "learned"
        self.config, self.vocabulary, self.encoder = config, vocabulary, encoder
        self.embedding = nn.Embedding(vocabulary.num_classes + 1, config.width)
        self.positions = nn.Parameter(torch.randn(NUM_STEPS + 1, config.width) * 0.02)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, vocabulary.num_classes)
        self.values_C = torch.from_numpy(vocabulary.class_values)

    @torch.no_grad()
    def copy_weights(self, decoder: Decoder) -> None:
        """Take over a decoder's weights; its memory map is cross-attention's v, with o the identity."""
        self.embedding.weight.copy_(decoder.embedding.weight)
        assert decoder.positions_LD is not None
        self.positions[: len(decoder.positions_LD)] = decoder.positions_LD
        self.norm.load_state_dict(decoder.norm.state_dict())
        self.head.load_state_dict(decoder.head.state_dict())
        for mine, theirs in zip(self.layers, decoder.decoder_layers):
            assert isinstance(mine, Layer)
            for name in ("q", "k", "v", "o"):
                mine.own.get_submodule(name).load_state_dict(theirs.get_submodule(name).state_dict())
            mine.cross.v.load_state_dict(theirs.memory.state_dict())
            mine.cross.o.weight.copy_(torch.eye(self.config.width))
            mine.cross.o.bias.zero_()
            mine.ffn_in.load_state_dict(theirs.ffn_in.state_dict())
            mine.ffn_out.load_state_dict(theirs.ffn_out.state_dict())
            mine.norm_own.load_state_dict(theirs.norm_attention.state_dict())
            mine.norm_ffn.load_state_dict(theirs.norm_ffn.state_dict())

    def logits(self, embedded_BLD: Tensor, memory_BD: Tensor, bound_BL: Tensor) -> Tensor:
        """Logits (B, L, C) of the next class at every position; `bound_BL` is the remainder's exclusive bound."""
        length = embedded_BLD.shape[1]
        x_BLD = embedded_BLD + self.positions[:length]
        mask_LL = torch.ones(length, length, dtype=torch.bool).triu(1)
        for layer in self.layers:
            x_BLD = layer(x_BLD, memory_BD[:, None], mask_LL)
        return self.head(self.norm(x_BLD)).masked_fill(self.values_C >= bound_BL[..., None], float("-inf"))

    def bounds(self, input_BL: Tensor) -> Tensor:
        """Bound before each position (B, L): the cap + 1, then min(R - v, v+ - v) after each token v."""
        bound_B = torch.full((len(input_BL),), self.vocabulary.cap + 1)
        bounds = [bound_B]
        for position in range(1, input_BL.shape[1]):
            bound_B = self.next_bound(bound_B, input_BL[:, position])
            bounds.append(bound_B)
        return torch.stack(bounds, dim=1)

    def next_bound(self, bound_B: Tensor, class_B: Tensor) -> Tensor:
        """Bound after one more class; `<eos>` keeps it."""
        larger_C = torch.cat([self.values_C[1:], torch.tensor([2 * self.vocabulary.cap + 2])])
        value_B = self.values_C[class_B]
        after_B = torch.minimum(bound_B - value_B, larger_C[class_B] - value_B)
        return torch.where(class_B == EOS, bound_B, after_B)

    def window_values(self, probability_BLC: Tensor) -> Tensor:
        """Expectation (B, L) over the window around the likeliest class, seconds; 0 where that is `<eos>`."""
        best_BL = probability_BLC.argmax(-1)
        half, classes_C = self.config.window // 2, torch.arange(self.vocabulary.num_classes)
        near_BLC = ((classes_C - best_BL[..., None]).abs() <= half) & (classes_C != EOS)
        weight_BLC = probability_BLC.double() * near_BLC
        value_BL = (weight_BLC * self.values_C).sum(-1) * self.vocabulary.unit_s / weight_BLC.sum(-1).clamp(min=1e-12)
        return value_BL * (best_BL != EOS)

    def loss(self, categorical_BF: Tensor, numeric_BD: Tensor, label_s_B: Tensor, share: float) -> Tensor:
        """Loss of the second pass, whose input mixes in the first pass's predictions with probability 1 - share."""
        input_BL, target_BL, real_BL = pad_labels(self.vocabulary, label_s_B)
        memory_BD = self.encoder(categorical_BF, numeric_BD)
        bound_BL = self.bounds(input_BL)
        embedded_BLD = self.embedding(input_BL)
        first_BLC = self.logits(embedded_BLD, memory_BD, bound_BL)
        mixed_BLD = first_BLC.softmax(-1)[:, :-1] @ self.embedding.weight[:-1]
        replaced_BL1 = torch.rand(mixed_BLD.shape[:2])[..., None] >= share
        later_BLD = torch.where(replaced_BL1, mixed_BLD, embedded_BLD[:, 1:])
        logits_BLC = self.logits(torch.cat([embedded_BLD[:, :1], later_BLD], dim=1), memory_BD, bound_BL)
        rows = len(label_s_B)
        entropy = functional.cross_entropy(logits_BLC[real_BL], target_BL[real_BL], reduction="sum") / rows
        value_B = (self.window_values(logits_BLC.softmax(-1)) * real_BL).sum(1)
        huber = functional.huber_loss(value_B, label_s_B.double(), delta=self.config.huber_delta_s)
        return self.config.w_ce * entropy + self.config.w_huber * huber

    @torch.no_grad()
    def decode_window(self, categorical_BF: Tensor, numeric_BD: Tensor) -> Tensor:
        """Sum of windowed expectations (B,) along the likeliest path, by NUM_STEPS full passes over the prefix."""
        memory_BD = self.encoder(categorical_BF, numeric_BD)
        rows = len(memory_BD)
        input_BL = torch.full((rows, 1), self.vocabulary.num_classes)
        bound_BL = torch.full((rows, 1), self.vocabulary.cap + 1)
        total_B = torch.zeros(rows, dtype=torch.float64)
        ended_B = torch.zeros(rows, dtype=torch.bool)
        for _ in range(NUM_STEPS):
            logits_BLC = self.logits(self.embedding(input_BL), memory_BD, bound_BL)
            probability_BC = logits_BLC[:, -1].softmax(-1)
            best_B = probability_BC.argmax(-1)
            ended_B |= best_B == EOS
            total_B += self.window_values(probability_BC[:, None])[:, 0] * ~ended_B
            bound_BL = torch.cat([bound_BL, self.next_bound(bound_BL[:, -1], best_B)[:, None]], dim=1)
            input_BL = torch.cat([input_BL, best_B[:, None]], dim=1)
        return total_B
