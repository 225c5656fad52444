"""What may follow a prefix: the greedy sequences and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from tests.helpers.vocabularies import vocabularies
from watchline.codec import EOS, Vocabulary, decode, encode_units, legal_next, legal_states

VOCABULARY = Vocabulary((1, 5), 1.0, 20)


def walk(vocabulary):
    """Every legal prefix without `<eos>`, as arrays (N, L) for L = 0, 1, ..."""
    prefix_NL = np.zeros((1, 0), np.int16)
    while len(prefix_NL):
        yield prefix_NL
        row, following = np.nonzero(legal_next(vocabulary, prefix_NL)[:, EOS + 1 :])
        prefix_NL = np.column_stack([prefix_NL[row], following + 1]).astype(np.int16)


@given(vocabularies(max_cap=120))
@settings(max_examples=60, deadline=None)
def test_legal_prefixes_are_the_sequences_of_the_labels_up_to_the_cap(vocabulary):
    """So every prefix can end or go on to a label, and no token is dead."""
    lengths = list(walk(vocabulary))
    units = np.concatenate([np.rint(decode(vocabulary, part) / vocabulary.unit_s) for part in lengths]).astype(int)
    assert sorted(units.tolist()) == list(range(vocabulary.cap + 1))
    classes_NL, length_N = encode_units(vocabulary, units)
    walked = [row.tolist() for part in lengths for row in part]
    assert [row[:length].tolist() for row, length in zip(classes_NL, length_N)] == walked
    assert set(range(1, vocabulary.num_classes)) <= {token for row in walked for token in row}


@given(vocabularies())
@settings(max_examples=40, deadline=None)
def test_of_encoded_labels_every_next_class_is_legal_and_only_the_end_follows_the_end(vocabulary):
    classes_NL, length_N = encode_units(vocabulary, np.arange(vocabulary.cap + 1))
    for position in range(classes_NL.shape[1]):
        legal_NC = legal_next(vocabulary, classes_NL[:, :position])
        assert legal_NC[np.arange(len(classes_NL)), classes_NL[:, position]].all()
        assert legal_NC[:, EOS].all()
        assert not legal_NC[length_N < position, EOS + 1 :].any()


def test_the_first_token_may_be_any_and_there_may_be_no_rows():
    assert legal_next(VOCABULARY, np.zeros((2, 0), np.int16)).tolist() == [[True] * 3] * 2
    assert legal_next(VOCABULARY, np.zeros((0, 2), np.int16)).shape == (0, 3)


@pytest.mark.parametrize("of", [legal_next, legal_states])
@pytest.mark.parametrize("row", [[1, 2, 0], [0, 1, 0], [2, 0, 2], [2, 2, 2]])
def test_a_prefix_that_no_label_begins_with_is_an_error_naming_the_row(of, row):
    """A token that rises, a token after `<eos>` (two ways), a token beyond the cap."""
    vocabulary = Vocabulary((1, 5), 1.0, 14)
    with pytest.raises(ValueError, match="row 1 is no greedy sequence"):
        of(vocabulary, np.array([[2, 1, 0], row]))


@pytest.mark.parametrize("bad", [-1, 3])
def test_a_class_that_there_is_not_is_an_error_naming_the_row(bad):
    with pytest.raises(ValueError, match="row 1 has a class outside 0 to 2"):
        legal_next(VOCABULARY, np.array([[2, 1], [2, bad]]))


def test_classes_of_another_shape_are_an_error():
    with pytest.raises(ValueError, match=r"got shape \(2,\)"):
        legal_next(VOCABULARY, np.array([2, 1]))


def test_states_are_one_more_than_the_classes():
    assert legal_states(VOCABULARY, np.array([[2, 1]])).shape == (1, 3)
