"""What the Polars offline store hands back: a planned join or pull, which runs when its result is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from watchline.data.tables import write_parquet


class PolarsRetrievalJob(RetrievalJob):
    """A join that has been planned; `to_polars`, `to_arrow` and `to_df` run it."""

    def __init__(
        self,
        run: Callable[[], pl.DataFrame],
        repo_path: Path | None,
        metadata: RetrievalMetadata | None = None,
        on_demand_feature_views: list[OnDemandFeatureView] | None = None,
        full_feature_names: bool = False,
    ) -> None:
        self._run = run
        self._repo_path = repo_path
        self._metadata = metadata
        self._on_demand_feature_views = on_demand_feature_views or []
        self._full_feature_names = full_feature_names

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The transformations that `to_arrow` runs on the joined rows."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """Which features and keys, over which times (None for the pull methods)."""
        return self._metadata

    def to_polars(self) -> pl.DataFrame:
        """The result, on-demand features included, as a Polars frame."""
        if not self._on_demand_feature_views:
            return self._run()
        return pl.DataFrame(pl.from_arrow(self.to_arrow()))

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        # The oldest compatibility level has no string views, which pandas and Feast's type map do not know.
        return self._run().to_arrow(compat_level=pl.CompatLevel.oldest())

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()

    def to_sql(self) -> str:
        """Refused: there is no query behind the result."""
        raise NotImplementedError("PolarsOfflineStore runs no SQL; take the result by to_polars, to_arrow or to_df")

    def to_remote_storage(self) -> list[str]:
        """Refused: the result is on this machine."""
        raise NotImplementedError("PolarsOfflineStore is of one machine; `persist` writes a file")

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result to one Parquet file; raises SavedDatasetLocationAlreadyExists unless `allow_overwrite`."""
        if not isinstance(storage, SavedDatasetFileStorage):
            raise ValueError(f"{type(storage).__name__}: this store persists to SavedDatasetFileStorage only")
        uri = storage.file_options.uri
        path = Path(FileSource.get_uri_for_file_path(self._repo_path, uri))
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=uri)
        write_parquet(self.to_polars(), path)
