"""A registered model by name: the entry of the history that it stands for, and the model itself, hashes checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from watchline.registry.files import differing
from watchline.registry.history import NAME, Entry, RegistryError, read_history

if TYPE_CHECKING:
    from watchline.models.base import WatchTimeModel

PRODUCTION = "production"
FOLDER = Path("registry")


def model_folder(registry: Path, version: int) -> Path:
    """Where the files of a version lie."""
    return registry / "models" / f"v{version}"


def find(name: str = PRODUCTION, registry: Path = FOLDER) -> Entry:
    """The last event of `production`, or of a version (`v3`).

    Raises RegistryError when nothing was promoted, or for a name that is neither.
    """
    entries = read_history(registry)
    if not entries:
        raise RegistryError(
            f"{registry / NAME}: nothing is in production yet; `python -m pipelines promote` judges a candidate and "
            "makes it the first version"
        )
    if name == PRODUCTION:
        return entries[-1]
    for entry in reversed(entries):
        if name == f"v{entry.version}":
            return entry
    known = ", ".join(f"v{version}" for version in sorted({entry.version for entry in entries}))
    raise RegistryError(f"{registry / NAME}: no {name!r}; there are {PRODUCTION}, {known}")


def load(name: str = PRODUCTION, registry: Path = FOLDER) -> WatchTimeModel:
    """The registered model `production` or `vN`, ready to predict.

    Raises RegistryError when there is none, when its files are absent, or when they are not those that were promoted.
    """
    from watchline.models import load_model  # and torch with it, which no other step of the registry needs

    return load_model(checked_folder(find(name, registry), registry))


def checked_folder(entry: Entry, registry: Path) -> Path:
    """The folder of a version that holds the files of its promotion; raises RegistryError naming those that differ."""
    folder = model_folder(registry, entry.version)
    tracked = f"{folder}.dvc"
    if not folder.is_dir():
        raise RegistryError(
            f"{folder}: the files of v{entry.version} ({entry.model}) are not here; `dvc checkout {tracked}` takes "
            f"them from DVC's cache, `dvc pull {tracked}` from the remote"
        )
    wrong = differing(folder, entry.files)
    if wrong:
        raise RegistryError(
            f"{folder}: not the files that were promoted as v{entry.version}: {'; '.join(wrong[:5])}; "
            f"`dvc checkout --force {tracked}` brings them back"
        )
    return folder
