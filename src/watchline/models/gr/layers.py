"""Parts of the decoder. Cross-attention to a memory of one vector is a constant, so it has no query and no key."""

# B rows, P packed positions, N nodes of a decoding, D width, H heads, S earlier positions

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from watchline.models.gr.config import GRConfig

Attend = Callable[[Tensor], Tensor]


class DecoderLayer(nn.Module):
    """Causal self-attention, the memory, a feed-forward part. Plain nn.Linear modules throughout, so adapters fit.

    Attention over a single memory vector m gives o(v(m)) whatever the query is: one linear map, `memory`, of each row.
    """

    COMPILED = ("after_attention",)

    def __init__(self, config: GRConfig) -> None:
        super().__init__()
        width = config.width
        self.norm_first = config.norm_first
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.memory = nn.Linear(width, width)
        self.ffn_in = nn.Linear(width, config.ffn_width)
        self.ffn_out = nn.Linear(config.ffn_width, width)
        self.norm_attention, self.norm_ffn = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_memory = nn.Identity() if config.norm_first else nn.LayerNorm(width)
        self.dropout = config.dropout

    def forward(self, x_PD: Tensor, memory_PD: Tensor, attend: Attend) -> Tensor:
        """One layer over positions (P, D). `memory_PD`: `self.memory` of each position's row. `attend`: from the
        attention's input (P, D) to the heads' outputs side by side (P, D), before `self.o`."""
        return self.after_attention(x_PD, attend(self.norm_attention(x_PD) if self.norm_first else x_PD), memory_PD)

    def after_attention(self, x_PD: Tensor, attended_PD: Tensor, memory_PD: Tensor) -> Tensor:
        """The rest of the layer, position by position: output map, memory, feed-forward part, norms."""
        if self.norm_first:
            x_PD = x_PD + self._drop(self.o(attended_PD)) + memory_PD
            return x_PD + self._ffn(self.norm_ffn(x_PD))
        x_PD = self.norm_attention(x_PD + self._drop(self.o(attended_PD)))
        x_PD = self.norm_memory(x_PD + memory_PD)
        return self.norm_ffn(x_PD + self._ffn(x_PD))

    def _ffn(self, h_PD: Tensor) -> Tensor:
        return self._drop(self.ffn_out(self._drop(functional.relu(self.ffn_in(h_PD)))))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout) if self.dropout and self.training else x


def dropout(x: Tensor, chance: float) -> Tensor:
    """Inverted dropout; on a CPU four decisions of 16 bits share a draw, as drawing is most of what dropout costs."""
    if x.device.type != "cpu":
        return functional.dropout(x, chance)
    below = round(chance * 65536)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= below - 32768
    return x * kept.to(x.dtype).mul_(65536 / (65536 - below))


def position_table(config: GRConfig, num_positions: int) -> Tensor | None:
    """Sinusoidal encodings (positions, D) of Vaswani et al. 2017, small random numbers to learn from, or None."""
    if config.position == "none":
        return None
    if config.position == "learned":
        return torch.randn(num_positions, config.width) * 0.02
    angle = torch.arange(num_positions)[:, None] * torch.exp(
        -math.log(10_000.0) * torch.arange(0, config.width, 2) / config.width
    )
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, : config.width]


def packed_attention(q_PD: Tensor, k_PD: Tensor, v_PD: Tensor, blocks: Sequence[tuple[int, int]], heads: int) -> Tensor:
    """Causal attention within each packed row; rows of one length form a dense block, so nothing is padded."""
    sizes = [rows * positions for rows, positions in blocks]
    out = []
    for (rows, positions), *qkv in zip(blocks, q_PD.split(sizes), k_PD.split(sizes), v_PD.split(sizes)):
        if positions == 1:
            out.append(qkv[2])
            continue
        q, k, v = (part.view(rows, positions, heads, -1).transpose(1, 2) for part in qkv)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        out.append(attended.transpose(1, 2).reshape(rows * positions, -1))
    return torch.cat(out)
