"""Rows that a published protocol leaves out before it splits; off unless a source's `keep` names a bound."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from watchline.config import Config


class Selection(Config):
    """Bounds of the exposures to keep, all exclusive; null: none. Rows beyond them are counted and left out."""

    play_above_s: float | None = Field(default=None, ge=0)
    play_below_s: float | None = Field(default=None, gt=0)
    duration_above_s: float | None = Field(default=None, ge=0)
    play_below_durations: float | None = Field(default=None, gt=0, description="watch time over duration")
    without_types: tuple[str, ...] = Field(default=(), description="values of video_type to leave out, such as AD")
    clip_play_s: float | None = Field(default=None, gt=0, description="watch times above count as this one")


def select_rows(exposures: pl.DataFrame, videos: pl.DataFrame, keep: Selection) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows to keep, clipped, and how many each bound left out (the first that a row breaks).

    A null is within every bound: what a value is not known of stays for validation to judge.
    """
    left_out: dict[str, int] = {}
    for name, broken in _bounds(videos, keep).items():
        kept = exposures.filter(~broken.fill_null(False))
        left_out[name] = len(exposures) - len(kept)
        exposures = kept
    if keep.clip_play_s is not None:
        exposures = exposures.with_columns(pl.col("watch_time_s").clip(upper_bound=keep.clip_play_s))
    return exposures, left_out


def as_note(left_out: dict[str, int], num_rows: int) -> tuple[str, ...]:
    """One line for the log of ingest; none where nothing was asked for."""
    if not left_out:
        return ()
    counts = ", ".join(f"{name} {count:,}" for name, count in left_out.items())
    return (f"ingest.keep left out {sum(left_out.values()):,} of {num_rows:,} exposures: {counts}",)


def _bounds(videos: pl.DataFrame, keep: Selection) -> dict[str, pl.Expr]:
    """Expression of each bound that is set: true where a row breaks it."""
    play, duration = pl.col("watch_time_s"), pl.col("duration_s")
    bounds: dict[str, pl.Expr] = {}
    if keep.without_types:
        of_type = videos.filter(pl.col("video_type").is_in(keep.without_types))["video_id"]
        bounds["without_types"] = pl.col("video_id").is_in(of_type.implode())
    if keep.play_above_s is not None:
        bounds["play_above_s"] = play <= keep.play_above_s
    if keep.play_below_s is not None:
        bounds["play_below_s"] = play >= keep.play_below_s
    if keep.duration_above_s is not None:
        bounds["duration_above_s"] = duration <= keep.duration_above_s
    if keep.play_below_durations is not None:
        bounds["play_below_durations"] = play >= keep.play_below_durations * duration
    return bounds
