"""The stages of dvc.yaml in the order DVC would run them."""

from __future__ import annotations

from pathlib import Path


def stages_in_order(root: Path) -> list[str]:
    """Names of all stages (a matrix item as ``train@gr``), every stage after the ones it depends on.

    Ties are broken by name, so the order depends on dvc.yaml and params.yaml alone.
    """
    import networkx
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        # Edges point from a stage to what it depends on; what `dvc add` tracks has no name and nothing to run.
        graph = repo.index.graph.reverse(copy=True)
        ordered = networkx.lexicographical_topological_sort(graph, key=lambda stage: stage.addressing)
        return [stage.name for stage in ordered if getattr(stage, "name", None)]
