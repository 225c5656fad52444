"""The lock pins everything, names no index and drags in no GPU packages."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"default": "lock", "llm": "llm", "spark": "spark"}  # what is asked for -> what is locked
LOCKS = {source: (ROOT / f"requirements/{name}.txt").read_text() for source, name in NAMES.items()}
LOCK = "".join(LOCKS.values())


def versions() -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]+\])?==([^ ;\n]+)", LOCK, flags=re.M | re.I))


def test_every_line_pins_one_exact_public_version():
    for line in LOCK.splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[^]]+\])?==[0-9][^ +]*( ; .+)?", line), line


def test_lock_names_no_index_and_no_gpu_package():
    assert not re.search(r"^-|://|\+cpu", LOCK, flags=re.M)
    assert not [name for name in versions() if name.startswith(("nvidia", "cuda", "triton"))]


def test_fastapi_stays_below_the_release_that_breaks_prefect():
    major, minor, *_ = (int(part) for part in versions()["fastapi"].split("."))
    assert (major, minor) < (0, 151)


def test_every_direct_requirement_is_locked():
    sources = "".join((ROOT / f"requirements/{name}.in").read_text() for name in NAMES)
    direct = re.findall(r"^([a-z0-9-]+)", sources, flags=re.M)
    assert set(direct) <= set(versions())


def test_extras_change_no_version_of_the_lock_and_spark_is_only_in_its_own():
    pinned = {source: dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock, flags=re.M)) for source, lock in LOCKS.items()}
    for extra in ("llm", "spark"):
        shared = set(pinned[extra]) & set(pinned["default"])
        assert shared and {name for name in shared if pinned[extra][name] != pinned["default"][name]} == set()
    assert [source for source, versions in pinned.items() if "pyspark" in versions] == ["spark"]
