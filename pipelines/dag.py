"""The stages of dvc.yaml in the order DVC would run them."""

from __future__ import annotations

from pathlib import Path


def stages_in_order(root: Path, target: str | None = None) -> dict[str, bool]:
    """Names of all stages (a matrix item as ``train@gr``), every stage after the ones it depends on.

    Where dependencies leave a choice, the order of dvc.yaml decides, then the name. With `target` (all items of a
    matrix) only that stage and what it depends on. The value says whether all inputs of the stage are code or made by
    stages; of what `dvc add` tracks, DVC notes a change only when it looks at that too. Raises ValueError for a target
    there is not.
    """
    import networkx
    import yaml
    from dvc.repo import Repo

    written = list(yaml.safe_load((root / "dvc.yaml").read_text())["stages"])
    with Repo(str(root)) as repo:
        # Edges point from a stage to what it depends on; what `dvc add` tracks has no name and nothing to run.
        graph = repo.index.graph.reverse(copy=True)
        names = {stage: getattr(stage, "name", None) or "" for stage in graph}
        if target is not None:
            ends = [stage for stage in graph if names[stage].split("@")[0] == target]
            if not ends:
                raise ValueError(f"{root / 'dvc.yaml'} has no stage {target!r}; there are {', '.join(written)}")
            graph = graph.subgraph({*ends, *(above for end in ends for above in networkx.ancestors(graph, end))})
        places = {name: written.index(name.split("@")[0]) if name else -1 for name in names.values()}
        ordered = networkx.lexicographical_topological_sort(
            graph, key=lambda stage: (places[names[stage]], names[stage])
        )
        return {
            names[stage]: all(names[above] for above in graph.predecessors(stage)) for stage in ordered if names[stage]
        }


def command_of(root: Path, stage: str) -> str:
    """The shell command of a stage, with the present params.yaml filled in; raises StopIteration for no such stage."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return next(str(each.cmd) for each in repo.index.stages if getattr(each, "name", None) == stage)
