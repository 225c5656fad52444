"""torch.compile for the parts of a network that say they are worth it.

A module names its methods in `COMPILED`. Whole networks here have layouts that differ from batch to batch, which would
be compiled anew each time; in training these parts see only one size that varies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class CompiledParts:
    """Every method named in a submodule's `COMPILED`, compiled for any number of rows; without `active` none."""

    def __init__(self, network: nn.Module, active: bool) -> None:
        parts = network.modules() if active else ()
        named = [(part, name) for part in parts for name in getattr(part, "COMPILED", ())]
        self.methods = [(part, name, torch.compile(getattr(part, name), dynamic=True)) for part, name in named]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the network runs the compiled methods, outside it the plain ones (as decoding should)."""
        for part, name, compiled in self.methods:
            setattr(part, name, compiled)
        try:
            yield
        finally:
            for part, name, _ in self.methods:
                delattr(part, name)
