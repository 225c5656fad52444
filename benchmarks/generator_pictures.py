"""Two logs on top of each other, for docs/generator.md: the real excerpt and a generated log of its size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from benchmarks.log_summaries import DURATION, DURATION_EDGES_S, WATCH, clean_rows, persistence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS, STYLES = {"real": "#333333", "generated": "#d1495b"}, {"real": "-", "generated": "--"}
LEVELS = (0.25, 0.5, 0.75, 0.9)
LOG_EDGES = np.log(np.geomspace(0.3, 600.0, 61))
CLASSES = (("to 15 s", 0.0, 15.0), ("30 to 60 s", 30.0, 60.0), ("120 to 180 s", 120.0, 180.0))
Logs = dict[str, pl.DataFrame]


def draw_all(real: pl.DataFrame, generated: pl.DataFrame, directory: Path) -> None:
    """Write generator_watch.png (what, how long) and generator_who.png (who, when) into `directory`."""
    logs = {"real": clean_rows(real), "generated": clean_rows(generated)}
    _draw(directory / "generator_watch.png", logs, [_densities, _quantiles, _zeros, _ends])
    _draw(directory / "generator_who.png", logs, [_counts, _levels, _days, _kept])


def _draw(path: Path, logs: Logs, panels: list) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 6.4), layout="constrained", dpi=80)
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(2, 2).ravel(), panels, strict=True):
        panel(axes, logs)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    for name, colour in COLOURS.items():
        figure.axes[0].plot([], [], color=colour, linestyle=STYLES[name], label=name)
    figure.axes[0].legend(fontsize=8, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _line(axes: Axes, name: str, xs: object, ys: object) -> None:
    axes.plot(xs, ys, color=COLOURS[name], linestyle=STYLES[name], linewidth=1.4)


def _densities(axes: Axes, logs: Logs) -> None:
    for name, rows in logs.items():
        for i, (label, above, upto) in enumerate(CLASSES):
            part = rows.filter((above < DURATION) & (upto >= DURATION) & (WATCH > 0))["watch_time_s"].to_numpy()
            density, _ = np.histogram(np.log(part), LOG_EDGES, density=True)
            _line(axes, name, np.exp(0.5 * (LOG_EDGES[1:] + LOG_EDGES[:-1])), density + i)
            axes.text(0.32, i + 0.12, label, fontsize=8)
    axes.set(xscale="log", xlabel="watch time above 0, s", ylabel="density of log seconds, stacked")
    axes.set_title("Watch time by duration of the video", fontsize=10)


def _quantiles(axes: Axes, logs: Logs) -> None:
    edges = np.geomspace(8.0, 400.0, 14)
    for name, rows in logs.items():
        duration, watch = (rows.filter(WATCH > 0)[c].to_numpy() for c in ("duration_s", "watch_time_s"))
        cell = np.digitize(duration, edges)
        for level in LEVELS:
            _line(axes, name, np.sqrt(edges[1:] * edges[:-1]),
                  [np.quantile(watch[cell == i], level) for i in range(1, len(edges))])  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="duration, s", ylabel="watch time above 0, s")
    axes.set_title("Its quantiles .25, .5, .75, .9", fontsize=10)


def _zeros(axes: Axes, logs: Logs) -> None:
    for i, (name, rows) in enumerate(logs.items()):
        shares = rows.group_by("surface").agg(pl.col("zero").mean(), pl.len()).sort("surface")
        shares = shares.filter(pl.col("surface").is_in([0, 1, 2, 4, 6]))
        axes.bar(np.arange(5) + 0.4 * i - 0.2, shares["zero"], 0.4, color=COLOURS[name])
    axes.set_xticks(range(5), ["0", "1", "2", "4", "6"])
    axes.set(xlabel="surface", ylabel="share of plays", yscale="log")
    axes.set_title("Plays of 0 s", fontsize=10)


def _ends(axes: Axes, logs: Logs) -> None:
    for name, rows in logs.items():
        of = rows.group_by("bucket").agg(
            over=(WATCH > DURATION).mean(), near=(WATCH / DURATION).is_between(0.95, 1.05).mean(),
            twice=(WATCH > 2 * DURATION).mean(),
        ).sort("bucket")  # fmt: skip
        for column in ("over", "near", "twice"):
            _line(axes, name, of["bucket"], of[column])
    for label, at in (("past the end", (0.1, 0.33)), ("within 5 % of it", (2.1, 0.165)), ("twice", (0.6, 0.011))):
        axes.text(*at, label, fontsize=8)
    labels = [f"{low:g}-{high:g}" for low, high in zip((0, *DURATION_EDGES_S), (*DURATION_EDGES_S, np.inf))]
    axes.set_xticks(range(6), labels, fontsize=8)
    axes.set(yscale="log", ylim=(2e-4, 0.5), xlabel="duration, s", ylabel="share of plays")
    axes.set_title("Ends and loops", fontsize=10)


def _counts(axes: Axes, logs: Logs) -> None:
    for name, rows in logs.items():
        for key in ("user_id", "video_id"):
            counts = np.sort(rows.group_by(key).len()["len"].to_numpy())[::-1]
            share = (np.arange(len(counts)) + 1.0) / len(counts)
            thin = np.unique(np.geomspace(1, len(counts), 200).astype(int)) - 1
            _line(axes, name, counts[thin], share[thin])
    axes.text(25, 1.5e-3, "users", fontsize=8)
    axes.text(300, 3e-2, "videos", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="rows or more", ylabel="share")
    axes.set_title("Rows of each user and of each video", fontsize=10)


def _levels(axes: Axes, logs: Logs) -> None:
    for name, rows in logs.items():
        for i, key in enumerate(("user_id", "video_id")):
            means = rows.filter(WATCH > 0).group_by(key).agg(pl.col("log_watch").mean(), pl.len())
            density, edges = np.histogram(means.filter(pl.col("len") >= 10)["log_watch"], 40, (0.0, 4.5), density=True)
            _line(axes, name, 0.5 * (edges[1:] + edges[:-1]), density + 0.8 * i)
            axes.text(0.1, 0.8 * i + 0.1, ("users", "videos")[i], fontsize=8)
    axes.set(xlabel="mean log seconds of ten plays or more", ylabel="density, stacked")
    axes.set_title("Levels of users and of videos", fontsize=10)


def _days(axes: Axes, logs: Logs) -> None:
    for name, rows in logs.items():
        daily = rows.group_by("date").agg(pl.col("log_watch").mean()).sort("date")["log_watch"].to_numpy()
        _line(axes, name, np.arange(len(daily)), daily - daily.mean())
    axes.set(xlabel="day", ylabel="mean log seconds, centred", ylim=(-0.15, 0.15))
    axes.set_title("From day to day", fontsize=10)


def _kept(axes: Axes, logs: Logs) -> None:
    lags = range(1, 10)
    for name, rows in logs.items():
        for key, at in (("user_id", 0.42), ("video_id", 0.12)):
            _line(axes, name, lags, [persistence(rows, key, lag) for lag in lags])
            axes.text(1, at, {"user_id": "users", "video_id": "videos"}[key], fontsize=8)
    axes.set(xlabel="days apart", ylabel="covariance of daily means", ylim=(0.0, 0.5))
    axes.set_title("How long levels last", fontsize=10)
