"""What is one VM? A process group, a metadata server, and the status that the API shows."""

from __future__ import annotations

import asyncio
import shlex
import shutil
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from localcloud.clock import Timer
from localcloud.context import Context
from localcloud.metadata import Metadata, MetadataServer
from localcloud.metadata.state import ACCOUNTS, account
from localcloud.run.logs import LogWriter
from localcloud.run.process import Process, environment
from localcloud.run.watchdog import Watchdog

STARTUP_SCRIPT = "startup-script"
SHUTDOWN_S = 30.0  # https://cloud.google.com/compute/docs/instances/preemptible#preemption-process
DEFAULT_SHELL = ("/bin/sh",)


class Status(StrEnum):
    """https://cloud.google.com/compute/docs/instances/instance-lifecycle"""

    PROVISIONING = "PROVISIONING"
    STAGING = "STAGING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    TERMINATED = "TERMINATED"


class Machine:
    """A VM. `properties` are those of its template, `number` is the id that the API shows."""

    def __init__(self, context: Context, zone: str, name: str, number: int, properties: Mapping[str, Any]) -> None:
        self.zone = zone
        self.name = name
        self.number = number
        self.properties = properties
        self.status = Status.PROVISIONING
        self.created = context.clock.time()
        self.group: tuple[str, str] | None = None  # region and name
        self.preempted = False
        self.ended = asyncio.Event()
        self.timers: list[Timer] = []
        self.metadata = Metadata(_metadata(context, self))
        self._server = MetadataServer(context, self.metadata)
        self._process: Process | None = None
        self._disk: Path | None = None

    @property
    def key(self) -> str:
        """What faults and logs call it."""
        return f"{self.zone}/{self.name}"

    @property
    def accelerator(self) -> str:
        """The type of its GPUs; its machine type where that has them built in."""
        attached = self.properties.get("guestAccelerators") or []
        kind = attached[0].get("acceleratorType", "") if attached else self.properties.get("machineType", "")
        return str(kind).rpartition("/")[2]

    @property
    def is_spot(self) -> bool:
        """May it be taken back at any time?"""
        scheduling = self.properties.get("scheduling") or {}
        return scheduling.get("provisioningModel") == "SPOT" or bool(scheduling.get("preemptible"))

    @property
    def max_run_s(self) -> float | None:
        """How long it may run, if its template says."""
        limit = (self.properties.get("scheduling") or {}).get("maxRunDuration") or {}
        return float(limit["seconds"]) if "seconds" in limit else None

    @property
    def pid(self) -> int | None:
        """Of the process group that it is."""
        return None if self._process is None else self._process.pid

    async def boot(
        self, parent: Mapping[str, str], own: Mapping[str, str], log: LogWriter, watchdog: Watchdog, folder: Path
    ) -> None:
        """Run the startup script in `folder`, its disk from now on. Raises OSError."""
        await self._server.start()
        script = self.attributes.get(STARTUP_SCRIPT, "")
        if script and self.status is Status.STAGING:
            folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # takes no time
            self._disk = folder
            path = folder / "startup-script"
            path.write_text(script, encoding="utf-8")
            self._process = Process(self.name, log, watchdog)
            env = environment(own, parent, self._server.environment())
            await self._process.spawn([*_shell(script), str(path)], env, folder)
        self.status = Status.RUNNING

    async def end(self, grace_s: float) -> None:
        """SIGTERM, SIGKILL after `grace_s` of real time, and no more metadata."""
        for timer in self.timers:
            timer.cancel()
        if self._process is not None:
            await self._process.stop(grace_s)
        await self._server.stop()
        self.status = Status.TERMINATED
        self.ended.set()

    def renewed(self, context: Context) -> Machine:
        """The same VM, with its disk, before its next boot."""
        again = Machine(context, self.zone, self.name, self.number, self.properties)
        again.created, again.group, again._disk = self.created, self.group, self._disk
        return again

    def wipe(self) -> None:
        """Its disk is gone."""
        if self._disk is not None:
            shutil.rmtree(self._disk, ignore_errors=True)

    @property
    def attributes(self) -> dict[str, str]:
        """The metadata that its user gave it."""
        items = (self.properties.get("metadata") or {}).get("items") or []
        return {str(item["key"]): str(item.get("value", "")) for item in items}


def notice(machine: Machine) -> Callable[[], None]:
    """Tell the VM that it will be taken back."""

    def tell() -> None:
        machine.preempted = True
        machine.metadata.set("instance/preempted", "TRUE")

    return tell


def _shell(script: str) -> tuple[str, ...]:
    first, _, _ = script.partition("\n")
    return tuple(shlex.split(first.removeprefix("#!"))) if first.startswith("#!/") else DEFAULT_SHELL


def _metadata(context: Context, machine: Machine) -> dict[str, Any]:
    number, region = context.project_number, machine.zone.rpartition("-")[0]
    accounts = machine.properties.get("serviceAccounts") or []
    email = accounts[0].get("email", "") if accounts else ""
    if not email or email == "default":
        email = f"{number}-compute@developer.gserviceaccount.com"
    kind = str(machine.properties.get("machineType", "")).rpartition("/")[2]
    return {
        "instance": {
            "attributes": machine.attributes,
            "hostname": f"{machine.name}.{machine.zone}.c.{context.project}.internal",
            "id": machine.number,
            "machine-type": f"projects/{number}/machineTypes/{kind}",
            "maintenance-event": "NONE",
            "name": machine.name,
            "preempted": "FALSE",
            "region": f"projects/{number}/regions/{region}",
            "scheduling": {"preemptible": "TRUE" if machine.is_spot else "FALSE"},
            "zone": f"projects/{number}/zones/{machine.zone}",
            ACCOUNTS: account(email),
        },
        "project": {"numeric-project-id": number, "project-id": context.project},
    }
