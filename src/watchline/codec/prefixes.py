"""Given sequences against the legal tokens: the states they pass through, and what may follow them."""

# N sequences, L classes of each, V values, S states

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from watchline.codec.legal import START
from watchline.codec.tensors import in_kind_of, to_numpy
from watchline.codec.vocabulary import EOS, Vocabulary

if TYPE_CHECKING:
    from torch import Tensor


@overload
def legal_next(vocabulary: Vocabulary, classes_NL: Tensor) -> Tensor: ...
@overload
def legal_next(vocabulary: Vocabulary, classes_NL: NDArray[Any]) -> NDArray[np.bool_]: ...
def legal_next(vocabulary: Vocabulary, classes_NL: Any) -> Any:
    """Which classes may follow each prefix (N, L), bool (N, V + 1): `<eos>` always, and after `<eos>` nothing else.

    L may be 0. A tensor gives a tensor on its device, NumPy gives NumPy. Raises ValueError naming the row of a prefix
    that no greedy sequence begins with.
    """
    prefix_NL = to_numpy(classes_NL)
    state_N = legal_states(vocabulary, prefix_NL)[:, -1]
    num_legal_N = vocabulary.legal.num_legal_S[state_N]
    if prefix_NL.shape[1]:
        num_legal_N = np.where(prefix_NL[:, -1] == EOS, 0, num_legal_N)
    return in_kind_of(classes_NL, np.arange(vocabulary.num_classes) <= num_legal_N[:, None])


def legal_states(vocabulary: Vocabulary, classes_NL: NDArray[Any]) -> NDArray[np.int64]:
    """State of the legal-token automaton before each class and after the last one, int64 (N, L + 1).

    `<eos>` keeps the state. Raises ValueError naming the row in which a class is not legal where it stands, such as any
    but `<eos>` after `<eos>`.
    """
    if classes_NL.ndim != 2:
        raise ValueError(f"classes must be (sequences, positions), got shape {classes_NL.shape}")
    outside_NL = (classes_NL < EOS) | (classes_NL >= vocabulary.num_classes)
    _refuse(outside_NL, classes_NL, f"has a class outside 0 to {vocabulary.num_values}")
    next_SC = vocabulary.legal.next_SC
    states = np.empty((len(classes_NL), classes_NL.shape[1] + 1), dtype=np.int64)
    states[:, 0] = START
    for position in range(classes_NL.shape[1]):
        states[:, position + 1] = next_SC[states[:, position], classes_NL[:, position]]
    illegal_NL = states[:, 1:] < 0
    illegal_NL[:, 1:] |= (classes_NL[:, :-1] == EOS) & (classes_NL[:, 1:] != EOS)
    _refuse(illegal_NL, classes_NL, "is no greedy sequence")
    return states


def _refuse(bad_NL: NDArray[np.bool_], classes_NL: NDArray[Any], why: str) -> None:
    if bad_NL.any():
        row = int(np.argmax(bad_NL.any(axis=1)))
        raise ValueError(f"row {row} {why}: {classes_NL[row].tolist()}")
