"""The feature store: daily snapshots, and the offline store that executes Feast's point-in-time joins in Polars."""

from __future__ import annotations

from typing import Any

import typeguard

_typechecked = typeguard.typechecked


def _checked_unless_feast(target: Any = None, **options: Any) -> Any:
    """`typeguard.typechecked`, but for Feast's own classes, which stay as they are written.

    Rewriting their syntax trees at import takes longer than the rest of Feast's import, and checking their arguments a
    fifth of a small run; python -O, typeguard's own switch, would take the assertions of every library with it.
    """
    if getattr(target, "__module__", "").startswith("feast."):
        return target
    return _typechecked(**options) if target is None else _typechecked(target, **options)


# Before any module of this package imports Feast.
typeguard.typechecked = _checked_unless_feast
