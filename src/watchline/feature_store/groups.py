"""Who statistics are kept for: entities and pairs of entities, and over which windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALL_TIME = 0  # stands among a group's windows for everything since the source's first day


@dataclass(frozen=True)
class Group:
    """An entity, or a pair of entities, that statistics are kept for. Columns are `{prefix}_{statistic}_{window}`.

    `parent` names the group whose statistics stand in for few exposures; None: all exposures together. `binned`: a
    histogram of watch times is kept, and with it the median; it is most of what an entity costs.
    """

    name: str
    keys: tuple[str, ...]
    prefix: str
    parent: str | None = None
    binned: bool = True

    @property
    def pair(self) -> bool:
        """Whether it is a pair of entities."""
        return len(self.keys) > 1


# name = Feast view = folder under sources/; parents stand before their pairs
GROUPS = (
    Group("user_stats", ("user_id",), "user"),
    Group("video_stats", ("video_id",), "video"),
    Group("author_stats", ("author_id",), "author"),
    Group("user_surface_stats", ("user_id", "surface"), "user_surface", "user_stats"),
    Group("video_surface_stats", ("video_id", "surface"), "video_surface", "video_stats"),
    Group("user_author_stats", ("user_id", "author_id"), "user_author", "user_stats", binned=False),
    Group("user_topic_stats", ("user_id", "topic"), "user_topic", "user_stats", binned=False),
)


@dataclass(frozen=True)
class Plan:
    """What is computed: trailing days of every group by name (ALL_TIME among them), and how strongly it is shrunk.

    `strength` is the number of the parent's exposures that each entity's own are joined by; 0: none. A pair with fewer
    than `pair_min_exposures` in its longest window has no row.
    """

    windows: Mapping[str, Sequence[int]]
    strength: float = 0.0
    pair_min_exposures: int = 1

    @property
    def longest(self) -> int:
        """The longest trailing window of any group, days."""
        return max(max(windows) for windows in self.windows.values())

    @property
    def all_time(self) -> list[str]:
        """Groups whose sums since the first day are needed, their parents' included."""
        of_pairs = [group.parent for group in GROUPS if ALL_TIME in self.windows[group.name] and group.parent]
        return [group.name for group in GROUPS if ALL_TIME in self.windows[group.name] or group.name in of_pairs]

    def needed(self, group: Group) -> list[int]:
        """Windows in which the group's sums are needed: its own and those of the pairs it is the parent of."""
        below = [self.windows[other.name] for other in GROUPS if other.parent == group.name]
        return sorted({window for windows in (self.windows[group.name], *below) for window in windows})


def suffix(window: int) -> str:
    """End of the column names of a window."""
    return "all" if window == ALL_TIME else f"{window}d"
