"""The feature store: daily snapshots, and the offline store that executes Feast's point-in-time joins in Polars."""
