"""An image holds what its program imports: our own files by COPY, everything else by the lock."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = ["services.preprocess", "services.gpu_inference", "services.postprocess", "worker"]
# Imports every module of the package with nothing of ours on the path but what was copied; prints the files.
IMPORT_ALL = """
import importlib, pkgutil, sys
image, root, name = sys.argv[1:]
sys.path[:] = [image, *(path for path in sys.path if path and (not path.startswith(root) or "site-packages" in path))]
package = importlib.import_module(name)
for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if found.name != "worker.guard":  # a program, which waits for the end of its input
        importlib.import_module(found.name)
for name, module in sorted(sys.modules.items()):
    if name.split(".")[0] in ("services", "worker", "zeroidle"):
        print(module.__file__)
"""


def build(folder: Path, image: Path) -> None:
    """What the Dockerfile's COPY lines put into the image's working folder."""
    dockerfile = (folder / "Dockerfile").read_text(encoding="utf-8")
    for source, target in re.findall(r"^COPY (\S+) ([^/]\S*)$", dockerfile, re.MULTILINE):
        here = ROOT / source
        if here.is_dir():
            shutil.copytree(here, image / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place = image / here.name if target == "." else image / target
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, place)


def imported(file: Path) -> set[str]:
    """The top-level names that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"services", "worker", "zeroidle"}


@pytest.mark.parametrize("package", PACKAGES)
def test_an_image_holds_what_its_program_imports(package: str, tmp_path: Path) -> None:
    folder = ROOT / package.replace(".", "/")
    build(folder, tmp_path)

    result = subprocess.run(
        [sys.executable, "-I", "-c", IMPORT_ALL, str(tmp_path), str(ROOT), package],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    files = [Path(line) for line in result.stdout.splitlines()]
    assert files
    assert all(file.is_relative_to(tmp_path) for file in files)
    locked = set(re.findall(r"^([A-Za-z0-9_.-]+)==", (tmp_path / "requirements.txt").read_text(), re.MULTILINE))
    providers = packages_distributions()
    missing = {
        name
        for name in set().union(*map(imported, files))
        if not locked & set(map(canonicalize_name, providers.get(name, [])))
    }
    assert not missing, f"imported, but not in {folder}/requirements.txt: {missing}"


@pytest.mark.parametrize("package", PACKAGES)
def test_an_image_starts_a_module_that_it_holds(package: str, tmp_path: Path) -> None:
    folder = ROOT / package.replace(".", "/")
    build(folder, tmp_path)
    (command,) = re.findall(r"^CMD (\[.+\])$", (folder / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)

    python, flag, module = json.loads(command)

    assert (python, flag) == ("python", "-m")
    assert (tmp_path / (module.replace(".", "/") + ".py")).is_file()


def test_the_agents_image_has_what_the_agent_calls(tmp_path: Path) -> None:
    build(ROOT / "worker", tmp_path)
    dockerfile = (ROOT / "worker" / "Dockerfile").read_text(encoding="utf-8")

    placed = {line.split()[-1]: line.split()[-2] for line in re.findall("^COPY .+$", dockerfile, re.MULTILINE)}
    assert placed["/usr/local/bin/docker"] == "/usr/local/bin/docker"
    helper = json.loads((ROOT / placed["/root/.docker/config.json"]).read_text(encoding="utf-8"))["credsStore"]
    program = ROOT / placed[f"/usr/local/bin/docker-credential-{helper}"]
    assert os.access(program, os.X_OK)
    assert program.read_text(encoding="utf-8").startswith("#!")
    assert (tmp_path / "bundle.yaml").is_file()  # the agent's settings look for it in the working folder
