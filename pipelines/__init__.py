"""Prefect flows over the DAG of dvc.yaml: schedule, logs, cancel, artifacts. Caching and order are DVC's alone."""
