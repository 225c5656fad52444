"""Who is compared: the candidate, and what it would replace."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from watchline.registry.files import digest_of, hash_files
from watchline.registry.history import RegistryError, read_history, taken_back
from watchline.registry.loading import checked_folder
from watchline.report import read_json, write_json

Against = Literal["production", "baseline"]


@dataclass(frozen=True)
class Arms:
    """A candidate of models/ and its reference, as a JSON file between the steps of a promotion.

    `reference`: folder of the model (None where there is none), `label`: what it is called; `statistic` and
    `judged_until`: of a version of the registry what it ranks by and its last eval day; `unchanged`: the candidate is
    what is in production; `taken_back`: says that a rollback took it out, and is not to be judged again ('': it is);
    `events`: how many the history had.
    """

    candidate: str
    method: str
    digest: str
    reference: str | None
    label: str
    statistic: str | None
    judged_until: str | None
    unchanged: bool
    taken_back: str
    events: int

    def write(self, path: Path) -> None:
        """As JSON."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Arms:
        """What `write` wrote; raises ValueError naming a file that is not that."""
        return cls(**read_json(path, list(cls.__dataclass_fields__)))


def choose_arms(
    models: Path, candidate: str, baseline: str, registry: Path, against: Against, again: bool = True
) -> Arms:
    """The reference is the version in production; without one, or asked for the baseline, that of `models`.

    Files that a rollback took out of production are judged only with `again`: nobody would see what it was for.
    Raises RegistryError when a folder is not a saved model, or production's files are not here or not its own.
    """
    method, digest = identify(models / candidate)
    entries = read_history(registry)
    alone = Arms(candidate, method, digest, None, "", None, None, unchanged=False, taken_back="", events=len(entries))
    if entries and entries[-1].digest == digest:
        return replace(alone, label=f"v{entries[-1].version}", unchanged=True)
    if not again and digest in (taken := taken_back(entries)):
        version, rollback = taken[digest]
        why = f"which a rollback took out of production on {rollback.at[:10]}: {rollback.reason}"
        return replace(alone, label=f"v{version.version}", taken_back=why)
    if entries and against == "production":
        current = entries[-1]
        return replace(
            alone,
            reference=str(checked_folder(current, registry)),
            label=f"v{current.version} ({current.model}), in production",
            statistic=current.statistic,
            judged_until=current.window["eval_last"],
        )
    if baseline == candidate:
        return alone
    identify(models / baseline)
    return replace(alone, reference=str(models / baseline), label=f"the baseline {baseline}")


def identify(folder: Path) -> tuple[str, str]:
    """Method and digest of a saved model; raises RegistryError for a folder that is none."""
    path = folder / "model.json"
    if not path.is_file():
        there = ", ".join(sorted(each.parent.name for each in folder.parent.glob("*/model.json")))
        raise RegistryError(
            f"{folder}: not a trained model; there are {there or 'none'}. `dvc repro` trains those of `models`, "
            "`dvc checkout` brings back trained ones"
        )
    method = json.loads(path.read_text(encoding="utf-8")).get("model")
    if not isinstance(method, str):
        raise RegistryError(f"{path}: names no method; `dvc checkout` brings back what was trained")
    return method, digest_of(hash_files(folder))
