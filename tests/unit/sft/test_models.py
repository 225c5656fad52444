"""Models before, in and after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.tiny_llm import make_model, make_tokenizer
from watchline.adapters.hd_pissa import HDPiSSAConfig
from watchline.adapters.tuner import build_tuner
from watchline.sft.batches import make_batch
from watchline.sft.config import ModelConfig
from watchline.sft.loop import token_losses
from watchline.sft.models import check_isolation, load_model, load_tokenizer, prepare, save, untie
from watchline.sft.tokens import TokenSequence

pytest.importorskip("transformers", reason="the models come from transformers")
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


def sequences() -> list[TokenSequence]:
    return [TokenSequence(np.arange(5 + i, 15 + 2 * i, dtype=np.int32), 3) for i in range(4)]


def trained(tokenizer: Any, *, activation_checkpointing: bool) -> dict[str, torch.Tensor]:
    """Weights after two steps of HD-PiSSA with two slices on this process."""
    model = make_model(tokenizer, attn_implementation="sdpa")
    prepare(model, activation_checkpointing=activation_checkpointing)
    model.train()
    tuner = build_tuner(model, HDPiSSAConfig(rank=4, num_slices=2, targets=TARGETS), seed=0)
    for _ in range(2):
        for j in tuner.hosted_slices:
            with tuner.slice(j):
                token_losses(model, make_batch([(2 * j,), (2 * j + 1,)], sequences(), pad_id=2)).backward()
        tuner.step(1e-2)
    return tuner.tensors()


def test_recomputing_activations_changes_no_bit_of_the_weights(tokenizer: Any) -> None:
    plain, recomputed = (trained(tokenizer, activation_checkpointing=on) for on in (False, True))
    assert plain and plain.keys() == recomputed.keys()
    assert all(torch.equal(plain[name], recomputed[name]) for name in plain)


def test_activation_checkpointing_does_run_the_layers_twice(tokenizer: Any) -> None:
    model = make_model(tokenizer)
    calls: list[int] = []
    model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    prepare(model, activation_checkpointing=True)
    token_losses(model.train(), make_batch([(0,)], sequences(), pad_id=2)).backward()
    assert len(calls) == 2


def test_a_model_that_looks_across_packed_examples_is_refused(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tokenizer, attn_implementation="sdpa")
    check_isolation(model)
    check_isolation(model.to(torch.bfloat16))
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda position_ids, **kwargs: forward(**kwargs))
    with pytest.raises(ValueError, match=r"LlamaForCausalLM looks across .* train\.sequence\.packing=false"):
        check_isolation(model)


def test_a_saved_model_is_loaded_as_it_was_with_the_prompt_as_chat_template(tokenizer: Any, tmp_path: Path) -> None:
    model = make_model(tokenizer)
    save(model, make_tokenizer(), "Q {query} A", tmp_path / "saved")
    config = ModelConfig(path=tmp_path / "saved")
    loaded = load_model(config, "fp32").state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())
    messages = [{"role": "user", "content": "x"}]
    text = load_tokenizer(config).apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "Q x A"
    assert load_model(config, "bf16").dtype == torch.bfloat16


def test_an_output_layer_that_is_untied_stays_so_in_the_saved_model(tokenizer: Any, tmp_path: Path) -> None:
    model = make_model(tokenizer, tie_word_embeddings=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    untie(model)
    with torch.no_grad():
        model.lm_head.weight += 1
    save(model, make_tokenizer(), "{query}", tmp_path / "saved")
    loaded = load_model(ModelConfig(path=tmp_path / "saved"), "fp32")
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    assert torch.equal(loaded.model.embed_tokens.weight, model.model.embed_tokens.weight)


def test_a_folder_without_a_model_is_an_error_that_names_it(tmp_path: Path) -> None:
    for load in (load_tokenizer, lambda config: load_model(config, "fp32")):
        with pytest.raises(ValueError, match=r"none/config\.json: no such file; train\.model\.path names a folder"):
            load(ModelConfig(path=tmp_path / "none"))


def test_a_model_without_a_tokenizer_is_an_error_that_names_it(tokenizer: Any, tmp_path: Path) -> None:
    make_model(tokenizer).save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="bare: no tokenizer can be loaded"):
        load_tokenizer(ModelConfig(path=tmp_path / "bare"))
