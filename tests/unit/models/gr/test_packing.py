"""Packing: every position of every row once, none of padding."""

from __future__ import annotations

import numpy as np
import torch

from tests.helpers.vocabularies import greedy_classes
from watchline.codec import Vocabulary
from watchline.models.gr.layers import packed_attention
from watchline.models.gr.packing import pack_labels

VOCABULARY = Vocabulary((1, 3, 8, 20), 1.0, 60)
LABELS = torch.tensor([5.0, 0.0, 59.0, 20.0, 5.0, 1.0])


def sequence(label):
    """Tokens of a label, and `<eos>` unless nothing else could follow: remainders under 1, under 2, ..."""
    classes = greedy_classes(VOCABULARY, int(label))
    same_start = [greedy_classes(VOCABULARY, units)[: len(classes)] == classes for units in range(VOCABULARY.cap + 1)]
    return classes if sum(same_start) == 1 else [*classes, 0]


def test_every_row_is_there_once_with_its_tokens_and_an_end_that_is_not_certain():
    packed = pack_labels(VOCABULARY, LABELS)
    for packed_row, row in enumerate(packed.order_B.tolist()):
        at = packed.row_P == packed_row
        targets = sequence(LABELS[row])
        assert packed.target_P[at].tolist() == targets
        assert packed.input_P[at].tolist() == [VOCABULARY.num_classes, *targets[:-1]]
        assert packed.position_P[at].tolist() == list(range(len(targets)))


def test_no_position_is_padding_or_certain():
    packed = pack_labels(VOCABULARY, LABELS)
    wanted = sum(len(sequence(label)) for label in LABELS)
    assert len(packed.target_P) == wanted == sum(rows * positions for rows, positions in packed.blocks)
    assert (torch.from_numpy(VOCABULARY.legal.num_legal_S)[packed.state_P] > 0).all()


def test_states_bound_what_is_left_of_the_label():
    packed = pack_labels(VOCABULARY, LABELS)
    bounds = VOCABULARY.legal.bound_S[packed.state_P.numpy()]
    values = VOCABULARY.class_values[packed.target_P.numpy()]
    assert (values < bounds).all()
    assert (bounds[packed.position_P.numpy() == 0] == 61).all()


def test_packed_attention_is_causal_attention_row_by_row():
    generator = np.random.default_rng(0)
    blocks = [(3, 1), (2, 2), (2, 4)]
    q, k, v = (torch.from_numpy(generator.normal(size=(15, 8))) for _ in range(3))
    found = packed_attention(q, k, v, blocks, heads=2)
    start = 0
    for rows, positions in blocks:
        for _ in range(rows):
            for i in range(positions):
                for head in (slice(0, 4), slice(4, 8)):
                    earlier = slice(start, start + i + 1)
                    weight = (k[earlier, head] @ q[start + i, head] / 2.0).softmax(0)
                    assert torch.allclose(found[start + i, head], weight @ v[earlier, head])
            start += positions
