"""Which checkout is this, and what does it deploy?"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from zeroidle import bundle
from zeroidle.contracts import names
from zeroidle.errors import PermanentError

LOCAL_PROJECT, LOCAL_REGION = "local", "us-central1"


@dataclass(frozen=True, slots=True)
class Project:
    """A checkout and the project id under which it runs on this machine."""

    root: Path
    bundle: bundle.Bundle
    project_id: str = LOCAL_PROJECT
    region: str = LOCAL_REGION

    @property
    def default_state(self) -> Path:
        """Where the local cloud keeps its state unless told otherwise."""
        return self.root / ".zeroidle" / "state"

    @property
    def environment(self) -> dict[str, str]:
        """What functions, services and this command line read besides the variables of the cloud."""
        return {"ZEROIDLE_REGION": self.region, "ZEROIDLE_BUNDLE": str(self.root / bundle.FILE_NAME)}

    def command(self, state: Path, *words: str) -> str:
        """A command line that reaches the local cloud on `state`: what a hint tells to type."""
        elsewhere = state != self.default_state.resolve()
        return shlex.join(["zeroidle", *words, *(["--state", str(state)] if elsewhere else [])])

    def bucket(self, key: str) -> str:
        """The full name of a bucket of the bundle."""
        return names.bucket_name(self.project_id, key)


def find(start: Path | None = None) -> Project:
    """The checkout around `start` (the current directory), or the one that `ZEROIDLE_BUNDLE` names.

    Raises:
        PermanentError: there is none, or its bundle.yaml is invalid.
    """
    named = os.environ.get("ZEROIDLE_BUNDLE")
    if named:
        path = Path(named).resolve()
        return Project(path.parent, bundle.load(path))
    here = (start or Path.cwd()).resolve()
    # The checkout this package is installed from serves when called from elsewhere.
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if (folder / bundle.FILE_NAME).is_file() and (folder / "functions").is_dir():
            return Project(folder, bundle.load(folder / bundle.FILE_NAME))
    raise PermanentError(
        f"no {bundle.FILE_NAME} in {here} or above it",
        code="NO_PROJECT",
        hint="Run zeroidle inside a checkout, or set ZEROIDLE_BUNDLE to its bundle.yaml.",
    )
