"""Watch time to token sequences and back; no pipeline imports, computed with NumPy alone.

`encode`, `decode` and `legal_next` take NumPy arrays and give NumPy arrays, or take tensors of a torch that the caller
has loaded and give tensors on the same device; the work is NumPy's on the CPU either way.

>>> vocabulary = fit_vocabulary([0, 3, 7, 50], VocabularyConfig(cap_s=100))
>>> classes_NL, length_N = encode(vocabulary, [7.2, 50])
>>> decode(vocabulary, classes_NL).tolist()
[7.0, 50.0]
"""

from watchline.codec.counting import count_units
from watchline.codec.fitting import VocabularyConfig, binary_values, dynamic_quantile_values, fit_vocabulary
from watchline.codec.greedy import count_clipped, decode, encode, encode_units, to_units
from watchline.codec.legal import START, LegalTokens, next_bound
from watchline.codec.prefixes import legal_next, legal_states
from watchline.codec.report import describe
from watchline.codec.vocabulary import EOS, Vocabulary

__all__ = [
    "EOS",
    "START",
    "LegalTokens",
    "Vocabulary",
    "VocabularyConfig",
    "binary_values",
    "count_clipped",
    "count_units",
    "decode",
    "describe",
    "dynamic_quantile_values",
    "encode",
    "encode_units",
    "fit_vocabulary",
    "legal_next",
    "legal_states",
    "next_bound",
    "to_units",
]
