"""Examples as tokens: the prompt, then the response and eos, which alone carry the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watchline.sft.config import SequenceConfig
from watchline.sft.examples import Example
from watchline.sft.prompts import fill

_CHUNK = 2048  # examples tokenised at a time


@dataclass(frozen=True)
class TokenSequence:
    """Tokens of one example (T,) int32; the loss is on those from `prompt_length` on."""

    ids: NDArray[np.int32]
    prompt_length: int

    @property
    def num_targets(self) -> int:
        """Tokens that are predicted; the first token of a sequence has nothing to be predicted from."""
        return len(self.ids) - max(1, self.prompt_length)


@dataclass(frozen=True)
class TokenSet:
    """Sequences in the order of the examples, and what became of those that were too long."""

    sequences: list[TokenSequence]
    num_truncated: int
    num_dropped: int

    @property
    def num_targets(self) -> int:
        """Tokens that carry a loss."""
        return sum(sequence.num_targets for sequence in self.sequences)


def tokenize(examples: Sequence[Example], tokenizer: Any, config: SequenceConfig) -> TokenSet:
    """Tokens of every example, cut to `length`; one whose prompt leaves no room for its response is dropped.

    A response that is cut keeps no eos: the model must not learn to stop in the middle. Raises ValueError when the
    tokenizer has no eos, and when nothing is left.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no eos token, so the model could never learn to stop; set one and save it")
    sequences: list[TokenSequence] = []
    truncated = 0
    for start in range(0, len(examples), _CHUNK):
        for sequence in _chunk(examples[start : start + _CHUNK], tokenizer, config):
            cut = TokenSequence(sequence.ids[: config.length], sequence.prompt_length)
            if cut.num_targets > 0:
                sequences.append(cut)
                truncated += len(cut.ids) < len(sequence.ids)
    if not sequences:
        raise ValueError(
            f"all {len(examples)} prompts fill train.sequence.length={config.length} tokens and leave no room for a "
            "response; raise it, or shorten train.sequence.template"
        )
    return TokenSet(sequences, truncated, len(examples) - len(sequences))


def _chunk(examples: Sequence[Example], tokenizer: Any, config: SequenceConfig) -> list[TokenSequence]:
    prompts = [fill(config.template, example.query) for example in examples]
    prompt_ids = _ids(prompts, tokenizer)
    whole_ids = _ids([prompt + example.response for prompt, example in zip(prompts, examples)], tokenizer)
    sequences = []
    for example, prompt, whole in zip(examples, prompt_ids, whole_ids):
        # Read in one, a response begins as it will in generation. Where the last token of the prompt swallows the first
        # letters of the response it is tokenised on its own, because generation starts after the prompt's own tokens.
        if whole[: len(prompt)] != prompt:
            whole = prompt + tokenizer(example.response, add_special_tokens=False)["input_ids"]
        ids = np.array([*whole, tokenizer.eos_token_id], dtype=np.int32)
        sequences.append(TokenSequence(ids, len(prompt)))
    return sequences


def _ids(texts: list[str], tokenizer: Any) -> list[list[int]]:
    """Tokens of each text, with the bos the tokenizer puts before and without the eos some put behind."""
    eos = tokenizer.eos_token_id
    rows: list[list[int]] = tokenizer(texts, return_attention_mask=False)["input_ids"]
    return [row[:-1] if row and row[-1] == eos else row for row in rows]
