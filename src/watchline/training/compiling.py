"""torch.compile for the parts of a network that say they are worth it.

A module names its methods in `COMPILED`. Whole networks here have layouts that differ from batch to batch, which would
be compiled anew each time; these parts see only one size that varies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def compiled_parts(network: nn.Module, active: bool) -> Iterator[None]:
    """Within the block every method named in a submodule's `COMPILED` is compiled for any number of rows."""
    methods = [(part, name) for part in network.modules() for name in getattr(part, "COMPILED", ())] if active else []
    for part, name in methods:
        setattr(part, name, torch.compile(getattr(part, name), dynamic=True))
    try:
        yield
    finally:
        for part, name in methods:
            delattr(part, name)
