"""Small networks, settings and training loops that the tests of the adapters share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tests.helpers import plain_hd_pissa as plain
from watchline.adapters.hd_pissa import Adapters, HDPiSSAConfig
from watchline.adapters.tuner import FullConfig, PeftConfig, Tuner, TunerConfig

METHODS = ["hd_pissa", "lora", "pissa", "full"]
NUM_TOKENS = 11


def config(rank: int = 2, num_slices: int = 4, **others: Any) -> HDPiSSAConfig:
    """HD-PiSSA on every linear map."""
    return HDPiSSAConfig(**{"rank": rank, "num_slices": num_slices, "targets": ("*",), **others})


def settings(method: str, **others: Any) -> TunerConfig:
    """Any method on every linear map: four shards, and rank 2 where there is one."""
    values = {"method": method, "num_slices": 4, "targets": ("*",), **others}
    if method == "full":
        return FullConfig(**values)
    return (HDPiSSAConfig if method == "hd_pissa" else PeftConfig)(**{"rank": 2, **values})


def weights(network: nn.Sequential) -> list[Tensor]:
    """Copies of the weights of the linear maps."""
    return [layer.weight.detach().clone() for layer in plain.linears(network)]


def moves(after: Iterable[Tensor], before: Iterable[Tensor]) -> list[Tensor]:
    """How far each weight went, in its own dtype."""
    return [a - b for a, b in zip(after, before, strict=True)]


def relative_error(found: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """The largest of all weights, in the Frobenius norm."""
    pairs = zip(found, expected, strict=True)
    return max(float((f.double() - e.double()).norm() / e.double().norm()) for f, e in pairs)


def applied_share(found: Tensor, expected: Tensor) -> float:
    """How much of a movement another one holds: their inner product over the squared norm."""
    return float((found.double() * expected.double()).sum() / expected.double().square().sum())


def feed(network: nn.Module, adapters: Adapters | Tuner, shards: list[plain.Batch], accumulation: int = 1) -> None:
    """A backward pass of every hosted shard on its own rows, in `accumulation` parts."""
    for j in adapters.hosted_slices:
        x, target = shards[j]
        with adapters.slice(j):
            for part_x, part_target in zip(x.chunk(accumulation), target.chunk(accumulation), strict=True):
                (plain.squared_error(network(part_x), part_target) / accumulation).backward()


def make_token_network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """The plain network behind an embedding, so that there is something beside linear maps to train."""
    embedding = nn.Embedding(NUM_TOKENS, 12)
    with torch.no_grad():
        embedding.weight.copy_(torch.randn(NUM_TOKENS, 12, generator=torch.Generator().manual_seed(2)))
    return nn.Sequential(embedding.to(dtype), *plain.make_network(dtype=dtype))


def make_token_batches(num_steps: int, num_slices: int, dtype: torch.dtype = torch.float32) -> list[list[plain.Batch]]:
    """[step][shard] -> tokens (4, 3), target (4, 3, 24), different for each."""
    generator = torch.Generator().manual_seed(3)

    def draw() -> plain.Batch:
        tokens = torch.randint(NUM_TOKENS, (4, 3), generator=generator)
        return tokens, torch.randn(4, 3, 24, generator=generator).to(dtype)

    return [[draw() for _ in range(num_slices)] for _ in range(num_steps)]


def tune(network: nn.Module, tuner: Tuner, batches: list[list[plain.Batch]], lr: float = 1e-3) -> None:
    """A step per batch."""
    for shards in batches:
        feed(network, tuner, shards)
        tuner.step(lr)
