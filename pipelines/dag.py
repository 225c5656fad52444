"""The stages of dvc.yaml in the order DVC would run them."""

from __future__ import annotations

from pathlib import Path


def stages_in_order(root: Path) -> list[str]:
    """Names of all stages (a matrix item as ``train@gr``), every stage after the ones it depends on.

    Where dependencies leave a choice, the order of dvc.yaml decides, then the name.
    """
    import networkx
    import yaml
    from dvc.repo import Repo

    written = list(yaml.safe_load((root / "dvc.yaml").read_text())["stages"])
    with Repo(str(root)) as repo:
        # Edges point from a stage to what it depends on; what `dvc add` tracks has no name and nothing to run.
        graph = repo.index.graph.reverse(copy=True)
        names = {stage: getattr(stage, "name", None) or "" for stage in graph}
        places = {name: written.index(name.split("@")[0]) if name else -1 for name in names.values()}
        ordered = networkx.lexicographical_topological_sort(
            graph, key=lambda stage: (places[names[stage]], names[stage])
        )
        return [names[stage] for stage in ordered if names[stage]]
