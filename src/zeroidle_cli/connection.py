"""Where is the cloud that a command talks to? A running local one if there is, else one started for the command.

1. the endpoint in the environment, as `zeroidle up` prints it; `--state` overrules it
2. the local cloud that has this state directory open: it says so in `running.json`
3. a local cloud in this process, on this state directory, until the command ends and no other one uses it

Of 2 and 3 each command holds a shared lock on `users` in the state directory. One that runs the local cloud for itself
ends it only once it has that lock alone; who comes in that moment waits, and finds that it has to start its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from zeroidle.errors import PermanentError, TemporaryError, printable
from zeroidle_cli.admin import state_at
from zeroidle_cli.output import err
from zeroidle_cli.project import Project

# Google's clients and the local cloud take a second to import; what needs them imports them.
if TYPE_CHECKING:
    from google.cloud import storage

    from localcloud.cloud import Deployment, LocalCloud
    from zeroidle.core.pipeline import Deployment as Deployed
    from zeroidle.gcp.objects import GoogleObjects
    from zeroidle.ports import Clock
    from zeroidle.settings import Settings

RUNNING_FILE = "running.json"
USERS_FILE = "users"
ENDPOINT_VARIABLE = "STORAGE_EMULATOR_HOST"
START_S = 15.0  # for another process that has the state open to say where it listens
POLL_S = 0.2


@dataclass
class Connection:
    """A cloud to talk to. `cloud` is there only when it runs in this process."""

    project: Project
    state: Path
    environment: Mapping[str, str] = field(repr=False)
    cloud: LocalCloud | None = None

    @cached_property
    def client(self) -> storage.Client:
        """Google's storage client."""
        from google.cloud import storage

        return storage.Client(project=self.project.project_id)

    @cached_property
    def objects(self) -> GoogleObjects:
        """Its object storage."""
        from zeroidle.gcp.objects import GoogleObjects

        return GoogleObjects(self.client)

    @cached_property
    def deployment(self) -> Deployed:
        """What the handlers know of what is deployed."""
        from zeroidle import wiring

        return wiring.deployment(self.project.bundle, self._settings)

    @cached_property
    def clock(self) -> Clock:
        """The cloud's: that of a local one may have been moved ahead."""
        from zeroidle import wiring

        return wiring.clock(self._settings.clock_url)

    @cached_property
    def _settings(self) -> Settings:
        from zeroidle.settings import Settings

        return Settings.from_env(self.environment)

    def require_cloud_that_stays(self, option: str) -> None:
        """Raises PermanentError (NO_CLOUD) if the cloud ends with this command; `option` is what to leave out then."""
        if self.cloud is not None:
            raise PermanentError(
                "there is no running local cloud that could go on with the jobs",
                code="NO_CLOUD",
                hint=f"Start one in another terminal with `{self.command('up')}`, or leave {option}.",
            )

    def bucket(self, key: str) -> str:
        """The full name of a bucket."""
        return self.project.bucket(key)

    def command(self, *words: str) -> str:
        """A command line that reaches this cloud."""
        return self.project.command(self.state, *words)


@contextlib.contextmanager
def connect(project: Project, state: Path | None = None) -> Iterator[Connection]:
    """A connection for one command.

    Raises:
        TemporaryError: NOT_REACHABLE, nothing answers at the endpoint in the environment; STATE_IN_USE, the state is
            held by a local cloud that does not answer; CLOUD_GONE, the local cloud of another process ended meanwhile.
    """
    with contextlib.ExitStack() as ending:
        folder = (state or project.default_state).resolve()
        found = _exported() if state is None else None
        if found is None:
            users = ending.enter_context(_among_users(folder))
            found = _announced(folder)
        if found is None:
            try:
                cloud = ending.enter_context(serve(project, folder))
            except TemporaryError as error:
                found = _awaited(folder) if error.code == "STATE_IN_USE" else None
                if found is None:
                    raise
            else:
                environment = _deployed_environment(project, cloud)
                ending.enter_context(_set(environment))
                yield Connection(project, folder, environment, cloud)
                _until_alone(users)
                return
        ending.enter_context(_set(found.environment))
        ending.enter_context(_end_explained(found))
        yield Connection(project, found.state, found.environment)


def running_at(project: Project, state: Path | None = None) -> str:
    """The address of a running local cloud: the one exported, if it answers, else the one that has `state` open.

    Raises:
        TemporaryError: NOT_RUNNING.
    """
    exported = os.environ.get(ENDPOINT_VARIABLE) if state is None else None
    if exported and state_at(exported) is not None:
        return exported
    folder = (state or project.default_state).resolve()
    found = _announced(folder)
    if found is None:
        hint = f"Start one with `{project.command(folder, 'up')}`."
        raise TemporaryError("no local cloud is running", code="NOT_RUNNING", hint=hint)
    return found.url


@contextlib.contextmanager
def serve(
    project: Project,
    state: Path,
    *,
    http_port: int = 0,
    grpc_port: int = 0,
    official_pubsub: bool = False,
    pubsub_port: int = 0,
    allowed_hosts: tuple[str, ...] = (),
) -> Iterator[LocalCloud]:
    """Run the local cloud in this process, announced so that other commands find it.

    Raises:
        TemporaryError: STATE_IN_USE, PORT_IN_USE; PUBSUB_NOT_INSTALLED, PUBSUB_FAILED: Google's emulator isn't there or
            does not start.
    """
    from localcloud.cloud import CloudConfig, running
    from localcloud.gateway import PortInUse
    from localcloud.official.errors import EmulatorFailed, NotInstalled
    from localcloud.store import StateInUse
    from zeroidle_cli import cloudlog, deployment

    config = CloudConfig(
        project=project.project_id,
        location=project.region,
        state=state,
        http_port=http_port,
        grpc_port=grpc_port,
        official_pubsub=official_pubsub,
        pubsub_port=pubsub_port,
        allowed_hosts=allowed_hosts,
    )
    with contextlib.ExitStack() as ending:
        log = ending.enter_context(cloudlog.kept_in(state))

        def deploy(cloud: LocalCloud) -> Deployment:
            log.workflows = cloud.workflows
            return deployment.local(project, cloud)

        try:
            cloud = ending.enter_context(running(config, deploy))
        except StateInUse as error:
            raise TemporaryError(
                str(error), code="STATE_IN_USE", hint="End that process, or name another directory with --state."
            ) from error
        except PortInUse as error:
            raise TemporaryError(
                str(error),
                code="PORT_IN_USE",
                hint="`zeroidle up --http-port 0 --grpc-port 0` takes free ones; so does `--pubsub-port 0`.",
            ) from error
        except NotInstalled as error:
            raise TemporaryError(
                str(error), code="PUBSUB_NOT_INSTALLED", hint="`zeroidle up` without `--pubsub official` needs neither."
            ) from error
        except EmulatorFailed as error:
            raise TemporaryError(str(error), code="PUBSUB_FAILED") from error
        ending.enter_context(_announce(state, _deployed_environment(project, cloud)))
        yield cloud


@contextlib.contextmanager
def _among_users(state: Path) -> Iterator[int]:
    """The lock that every command on `state` shares; the kernel takes it back however the process ends."""
    state.mkdir(parents=True, exist_ok=True)
    handle = os.open(state / USERS_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield handle
    finally:
        os.close(handle)


def _until_alone(users: int) -> None:
    """Return once no other command uses the local cloud of this one."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        err.print("Done. The local cloud stays for another command that uses it; Ctrl-C ends it now.", soft_wrap=True)
        fcntl.flock(users, fcntl.LOCK_EX)


@dataclass(frozen=True, slots=True)
class _Found:
    """A local cloud of another process."""

    url: str
    state: Path
    environment: Mapping[str, str]


def _deployed_environment(project: Project, cloud: LocalCloud) -> dict[str, str]:
    from zeroidle_cli import deployment

    return deployment.environment(project, cloud)


@contextlib.contextmanager
def _announce(state: Path, environment: Mapping[str, str]) -> Iterator[None]:
    path = state / RUNNING_FILE
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"pid": os.getpid(), "environment": environment}))
    fresh.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _exported() -> _Found | None:
    """The local cloud that the environment names, if it names one."""
    url = os.environ.get(ENDPOINT_VARIABLE)
    if not url:
        return None
    state = state_at(url)
    if state is None:
        raise TemporaryError(
            f"{ENDPOINT_VARIABLE} is {printable(url)}, but no local cloud answers there",
            code="NOT_REACHABLE",
            hint=f"Start it with `zeroidle up`, or `unset {ENDPOINT_VARIABLE}`: commands then find or start one.",
        )
    # Exporting the one variable that the storage client needs is enough: the rest stands in the announcement.
    return _announced(state) or _Found(url, state, dict(os.environ))


def _announced(state: Path) -> _Found | None:
    """The local cloud that has `state` open, if it said so and answers."""
    try:
        environment: dict[str, str] = json.loads((state / RUNNING_FILE).read_text())["environment"]
        url = environment[ENDPOINT_VARIABLE]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # The announcement may be a dead process's, and the port somebody else's by now.
    return _Found(url, state, environment) if state_at(url) == state else None


def _awaited(state: Path) -> _Found | None:
    """The local cloud that has `state` open and is about to say so."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        found = _announced(state)
        if found is not None:
            return found
        time.sleep(POLL_S)
    return None


@contextlib.contextmanager
def _end_explained(found: _Found) -> Iterator[None]:
    """What fails because the other process ended its local cloud says so."""
    try:
        yield
    except Exception as error:
        if isinstance(error, PermanentError) or state_at(found.url) is not None:
            raise
        raise TemporaryError(
            f"the local cloud at {found.url} has ended",
            code="CLOUD_GONE",
            hint=f"Its state is kept in {found.state}: `zeroidle up` goes on with what was under way.",
        ) from error


@contextlib.contextmanager
def _set(values: Mapping[str, str]) -> Iterator[None]:
    """Google's clients read their endpoints from the environment."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
