"""A generated log in KuaiRand's format with a file a day, so that days can come in one after another."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from tests.helpers.kuairand_files import USERS_NAME, VIDEOS_NAME, generated, log_frame, users_frame, videos_frame


class GrowingLog:
    """`directory`/data/*.csv: users and videos of all days from the start, exposures of the days that were added.

    A day's rows do not depend on which other days are there.
    """

    def __init__(self, directory: Path, *, days: int, rows_per_day: int, first_day: date) -> None:
        self.directory, self.folder = directory, directory / "data"
        self.tables = generated(days=days, exposures=days * rows_per_day, first_day=first_day)
        self.folder.mkdir(parents=True)
        users_frame(self.tables.users).write_csv(self.folder / USERS_NAME)
        videos_frame(self.tables.videos).write_csv(self.folder / VIDEOS_NAME)

    def add_until(self, last: date) -> None:
        """All days up to `last` that are not there yet; each file appears whole."""
        for day in (each for each in self.tables.days if each <= last):
            path = self.folder / f"log_standard_{day:%Y%m%d}_pure.csv"
            if not path.is_file():
                partial = self.directory / "partial"
                log_frame(self.tables.exposures_of(day)).write_csv(partial)
                partial.rename(path)

    def day(self, number: int) -> date:
        """The day `number` of the log, from 0."""
        return self.tables.days[0] + timedelta(days=number)
