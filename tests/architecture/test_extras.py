"""Who installs the local cloud alone gets what it imports, and not what runs models."""

from __future__ import annotations

import ast
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OPTIONAL = {"pytest"}  # by the plugin, which pytest imports


def needed(requirements: list[str], extras: frozenset[str] = frozenset()) -> dict[str, None]:
    """All distributions that come with these, themselves included."""
    found: dict[str, None] = {}
    asked = [(Requirement(text), extras) for text in requirements]
    while asked:
        requirement, of = asked.pop()
        environments = [{"extra": extra} for extra in of or {""}]
        if requirement.marker is not None and not any(requirement.marker.evaluate(each) for each in environments):
            continue
        name = canonicalize_name(requirement.name)
        if name not in found:
            found[name] = None
            inner = metadata.requires(name) or []
            asked.extend((Requirement(text), frozenset(requirement.extras)) for text in inner)
    return found


def imported(package: Path) -> set[str]:
    """The modules of others that a package imports anywhere."""
    names = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in names if name.partition(".")[0] not in {*sys.stdlib_module_names, package.name}}


def above(module: str) -> list[str]:
    """The module and all packages it is in."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def test_the_extra_of_the_local_cloud_has_all_that_it_imports() -> None:
    own = metadata.requires("zeroidle") or []
    extra = needed(own, frozenset({"localcloud"}))
    provided = {
        module
        for name in extra
        for file in metadata.distribution(name).files or []
        if file.suffix in (".py", ".so")
        for module in above(str(file).partition(".")[0].removesuffix("/__init__").replace("/", "."))
    }

    missing = {
        name
        for name in imported(ROOT / "src" / "localcloud") - OPTIONAL
        if not {name, name.rpartition(".")[0]} & provided
    }

    assert missing == set()
    assert not extra.keys() & {"torch", "pyarrow", "opencv-python-headless", "tokenizers", "google-cloud-compute"}
