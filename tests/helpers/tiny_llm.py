"""A Llama of two layers that adds small numbers, and the same sums in other words to fine-tune it on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

LARGEST = 9  # of a summand
TEMPLATE = "Question: {query}\nAnswer:"
KNOWN_WORDINGS = (
    "{a} + {b} = {c}",
    "Well: {a} + {b} = {c}",
    "Now, {a} and {b} make {c}",
    "{a} and {b} make {c}",
)


def make_tokenizer() -> Any:
    """A byte-level BPE that puts every digit into a token of its own; <s> before each text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    digits, bytes_ = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [TEMPLATE.format(query=question(a, b)) + answer(a, b) for a, b in all_pairs()]
    tokenizer.train_from_iterator([*texts, *known_texts()], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def make_model(tokenizer: Any, **changes: Any) -> Any:
    """A randomly initialised Llama, hidden size 64."""
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
        **changes,
    }
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**settings))


def pretrain(model: Any, tokenizer: Any, num_steps: int) -> None:
    """Plain AdamW on sums in the wordings a fine-tune does not use."""
    texts = known_texts()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    draw = random.Random(0)
    for step in range(num_steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (num_steps - step) / (0.5 * num_steps))
        encoded = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in draw.sample(texts, 64)]
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in encoded], batch_first=True, padding_value=2)
        logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
        functional.cross_entropy(logits, ids[:, 1:].flatten(), ignore_index=2).backward()
        optimizer.step()
        optimizer.zero_grad()


def all_pairs() -> list[tuple[int, int]]:
    """All pairs of summands in a fixed random order."""
    pairs = [(a, b) for a in range(LARGEST + 1) for b in range(LARGEST + 1)]
    random.Random(1).shuffle(pairs)
    return pairs


def known_texts() -> list[str]:
    """Every sum in every wording of pre-training."""
    return [text.format(a=a, b=b, c=a + b) for a, b in all_pairs() for text in KNOWN_WORDINGS]


def question(a: int, b: int) -> str:
    """The new wording."""
    return f"{a} + {b}"


def answer(a: int, b: int) -> str:
    """What is to follow the prompt."""
    return f" {a + b}"


def write_jsonl(path: Path, pairs: list[tuple[int, int]], **extra: str) -> Path:
    """One question and answer per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"query": question(a, b), "response": answer(a, b), "result": str(a + b)} for a, b in pairs]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
