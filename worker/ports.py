"""What does the agent need of the machine it is on, and of the cloud around it? Small protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from zeroidle.contracts.messages import Heartbeat, MachineRun, Meta, Progress
from zeroidle.contracts.services import Folder
from zeroidle.ports import Clock, JobStore, VmStore


class Assigned(Protocol):
    """An assignment that was pulled; its lease is extended until it is settled."""

    @property
    def job_id(self) -> str: ...

    @property
    def attempt(self) -> int: ...

    def settle(self) -> None:
        """It needs nobody any more."""

    def give_back(self) -> None:
        """Somebody else may have it."""


class Assignments(Protocol):
    """The subscription of this VM's cluster."""

    def take(self) -> Assigned | None:
        """One that has arrived, or None. Raises TemporaryError."""

    def close(self) -> None:
        """Take no more; what has arrived and was not taken goes back."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a container said of itself since it was last asked (`ZEROIDLE_META`)."""

    progress: Progress | None = None
    message: str = ""
    reports: Sequence[tuple[str, dict[str, Any]]] = ()  # operation and data
    has_more: bool = False  # than one call takes


@dataclass(frozen=True, slots=True)
class Published:
    """What became of the files that a container left in its output folder."""

    files: int  # how many are in the bucket
    left_out: int = 0  # how many could not be kept; the log says which, and why


class Container(Protocol):
    """One that was started."""

    def exit_code(self) -> int | None:
        """How it ended, 128 plus the signal where one ended it; None while it runs."""

    def output(self) -> Output:
        """What it said since the last call."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it, with everything that it started."""

    def publish(self, folder: Folder) -> Published | None:
        """Upload its logs and what it left in its output folder, for some seconds; None: there is more, call again.

        Raises TemporaryError.
        """

    def discard(self) -> None:
        """Remove all that is left of it from this machine."""


class Containers(Protocol):
    """How a job is run on this machine."""

    def start(self, job_id: str, attempt: int, run: MachineRun) -> Container:
        """Start it. Raises PermanentError where it cannot be started, such as for an image that does not exist."""


class Reporter(Protocol):
    """What the agent says. Every call may raise TemporaryError."""

    def beat(self, beat: Heartbeat) -> None:
        """How the attempt is doing."""

    def meta(self, meta: Meta) -> None:
        """Something worth keeping about the job."""


class Host(Protocol):
    """The VM."""

    def is_preempted(self) -> bool:
        """Has the VM been told that it will be taken back?"""

    def delete(self) -> None:
        """Have this VM deleted, through its group. Raises TemporaryError."""


@dataclass(frozen=True, slots=True)
class Tools:
    """All of them."""

    assignments: Assignments
    jobs: JobStore
    vms: VmStore
    containers: Containers
    reporter: Reporter
    host: Host
    clock: Clock
