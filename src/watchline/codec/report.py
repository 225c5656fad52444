"""What a vocabulary does to a set of labels: the numbers shown beside a trained model."""

# N labels, L longest sequence, C classes

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from watchline.codec.counting import label_chunks
from watchline.codec.greedy import count_clipped, decode, encode
from watchline.codec.vocabulary import Vocabulary


def describe(vocabulary: Vocabulary, labels_s: ArrayLike) -> dict[str, Any]:
    """Size, sequence lengths (`<eos>` not counted), token shares, clipping and reconstruction error on labels (N,).

    The error is against the label clipped to the cap. Labels may be memory-mapped: memory does not grow with N.
    """
    tokens_C = np.zeros(vocabulary.num_classes, np.int64)
    rows_L = np.zeros(vocabulary.max_length + 1, np.int64)
    clipped, error_s = 0, 0.0
    for chunk_N in label_chunks(labels_s):
        classes_NL, length_N = encode(vocabulary, chunk_N)
        tokens_C += np.bincount(classes_NL.ravel(), minlength=len(tokens_C))
        rows_L += np.bincount(length_N, minlength=len(rows_L))
        clipped += count_clipped(vocabulary, chunk_N)
        missed_N = np.abs(decode(vocabulary, classes_NL) - np.minimum(chunk_N, vocabulary.cap_s))
        error_s = max(error_s, float(missed_N.max()))
    rows = max(1, int(rows_L.sum()))
    longest = int(np.flatnonzero(rows_L).max(initial=0))
    return {
        "tokens": vocabulary.num_values,
        "unit_s": vocabulary.unit_s,
        "cap_s": vocabulary.cap_s,
        "labels_clipped": clipped,
        "length_mean": float(rows_L @ np.arange(len(rows_L))) / rows,
        "length_max": longest,
        "length_limit": vocabulary.max_length,
        "share_of_labels_by_length": [float(n) / rows for n in rows_L[: longest + 1]],
        "reconstruction_error_max_s": error_s,
        "tokens_per_label": {
            f"{value * vocabulary.unit_s:.12g}": float(count) / rows
            for value, count in zip(vocabulary.values, tokens_C[1:])
        },
    }
