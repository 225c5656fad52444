"""What a vocabulary does to a set of labels: the numbers shown beside a trained model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from watchline.codec.greedy import count_clipped, decode, encode
from watchline.codec.vocabulary import Vocabulary


def describe(vocabulary: Vocabulary, labels_s: ArrayLike) -> dict[str, Any]:
    """Size, sequence lengths (`<eos>` not counted), token shares, clipping and reconstruction error on labels (N,)."""
    labels_N = np.asarray(labels_s, dtype=np.float64)
    classes_NL, length_N = encode(vocabulary, labels_N)
    counts = np.bincount(classes_NL.ravel(), minlength=vocabulary.num_classes)[1:]
    rows = max(1, len(labels_N))
    within = np.minimum(labels_N, vocabulary.cap_s)
    errors_N = np.abs(decode(vocabulary, classes_NL) - within)
    return {
        "tokens": vocabulary.num_values,
        "unit_s": vocabulary.unit_s,
        "cap_s": vocabulary.cap_s,
        "labels_clipped": count_clipped(vocabulary, labels_N),
        "length_mean": float(length_N.mean()) if len(length_N) else 0.0,
        "length_max": int(length_N.max(initial=0)),
        "length_limit": vocabulary.max_length,
        "share_of_labels_by_length": [float(n) / rows for n in np.bincount(length_N, minlength=1)],
        "reconstruction_error_max_s": float(errors_N.max(initial=0)),
        "tokens_per_label": {
            f"{value * vocabulary.unit_s:g}": float(count) / rows for value, count in zip(vocabulary.values, counts)
        },
    }
