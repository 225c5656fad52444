"""Causal language models of the transformers library: load, prepare for training, check, save."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from watchline.sft.config import ModelConfig
from watchline.sft.precision import DTYPES, Precision
from watchline.sft.prompts import chat_template


def load_tokenizer(config: ModelConfig) -> Any:
    """The tokenizer beside the model; raises ValueError naming the model when there is none."""
    from transformers import AutoTokenizer

    _check_folder(config)
    try:
        return AutoTokenizer.from_pretrained(config.name, revision=config.revision)
    except (OSError, ValueError) as error:
        raise ValueError(f"{config.name}: no tokenizer can be loaded from it: {error}") from error


def load_model(config: ModelConfig, precision: Precision) -> Any:
    """The model on the CPU with weights in `precision`; raises ValueError naming it when it cannot be loaded."""
    from transformers import AutoModelForCausalLM

    _check_folder(config)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            config.name, revision=config.revision, dtype=DTYPES[precision], attn_implementation="sdpa"
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"{config.name}: no causal language model can be loaded from it: {error}") from error
    if config.untie:
        untie(model)
    return model


def untie(model: Any) -> None:
    """Give the output layer a copy of the weights it shares with the embedding."""
    output = model.get_output_embeddings()
    if output.weight is model.get_input_embeddings().weight:
        output.weight = nn.Parameter(output.weight.detach().clone())
        model.config.tie_word_embeddings = False
        model.all_tied_weights_keys = {}  # transformers' own list, by which saving leaves out what is tied


def prepare(model: Any, *, activation_checkpointing: bool) -> None:
    """Switch recomputation of every layer in the backward pass on, on demand."""
    if activation_checkpointing:
        # Not the reentrant kind: it would need an input that requires a gradient, and embeddings may be frozen.
        model.activation_checkpointing_enable({"use_reentrant": False})


def check_isolation(model: Any) -> None:
    """Raise ValueError unless a packed example is blind to the one before it: exactly no gradient reaches that."""
    device = model.get_input_embeddings().weight.device
    half, vocabulary = 4, model.get_input_embeddings().weight.shape[0]
    ids = (torch.arange(1, 2 * half + 1, device=device) % vocabulary).unsqueeze(0)
    positions = torch.arange(half, device=device).repeat(2).unsqueeze(0)
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
    model.eval()
    logits = model(inputs_embeds=embedded, position_ids=positions, use_cache=False).logits
    (gradient,) = torch.autograd.grad(logits[:, half:].float().square().sum(), embedded)
    if gradient[:, :half].any():
        raise ValueError(
            f"{type(model).__name__} looks across the examples of a packed sequence; set train.sequence.packing=false"
        )


def save(model: Any, tokenizer: Any, template: str, directory: Path) -> None:
    """Model and tokenizer as `from_pretrained` reads them, the prompt template as chat template."""
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory)
    tokenizer.chat_template = chat_template(template)
    for how_it_was_loaded in ("is_local", "local_files_only"):  # of this machine and its environment, not of the model
        tokenizer.init_kwargs.pop(how_it_was_loaded, None)
    tokenizer.save_pretrained(directory)


def _check_folder(config: ModelConfig) -> None:
    if config.path is not None and not (config.path / "config.json").is_file():
        raise ValueError(
            f"{config.path / 'config.json'}: no such file; train.model.path names a folder that save_pretrained wrote "
            "(for a model of the hub set train.model.id)"
        )
