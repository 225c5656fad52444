"""The lock pins everything, names no index and drags in no GPU packages."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements/lock.txt").read_text() + (ROOT / "requirements/llm.txt").read_text()


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
    sources = "".join((ROOT / f"requirements/{name}.in").read_text() for name in ("default", "llm"))
    direct = re.findall(r"^([a-z0-9-]+)", sources, flags=re.M)
    assert set(direct) <= set(versions())
