"""Steps that change the registry: keep a candidate's files, record its promotion, roll back.

In this order a kill at any moment leaves production as it was, or the new one: files and card first, the line of the
history last. What a killed promotion left behind has no line, and the next one writes over it.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from watchline.registry.card import card_of
from watchline.registry.files import copy_folder, digest_of, hash_files
from watchline.registry.history import Entry, RegistryError, append, read_history
from watchline.registry.loading import checked_folder, find, model_folder
from watchline.report import read_json


def read_verdict(path: Path) -> dict[str, Any]:
    """verdict.json of a candidate that may be promoted; raises RegistryError for any other verdict."""
    verdict = read_json(path, ["status", "text", "candidate", "digest", "events", "checks"])
    if verdict["status"] != "pass":
        raise RegistryError(f"{path}: {verdict['text']} Only a candidate that passes is promoted")
    return verdict


def keep(verdict: dict[str, Any], models: Path, registry: Path) -> int:
    """Copy the judged model into the registry as its next version, which is not in production by that; the version.

    Raises RegistryError when the model is not the one that was judged any more.
    """
    source = models / verdict["candidate"]
    if digest_of(hash_files(source)) != verdict["digest"]:
        raise RegistryError(f"{source}: is not what was judged; judge it again")
    version = 1 + max((entry.version for entry in read_history(registry)), default=0)
    copy_folder(source, model_folder(registry, version))
    return version


def record(verdict: dict[str, Any], registry: Path, version: int, reason: str, commit: str | None, root: Path) -> Entry:
    """Make a kept version production: its model card, then one more line of the history.

    `root` has params.yaml and dvc.lock. Raises RegistryError when the kept files are not those that were judged, or
    something else was promoted or rolled back since.
    """
    files = hash_files(model_folder(registry, version))
    if digest_of(files) != verdict["digest"]:
        raise RegistryError(f"{model_folder(registry, version)}: not the files that were judged; promote again")
    entries = read_history(registry)
    values: dict[str, Any] = {
        "action": "promote",
        "version": version,
        "predecessor": entries[-1].version if entries else None,
        "at": now(),
        "commit": commit,
        "model": verdict["candidate"],
        **{key: verdict[key] for key in ("method", "statistic", "window", "digest", "metrics")},
        "files": files,
        "lock": read_lock(root),
        "card": f"cards/v{version}.md",
        "verdict": {"status": verdict["status"], "text": verdict["text"]},
        "reason": reason or verdict["text"],
    }
    return append(registry, values, verdict["events"], card_of(values, verdict["checks"]))


def previous_version(registry: Path) -> Entry:
    """The promotion that a rollback brings back; raises RegistryError when nothing came before."""
    current = find(registry=registry)
    if current.predecessor is None:
        raise RegistryError(f"v{current.version} ({current.model}) is in production and nothing came before it")
    return find(f"v{current.predecessor}", registry)


def roll_back(registry: Path, reason: str, commit: str | None) -> Entry:
    """Put the version before the present one into production again, its files checked; a second call goes further back.

    Raises RegistryError when nothing came before, or its files are absent or changed.
    """
    entries = read_history(registry)
    target = previous_version(registry)
    checked_folder(target, registry)
    promoted = next(each for each in entries if each.version == target.version)
    values = promoted.model_dump(exclude={"number", "previous"})
    given = reason or f"v{entries[-1].version} is taken back"
    values |= {"action": "rollback", "at": now(), "commit": commit, "reason": given}
    return append(registry, values, len(entries))


def read_lock(root: Path) -> dict[str, Any]:
    """Hash of params.yaml, and DVC's hash of each output in dvc.lock but reports; raises RegistryError without them."""
    params, lock = root / "params.yaml", root / "dvc.lock"
    for path in (params, lock):
        if not path.is_file():
            raise RegistryError(f"{path}: no such file, so what made the candidate is not known; run `dvc repro`")
    stages = yaml.safe_load(lock.read_text(encoding="utf-8")).get("stages", {})
    outputs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}
    kept = {path: outputs[path] for path in sorted(outputs) if not path.startswith("reports/")}
    return {"params": hashlib.sha256(params.read_bytes()).hexdigest(), "outputs": kept}


def now() -> str:
    """This moment, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
