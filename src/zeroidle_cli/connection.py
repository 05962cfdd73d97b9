"""Where is the cloud that a command talks to? A running local one if there is, else one started for the command.

1. the endpoints in the environment, as `zeroidle up` prints them
2. the local cloud that has this state directory open: it says so in `running.json`
3. a local cloud in this process, on this state directory, until the command ends
"""

from __future__ import annotations

import contextlib
import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.cloud import CloudConfig, LocalCloud, running
from localcloud.store import StateInUse
from zeroidle import wiring
from zeroidle.core.pipeline import Deployment
from zeroidle.errors import TemporaryError
from zeroidle.settings import Settings
from zeroidle_cli import deployment
from zeroidle_cli.project import Project

if TYPE_CHECKING:
    from zeroidle.gcp.objects import GoogleObjects

RUNNING_FILE = "running.json"
ENDPOINT_VARIABLE = "STORAGE_EMULATOR_HOST"


@dataclass
class Connection:
    """A cloud to talk to. `cloud` is there only when it runs in this process."""

    project: Project
    state: Path
    environment: Mapping[str, str] = field(repr=False)
    cloud: LocalCloud | None = None

    @cached_property
    def objects(self) -> GoogleObjects:
        """Its object storage."""
        from google.cloud import storage  # takes a quarter of a second to import

        from zeroidle.gcp.objects import GoogleObjects

        return GoogleObjects(storage.Client(project=self.project.project_id))

    @cached_property
    def deployment(self) -> Deployment:
        """What the handlers know of what is deployed."""
        return wiring.deployment(self.project.bundle, Settings.from_env(self.environment))

    def bucket(self, key: str) -> str:
        """The full name of a bucket."""
        return self.project.bucket(key)


@contextlib.contextmanager
def connect(project: Project, state: Path | None = None) -> Iterator[Connection]:
    """A connection for one command.

    Raises:
        TemporaryError: the state is held by a local cloud that does not answer.
    """
    folder = (state or project.default_state).resolve()
    found = _exported() or _announced(folder)
    if found is not None:
        with _environment(found):
            yield Connection(project, folder, found)
        return
    with serve(project, folder) as cloud, _environment(deployment.environment(project, cloud)):
        yield Connection(project, folder, deployment.environment(project, cloud), cloud)


@contextlib.contextmanager
def serve(project: Project, state: Path, *, http_port: int = 0, grpc_port: int = 0) -> Iterator[LocalCloud]:
    """Run the local cloud in this process, announced so that other commands find it."""
    config = CloudConfig(
        project=project.project_id, location=project.region, state=state, http_port=http_port, grpc_port=grpc_port
    )
    try:
        with running(config, lambda cloud: deployment.local(project, cloud)) as cloud:
            announcement = state / RUNNING_FILE
            announcement.write_text(
                json.dumps({"pid": os.getpid(), "environment": deployment.environment(project, cloud)})
            )
            try:
                yield cloud
            finally:
                announcement.unlink(missing_ok=True)
    except StateInUse as error:
        raise TemporaryError(
            str(error), code="STATE_IN_USE", hint="Stop it, or name another directory with --state."
        ) from error


def _exported() -> dict[str, str] | None:
    return dict(os.environ) if os.environ.get(ENDPOINT_VARIABLE) else None


def _announced(state: Path) -> dict[str, str] | None:
    """What the local cloud on `state` announced, if it answers."""
    try:
        environment: dict[str, str] = json.loads((state / RUNNING_FILE).read_text())["environment"]
        # Loopback only: the file is ours, but its content may be stale.
        with urllib.request.urlopen(f"{environment[ENDPOINT_VARIABLE]}/_localcloud/health", timeout=5):  # noqa: S310
            return environment
    except (OSError, ValueError, KeyError):
        return None


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Google's clients read their endpoints from the environment."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
