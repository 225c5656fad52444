"""Which model is in production: versions of models, an append-only history in git, files in DVC (docs/registry.md)."""

from watchline.registry.history import Entry, RegistryError, read_history
from watchline.registry.loading import find, load

__all__ = ["Entry", "RegistryError", "find", "load", "read_history"]
