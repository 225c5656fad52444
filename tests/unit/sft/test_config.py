"""Settings of recipes/llm_sft: what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from watchline.config import ConfigError, parse
from watchline.sft.config import SFTConfig

VALUES: dict[str, Any] = {
    "model": {"path": "model"},
    "data": {"path": "data.jsonl"},
    "sequence": {"length": 64, "packing": False, "template": "{query}"},
    "tuner": {"method": "hd_pissa", "rank": 4, "num_slices": 4, "targets": ["q_proj"]},
    "num_processes": 2,
    "precision": "fp32",
    "activation_checkpointing": False,
    "seed": 1,
    "epochs": 1,
    "micro_batch_size": 2,
    "accumulation": 8,
    "lr": 1e-3,
    "warmup_share": 0.0,
    "log_every": 1,
    "checkpoint_every": 1,
}


def parsed(**changes: Any) -> SFTConfig:
    config: SFTConfig = parse(SFTConfig, {**VALUES, **changes}, "params.yaml: train")
    return config


def test_a_slice_gets_its_share_of_the_micro_batches_of_a_step() -> None:
    assert parsed().rows_per_slice == 2 * 8 // 4


@pytest.mark.parametrize("name", ["model", "data"])
@pytest.mark.parametrize("source", [{}, {"path": "???"}])
def test_a_source_that_is_not_named_says_how_to_name_it(name: str, source: dict[str, str]) -> None:
    config = parsed(**{name: source})
    with pytest.raises(ConfigError, match=rf"train\.{name}: neither path .* -S train\.{name}\.path=PATH"):
        config.check_sources()


def test_a_hub_id_stands_for_a_path() -> None:
    config = parsed(model={"path": "???", "id": "owner/model", "revision": "abc"}, data={"id": "owner/data"})
    config.check_sources()
    assert config.model.name == "owner/model"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"path": "a", "id": "b"}}, "path=a and id=b are both set"),
        ({"data": {"path": "a", "revision": "b"}}, "revision=b is that of a hub id"),
        ({"num_processes": 3}, "num_processes=3 must divide tuner.num_slices=4"),
        ({"accumulation": 6}, "tuner.num_slices=4 must divide accumulation=6"),
        ({"sequence": {**VALUES["sequence"], "template": "no place"}}, r"\{query\} exactly once"),
        ({"sequence": {**VALUES["sequence"], "template": "{query} {query}"}}, r"\{query\} exactly once"),
        ({"tuner": {"method": "magic"}}, "magic"),
        ({"learning_rate": 1}, "learning_rate: unknown parameter"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_rule(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed(**changes)
