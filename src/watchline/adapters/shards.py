"""Which shards of the data this process feeds, and which of them a backward pass belongs to right now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from watchline.adapters.collective import Collective


class Shards:
    """`number` shards dealt evenly over the processes in rank order; one hosted alone needs no naming.

    Raises ValueError when they do not divide over the processes.
    """

    def __init__(self, number: int, collective: Collective) -> None:
        if number % collective.size:
            raise ValueError(
                f"num_slices={number} does not divide over {collective.size} processes; "
                f"use a number of processes that divides it"
            )
        self.number, self.rank = number, collective.rank
        each = number // collective.size
        self.hosted = range(collective.rank * each, (collective.rank + 1) * each)
        self._active: int | None = self.hosted[0] if each == 1 else None

    @contextmanager
    def feed(self, index: int) -> Iterator[None]:
        """Passes inside belong to shard `index`; raises ValueError when another process hosts it."""
        if index not in self.hosted:
            raise ValueError(f"slice {index} is not hosted here; rank {self.rank} has {self.hosted}")
        previous, self._active = self._active, index
        try:
            yield
        finally:
            self._active = previous

    @property
    def active(self) -> int:
        """The shard being fed; raises RuntimeError when several are hosted and none was named."""
        if self._active is None:
            raise RuntimeError(
                f"this process hosts slices {list(self.hosted)}: run it inside `with adapters.slice(j)`, the backward "
                "pass included"
            )
        return self._active

    @property
    def active_row(self) -> int:
        """Row of the active shard among those hosted here."""
        return self.active - self.hosted.start
