"""Opening the Feast repository: its definitions on the data of any folder, its registry and online store anywhere."""

from __future__ import annotations

import contextlib
import importlib
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from feast import Entity, FeatureService, FeatureStore, FeatureView
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import load_repo_config

CONFIGURATION = "feature_store.yaml"
MODULES = ("entities", "views", "services")  # files of the repository, in order of import
_KINDS = (Entity, FeatureView, OnDemandFeatureView, FeatureService)


class RepositoryError(ValueError):
    """A folder that is not the feature repository; the message names the file that is missing."""


@contextlib.contextmanager
def open_store(repo: Path, features_dir: Path, keep_state: bool = False) -> Iterator[FeatureStore]:
    """The store of `repo` with every source read from `features_dir`/sources, its definitions applied.

    `repo` is the repository, which stands for its feature_store.yaml, or another configuration file in it.
    `keep_state` puts registry and online store where feature_store.yaml says; else they are temporary. The registry
    is made anew each time: what lies there is derived from the definitions, and never trusted.
    """
    repo, configuration = (repo.parent, repo) if repo.suffix == ".yaml" else (repo, repo / CONFIGURATION)
    if not configuration.is_file():
        raise RepositoryError(f"{configuration}: no such file; {repo} is not the feature repository")
    definitions = load_definitions(repo)
    config = load_repo_config(repo.resolve(), configuration)
    _read_from(definitions, features_dir / "sources", config.offline_store.type == "spark")
    with contextlib.ExitStack() as stack:
        if keep_state:
            directory = repo.resolve()
        else:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="watchline-feast-")))
            config.registry.path = Path(config.registry.path).name
        registry = (directory / config.registry.path).resolve()
        registry.parent.mkdir(parents=True, exist_ok=True)
        registry.unlink(missing_ok=True)
        config.registry.path = str(registry)
        if hasattr(config.online_store, "path"):
            place = Path(config.online_store.path)
            config.online_store.path = str((directory / (place if keep_state else place.name)).resolve())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # "on demand feature view is experimental"
            store = FeatureStore(config=config)
            store.apply(definitions)
        yield store


def load_definitions(repo: Path) -> list[Entity | FeatureView | OnDemandFeatureView | FeatureService]:
    """Entities, views and services that the repository's files define, each freshly made.

    Raises RepositoryError when a file is missing.
    """
    for module in MODULES:
        if not (repo / f"{module}.py").is_file():
            raise RepositoryError(f"{repo / module}.py: no such file; {repo} is not the feature repository")
    modules = _import_all(repo.resolve())
    found = {id(value): value for module in modules for value in vars(module).values() if isinstance(value, _KINDS)}
    return list(found.values())


def _import_all(repo: Path) -> list[ModuleType]:
    """Import the files under their plain names, as Feast's command line does, and leave no trace of them."""
    with _without_modules():
        sys.path.insert(0, str(repo))
        try:
            importlib.invalidate_caches()
            return [importlib.import_module(name) for name in MODULES]
        finally:
            sys.path.remove(str(repo))


@contextlib.contextmanager
def _without_modules() -> Iterator[None]:
    kept = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    try:
        yield
    finally:
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(kept)


def _read_from(definitions: list, sources: Path, on_spark: bool) -> None:
    views = [definition for definition in definitions if isinstance(definition, FeatureView)]
    for view in views:
        source = view.batch_source
        assert isinstance(source, FileSource)
        path = sources.resolve() / Path(source.path).name
        if not path.exists():
            raise RepositoryError(f"{path}: no source for the view {view.name!r}; run `dvc repro features`")
        source.file_options.uri = str(path)
        if on_spark:
            view.batch_source = _spark_source(source)


def _spark_source(source: FileSource) -> DataSource:
    """The same files for Feast's Spark store, which reads no FileSource."""
    # Needs pyspark, which only that store asks for.
    from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

    return SparkSource(
        name=source.name,
        path=source.path,
        file_format="parquet",
        timestamp_field=source.timestamp_field,
        created_timestamp_column=source.created_timestamp_column,
        field_mapping=source.field_mapping,
    )
