"""Every deploy unit has a lock, and it serves what pyproject.toml asks for."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = {
    "functions": "functions/requirements.txt",
    "preprocess": "services/preprocess/requirements.txt",
    "gpu-inference": "services/gpu_inference/requirements.txt",
    "postprocess": "services/postprocess/requirements.txt",
    "worker": "worker/requirements.txt",
    "local": "requirements.txt",
    "localcloud": "requirements.txt",
    "test": "requirements.txt",
    "dev": "requirements.txt",
    "bench": "requirements.txt",
}


def pinned(lock: str) -> dict[str, str]:
    """Version by package name; with several for different platforms, the last."""
    versions = {}
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        if "==" in line and not line.startswith((" ", "#", "-")):
            name, _, rest = line.partition("==")
            versions[canonicalize_name(name.partition("[")[0].strip())] = rest.split()[0].rstrip("\\;")
    return versions


@pytest.mark.parametrize("extra", LOCKS)
def test_the_lock_of_a_unit_is_current(extra: str) -> None:
    locked = pinned(LOCKS[extra])

    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]]:
        asked = Requirement(text)
        name = canonicalize_name(asked.name)
        if name == "zeroidle" or (asked.marker is not None and not asked.marker.evaluate()):
            continue
        assert name in locked, f"{name} is not in {LOCKS[extra]}: run `make lock`"
        assert locked[name] in asked.specifier, f"{name} {locked[name]} is not {asked.specifier}: run `make lock`"


@pytest.mark.parametrize("lock", [lock for lock in dict.fromkeys(LOCKS.values()) if lock != "requirements.txt"])
def test_what_is_deployed_is_pinned_by_hash(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")

    assert text.count("==") <= text.count("--hash=sha256:")


def test_functions_do_not_carry_what_only_services_need() -> None:
    locked = pinned("functions/requirements.txt")

    assert not locked.keys() & {"torch", "pyarrow", "aiohttp", "rapidocr-onnxruntime"}
