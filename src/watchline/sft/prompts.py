"""The prompt around a query, in training and, as the saved tokenizer's chat template, in evaluation."""

from __future__ import annotations

import json

QUERY = "{query}"


def fill(template: str, query: str) -> str:
    """The prompt of one query; braces in the query stay as they are."""
    before, after = _around(template)
    return before + query + after


def chat_template(template: str) -> str:
    """The template as Jinja for a tokenizer: each user turn in the words of training, each answer closed by eos.

    A system turn is refused, because training has seen none.
    """
    before, after = (json.dumps(part, ensure_ascii=False) for part in _around(template))
    return (
        "{%- for message in messages -%}"
        "{%- if message['role'] == 'user' -%}"
        f"{{{{- {before} + message['content'] + {after} -}}}}"
        "{%- elif message['role'] == 'assistant' -%}"
        "{{- message['content'] + eos_token -}}"
        "{%- else -%}"
        "{{- raise_exception('trained without turns of the role ' + message['role']) -}}"
        "{%- endif -%}"
        "{%- endfor -%}"
    )


def _around(template: str) -> tuple[str, str]:
    before, _, after = template.partition(QUERY)
    return before, after
