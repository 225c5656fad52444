"""The vocabulary: which amounts of watch time are tokens, and what follows from that alone."""

# V values, S states of the legal-token automaton, L longest sequence

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from watchline.codec.legal import LegalTokens, build_legal_tokens

EOS = 0  # class of `<eos>`; class i >= 1 is the i-th smallest value, so classes are ordered as sequences are
MAX_TOKENS = 64  # longest sequence a vocabulary may need
MAX_VALUES = 4096


@dataclass(frozen=True)
class Vocabulary:
    """Token values in whole units, ascending; the unit itself (1) is always one of them.

    `values`: V integers. `unit_s`: size of a unit in the label's own measure (seconds; thousandths of a ratio work
    alike). `cap`: largest encodable label in units; labels above are clipped to it.
    Raises ValueError when values are not ascending, do not start at 1, exceed the cap, or need too long sequences.
    """

    values: tuple[int, ...]
    unit_s: float
    cap: int

    def __post_init__(self) -> None:
        if not self.values or self.values[0] != 1 or any(b <= a for a, b in zip(self.values, self.values[1:])):
            raise ValueError(f"token values must ascend from 1 unit, got {list(self.values[:8])}")
        if not self.unit_s > 0:
            raise ValueError(f"unit_s must be above 0, got {self.unit_s}")
        if self.values[-1] > self.cap:
            raise ValueError(f"largest token {self.values[-1]} exceeds the cap of {self.cap} units; raise cap_s")
        if len(self.values) > MAX_VALUES:
            raise ValueError(f"{len(self.values)} token values, at most {MAX_VALUES} are allowed")
        if self.cap // self.values[-1] > MAX_TOKENS or self.legal.max_length > MAX_TOKENS:
            raise ValueError(
                f"a label of up to {self.cap} units would need more than {MAX_TOKENS} tokens; "
                "add token values where the gaps are widest, or lower cap_s"
            )

    @property
    def num_values(self) -> int:
        """V: tokens that carry an amount."""
        return len(self.values)

    @property
    def num_classes(self) -> int:
        """V + 1: what a decoder chooses from, `<eos>` included."""
        return len(self.values) + 1

    @property
    def cap_s(self) -> float:
        """The cap in the label's own measure."""
        return self.cap * self.unit_s

    @property
    def max_length(self) -> int:
        """L: most tokens of any label up to the cap, `<eos>` not counted."""
        return self.legal.max_length

    @cached_property
    def values_V(self) -> np.ndarray:
        """Token values in units, int64 (V,)."""
        return np.asarray(self.values, dtype=np.int64)

    @cached_property
    def class_values(self) -> np.ndarray:
        """Units per class, int64 (V + 1,); `<eos>` is worth 0."""
        return np.concatenate([[0], self.values_V])

    @cached_property
    def legal(self) -> LegalTokens:
        """Which tokens may follow which (see legal.py)."""
        return build_legal_tokens(self.values, self.cap, MAX_TOKENS)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"unit_s": self.unit_s, "cap": self.cap, "values": list(self.values)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`; raises KeyError or ValueError for anything else."""
        return cls(tuple(int(v) for v in values["values"]), float(values["unit_s"]), int(values["cap"]))
