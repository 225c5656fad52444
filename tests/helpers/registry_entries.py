"""Events of a registry, written by hand."""

from __future__ import annotations

from typing import Any


def entry_values(version: int, predecessor: int | None = None, **changes: Any) -> dict[str, Any]:
    """What `watchline.registry.history.append` takes: the promotion of a version without files on the disk."""
    values: dict[str, Any] = {
        "action": "promote",
        "version": version,
        "predecessor": predecessor,
        "at": "2024-03-15T05:00:00Z",
        "commit": "0" * 40,
        "model": "lightgbm",
        "method": "lightgbm",
        "statistic": "mean",
        "window": {"eval_first": "2024-03-13", "eval_last": "2024-03-14"},
        "files": {"model.json": f"{version:064x}"},
        "digest": f"{version:064x}",
        "lock": {"params": "1" * 64, "outputs": {"models/lightgbm": "2" * 32 + ".dir"}},
        "metrics": {"mae_s": 18.0, "xauc": None},
        "card": f"cards/v{version}.md",
        "verdict": {"status": "pass", "text": "Promote lightgbm."},
        "reason": "a reason",
    }
    return values | changes
