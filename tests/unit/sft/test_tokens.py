"""Prompts, tokens, and where the loss is."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest

from tests.helpers.tiny_llm import TEMPLATE, make_tokenizer
from watchline.sft.config import SequenceConfig
from watchline.sft.examples import Example
from watchline.sft.prompts import chat_template, fill
from watchline.sft.tokens import tokenize

pytest.importorskip("transformers", reason="tokenizers come from transformers")
EXAMPLES = [Example("3 + 4", " 7"), Example("9 + 8", " 17")]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


def config(length: int = 64, template: str = TEMPLATE) -> SequenceConfig:
    return SequenceConfig(length=length, packing=False, template=template)


def test_the_loss_is_on_the_response_and_eos_alone(tokenizer: Any) -> None:
    for sequence, example in zip(tokenize(EXAMPLES, tokenizer, config()).sequences, EXAMPLES, strict=True):
        targets = sequence.ids[sequence.prompt_length :]
        assert targets[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(targets[:-1]) == example.response
        assert sequence.num_targets == len(targets)


@pytest.mark.parametrize("template", [TEMPLATE, "Que{query}"])
@pytest.mark.parametrize("example", [*EXAMPLES, Example("sti", "on: 1"), Example("stion", "")])
def test_a_sequence_begins_with_the_very_tokens_generation_begins_with(
    tokenizer: Any, template: str, example: Example
) -> None:
    (sequence,) = tokenize([example], tokenizer, config(template=template)).sequences
    prompt = fill(template, example.query)
    assert sequence.ids[: sequence.prompt_length].tolist() == tokenizer(prompt)["input_ids"]
    assert tokenizer.decode(sequence.ids[:-1], skip_special_tokens=True) == prompt + example.response


def test_a_response_too_long_is_cut_without_eos_and_counted(tokenizer: Any) -> None:
    prompt_length = len(tokenizer(fill(TEMPLATE, "3 + 4"))["input_ids"])
    tokens = tokenize([Example("3 + 4", " 7" * 50), *EXAMPLES], tokenizer, config(length=prompt_length + 4))
    assert tokens.num_truncated == 1 and tokens.num_dropped == 0
    assert len(tokens.sequences[0].ids) == prompt_length + 4
    assert tokenizer.eos_token_id not in tokens.sequences[0].ids
    assert tokenizer.eos_token_id in tokens.sequences[1].ids


def test_a_prompt_that_leaves_no_room_is_dropped_and_counted(tokenizer: Any) -> None:
    tokens = tokenize([Example("3 + 4 " * 20, " 7"), *EXAMPLES], tokenizer, config(length=32))
    assert (tokens.num_dropped, tokens.num_truncated, len(tokens.sequences)) == (1, 0, 2)
    with pytest.raises(ValueError, match=r"all 2 prompts fill train\.sequence\.length=8 tokens"):
        tokenize(EXAMPLES, tokenizer, config(length=8))


def test_a_tokenizer_without_eos_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no eos token"):
        tokenize(EXAMPLES, tokenizer, config())


def test_an_eos_the_tokenizer_appends_is_not_doubled_nor_put_into_the_prompt(tokenizer: Any) -> None:
    from tokenizers import processors

    appending = make_tokenizer()
    appending.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    assert appending("a")["input_ids"][-1] == appending.eos_token_id
    pairs = zip(tokenize(EXAMPLES, appending, config()).sequences, tokenize(EXAMPLES, tokenizer, config()).sequences)
    assert all((one.ids == other.ids).all() and one.prompt_length == other.prompt_length for one, other in pairs)


@pytest.mark.parametrize(
    "template", [TEMPLATE, 'Say "{query}" \\ in {braces}\n\n', "{query}", "Zahl 🧮: {query} {{x}}"]
)
def test_the_chat_template_asks_in_the_words_of_training(template: str) -> None:
    rendered = jinja2.Environment().from_string(chat_template(template))
    messages = [{"role": "user", "content": "{a} 'b'"}]
    assert rendered.render(messages=messages, eos_token="</s>") == fill(template, "{a} 'b'")
    turns = [*messages, {"role": "assistant", "content": "c"}, {"role": "user", "content": "d"}]
    assert rendered.render(messages=turns, eos_token="</s>") == fill(template, "{a} 'b'") + "c</s>" + fill(
        template, "d"
    )
