"""What happens to VMs and to the groups that ask for them?

Templates and groups are in the store and survive; VMs are processes, which end with the local cloud, and so are gone
after it: as after a host error in a group that does not repair.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from localcloud.compute.errors import ComputeError, exists, not_found
from localcloud.compute.groups import Group, Managed
from localcloud.compute.machine import SHUTDOWN_S, Machine, Status, notice
from localcloud.compute.operations import Operation, Operations
from localcloud.context import Context
from localcloud.faults import MACHINE, PROVISION
from localcloud.run.logs import LogWriter
from localcloud.run.watchdog import Watchdog

TEMPLATES, GROUPS = "compute.templates", "compute.groups"
PROVISION_CALL, RUN_CALL = "compute.machines.provision", "compute.machines.run"
LOG = "compute"  # the log of what the VMs print
RETRY_S = 30.0  # a group tries again to create what could not be created
LOOK_S = 1.0  # how often a VM looks whether a fault ends it

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TemplateSpec:
    """An instance template. `properties` as the API takes them; a VM's program is `startup-script` in its metadata."""

    name: str
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class GroupSpec:
    """A regional managed instance group at size zero."""

    name: str
    region: str
    template: str
    zones: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComputeSpec:
    """What is deployed of Compute Engine; `env` is given to every VM's process, as a network gives a VM its routes."""

    templates: tuple[TemplateSpec, ...] = ()
    groups: tuple[GroupSpec, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


class Compute:
    """All VMs of one project. Everything happens on the event loop that runs `start`."""

    def __init__(self, context: Context, boot_s: float = 2.0) -> None:
        """`boot_s` is how long a VM takes from being asked for to its program's start, in virtual time."""
        self.context = context
        self.boot_s = boot_s
        self.operations = Operations(context.clock)
        self.templates: dict[str, dict[str, Any]] = {
            name: msgspec.json.decode(row) for name, row in context.store.items(TEMPLATES)
        }
        self.groups: dict[tuple[str, str], Group] = {}
        self.machines: dict[tuple[str, str], Machine] = {}
        self.env: dict[str, str] = {}
        self._count = 0
        self._folder = context.store.directory / "compute"
        self._watchdog: Watchdog | None = None
        self._log: LogWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        for key, row in context.store.items(GROUPS):
            region, _, name = key.partition("/")
            self.groups[region, name] = Group(name, region, self._number(), msgspec.json.decode(row), self._now())

    async def start(self) -> None:
        """Ready to boot VMs; those of an earlier process are gone."""
        if self._folder.exists():
            shutil.rmtree(self._folder)

    async def stop(self) -> None:
        """End all VMs."""
        machines = list(self.machines.values())
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*(machine.end(0.5) for machine in machines), *self._tasks, return_exceptions=True)
        if self._watchdog is not None:
            self._watchdog.close()
        if self._log is not None:
            self._log.close()

    def deploy(self, spec: ComputeSpec) -> None:
        """Make sure that all of it exists."""
        self.env = dict(spec.env)
        for each in spec.templates:
            resource = {"name": each.name, "properties": dict(each.properties)}
            if self.templates.get(each.name) != resource:
                self._keep_template(resource)
        for group in spec.groups:
            if (group.region, group.name) not in self.groups:
                zones = [{"zone": f"zones/{zone}"} for zone in group.zones]
                policy = {"distributionPolicy": {"zones": zones}} if zones else {}
                template = f"global/instanceTemplates/{group.template}"
                self.insert_group(group.region, {"name": group.name, "instanceTemplate": template, **policy})

    def is_idle(self) -> bool:
        """Is there no VM, and none on its way?"""
        return not self.machines and not any(group.managed for group in self.groups.values())

    # Templates

    def insert_template(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Raises ComputeError 409."""
        name = str(resource["name"])
        if name in self.templates:
            raise exists(f"global/instanceTemplates/{name}")
        return self._keep_template(resource)

    def template(self, name: str) -> dict[str, Any]:
        """Raises ComputeError 404."""
        if name not in self.templates:
            raise not_found(f"global/instanceTemplates/{name}")
        return self.templates[name]

    def delete_template(self, name: str) -> None:
        """Raises ComputeError 404; 400 while a group uses it."""
        self.template(name)
        user = next((group for group in self.groups.values() if group.template == name), None)
        if user is not None:
            raise ComputeError(400, f"The template '{name:.80}' is in use by '{user.name}'", "resourceInUseByAnother")
        self.context.store.delete(TEMPLATES, name)
        del self.templates[name]

    # Groups

    def insert_group(self, region: str, resource: dict[str, Any]) -> Group:
        """A group at size zero. Raises ComputeError 404, 409."""
        name = str(resource["name"])
        if (region, name) in self.groups:
            raise exists(f"regions/{region}/instanceGroupManagers/{name}")
        group = Group(name, region, self._number(), resource, self._now())
        self.template(group.template)
        self.context.store.put(GROUPS, f"{region}/{name}", msgspec.json.encode(resource))
        self.groups[region, name] = group
        return group

    def group(self, region: str, name: str) -> Group:
        """Raises ComputeError 404."""
        group = self.groups.get((region, name))
        if group is None:
            raise not_found(f"regions/{region}/instanceGroupManagers/{name}")
        return group

    def delete_group(self, group: Group) -> None:
        """Remove a group and end its VMs."""
        self.context.store.delete(GROUPS, f"{group.region}/{group.name}")
        self.remove_from(group, list(group.managed))
        del self.groups[group.region, group.name]

    def create_in(self, group: Group, names: Iterable[str], resize_request: str = "") -> None:
        """Have the group make VMs of these names. Raises ComputeError 400 when one of them is there already."""
        names = list(names)
        for name in names:
            if name in group.managed:
                raise ComputeError(400, f"Instance '{name:.80}' is already managed by '{group.name}'", "invalid")
        for name in names:
            managed = Managed(name, self._number(), resize_request=resize_request)
            group.managed[name] = managed
            self._spawn(self._bring_up(group, managed))

    def remove_from(self, group: Group, names: Iterable[str]) -> None:
        """Have the group delete VMs; it is smaller at once."""
        for name in names:
            managed = group.managed.get(name)
            if managed is None or managed.deleting:
                continue
            managed.deleting = True
            if managed.machine is None:
                del group.managed[name]
            else:
                self._spawn(self._take_down(managed.machine, group))

    def abandon(self, group: Group, names: Iterable[str]) -> None:
        """Have the group let VMs go: they stay, on their own, and it is smaller. One on its way is given up."""
        for name in names:
            machine = group.managed.pop(name).machine
            if machine is not None:
                machine.group = None

    def resize(self, group: Group, size: int) -> None:
        """Have the group make VMs with names of its own, or delete some."""
        present = [each.name for each in group.managed.values() if not each.deleting]
        if size < len(present):
            self.remove_from(group, present[size:])
        else:
            base = str(group.resource.get("baseInstanceName") or group.name)[:58]
            self.create_in(group, [f"{base}-{self._number() % 16**4:04x}" for _ in range(size - len(present))])

    # Machines

    def machine(self, zone: str, name: str) -> Machine:
        """Raises ComputeError 404."""
        machine = self.machines.get((zone, name))
        if machine is None:
            raise not_found(f"zones/{zone}/instances/{name}")
        return machine

    def require_no_machine(self, zone: str, name: str) -> None:
        """Raises ComputeError 409 where there is one."""
        if (zone, name) in self.machines:
            raise exists(f"zones/{zone}/instances/{name}")

    def insert_machine(self, zone: str, name: str, properties: Mapping[str, Any], operation: Operation) -> None:
        """A VM of its own. Raises ComputeError 409."""
        self.require_no_machine(zone, name)
        machine = Machine(self.context, zone, name, self._number(), properties)
        refused = self._refusal(zone, machine)
        if refused is not None:
            self.operations.end(operation, refused, 503)
            return
        self.machines[zone, name] = machine
        self._spawn(self._boot(machine, operation))

    def delete_machine(self, machine: Machine, operation: Operation | None = None) -> None:
        """End a VM; its group, if it has one, wants it no more."""
        group = None if machine.group is None else self.groups.get(machine.group)
        managed = self._managed(machine)
        if managed is not None:
            managed.deleting = True
        self._spawn(self._take_down(machine, group, operation))

    def stop_machine(self, machine: Machine, operation: Operation | None = None) -> None:
        """End what runs on a VM; the VM stays, TERMINATED."""
        self._spawn(self._halt(machine, operation))

    def start_machine(self, machine: Machine, operation: Operation) -> None:
        """Boot a VM that was stopped. Raises ComputeError 400 for one that was not."""
        if machine.status is not Status.TERMINATED:
            raise ComputeError(400, f"Instance '{machine.name}' is {machine.status}.", "resourceNotReady")
        again = machine.renewed(self.context)
        self.machines[machine.zone, machine.name] = again
        managed = self._managed(machine)
        if managed is not None:
            managed.machine = again
        self._spawn(self._boot(again, operation))

    def preempt(self, machine: Machine, notice_s: float) -> None:
        """The cloud takes the VM back, after so long."""
        notice(machine)()
        self.context.activity.emit("compute", machine.key, "preempted", "notice of %s s", notice_s, level="warning")
        action = self.delete_machine if self._deletes(machine) else self.stop_machine
        machine.timers.append(self.context.clock.call_later(notice_s, lambda: action(machine)))

    def kill(self, machine: Machine) -> None:
        """The host is lost: the VM is gone without a word."""
        self.context.activity.emit("compute", machine.key, "lost", level="error")
        self._spawn(self._lose(machine))

    # How it is done

    def _managed(self, machine: Machine) -> Managed | None:
        """The VM as its group sees it, if it has one that wants it."""
        group = None if machine.group is None else self.groups.get(machine.group)
        return None if group is None else group.managed.get(machine.name)

    async def _bring_up(self, group: Group, managed: Managed) -> None:
        """Find a zone with room, trying again as long as the group wants the VM, and boot it there."""
        while not managed.deleting and group.managed.get(managed.name) is managed:
            properties = self.template(group.template).get("properties") or {}
            for zone in group.zones_by_load():
                if (zone, managed.name) in self.machines:
                    continue
                machine = Machine(self.context, zone, managed.name, managed.number, properties)
                refused = self._refusal(zone, machine)
                if refused is None:
                    machine.group = group.region, group.name
                    managed.machine, managed.error = machine, None
                    self.machines[zone, managed.name] = machine
                    await self._boot(machine, None)
                    return
                group.note(self._now(), managed, zone, *refused)
                self.context.activity.emit("compute", machine.key, "refused", "%s", refused[0], level="warning")
            await self.context.clock.sleep(RETRY_S)

    def _refusal(self, zone: str, machine: Machine) -> tuple[str, str] | None:
        fault = self.context.faults.take(PROVISION_CALL, f"{zone}/{machine.accelerator}/{machine.name}", PROVISION)
        if fault is None:
            return None
        code = fault.reason or "ZONE_RESOURCE_POOL_EXHAUSTED"
        return code, f"The zone '{zone}' cannot give a VM with {machine.accelerator} now: {code}."

    async def _boot(self, machine: Machine, operation: Operation | None) -> None:
        clock = self.context.clock
        self.context.activity.emit("compute", machine.key, "provisioning", "%s", machine.accelerator)
        await clock.sleep(self.boot_s)
        if machine.status is not Status.PROVISIONING:
            return
        machine.status = Status.STAGING
        if self._watchdog is None or self._log is None:
            self._watchdog = Watchdog()
            self._log = LogWriter(self.context.store.directory / "logs", LOG)
        try:
            await machine.boot(os.environ, self.env, self._log, self._watchdog, self._folder / str(machine.number))
        except OSError as error:
            log.error("VM %s does not boot: %s", machine.key, error)
            machine.status = Status.RUNNING  # as a real one whose startup script cannot be run
        self.context.activity.emit("compute", machine.key, "booted")
        if operation is not None:
            self.operations.end(operation)
        if machine.max_run_s is not None:
            action = self.delete_machine if self._deletes(machine) else self.stop_machine
            machine.timers.append(clock.call_later(machine.max_run_s, lambda: action(machine)))
        self._look(machine)

    def _look(self, machine: Machine) -> None:
        """Ask the faults, now and every second, whether this VM is to end."""
        if machine.status is not Status.RUNNING or machine.preempted:
            return
        fault = self.context.faults.take(RUN_CALL, machine.key, MACHINE)
        if fault is not None and fault.action == "kill":
            self.kill(machine)
            return
        if fault is not None and fault.action == "preempt":
            self.preempt(machine, fault.delay_s)
            return
        machine.timers = [each for each in machine.timers if each.is_pending]
        machine.timers.append(self.context.clock.call_later(LOOK_S, lambda: self._look(machine)))

    async def _take_down(self, machine: Machine, group: Group | None, operation: Operation | None = None) -> None:
        if machine.status in (Status.STOPPING,):
            await machine.ended.wait()
        else:
            machine.status = Status.STOPPING
            await machine.end(0.5 if machine.preempted else SHUTDOWN_S)
        self._forget(machine, group)
        if operation is not None:
            self.operations.end(operation)

    async def _halt(self, machine: Machine, operation: Operation | None) -> None:
        if machine.status is not Status.STOPPING:
            machine.status = Status.STOPPING
            await machine.end(0.5 if machine.preempted else SHUTDOWN_S)
        if operation is not None:
            self.operations.end(operation)

    async def _lose(self, machine: Machine) -> None:
        machine.status = Status.STOPPING
        await machine.end(0.0)
        self._forget(machine, None if machine.group is None else self.groups.get(machine.group))

    def _forget(self, machine: Machine, group: Group | None) -> None:
        machine.wipe()
        self.machines.pop((machine.zone, machine.name), None)
        managed = None if group is None else group.managed.get(machine.name)
        if group is not None and managed is not None and managed.machine is machine:
            del group.managed[machine.name]
        self.context.activity.emit("compute", machine.key, "gone")

    def _deletes(self, machine: Machine) -> bool:
        scheduling = machine.properties.get("scheduling") or {}
        return scheduling.get("instanceTerminationAction") == "DELETE"

    def _keep_template(self, resource: dict[str, Any]) -> dict[str, Any]:
        self.context.store.put(TEMPLATES, resource["name"], msgspec.json.encode(resource))
        self.templates[resource["name"]] = resource
        return resource

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _number(self) -> int:
        """Ids of resources: unique, and unlike those of an earlier process."""
        self._count += 1
        return int(self._now() * 1000) * 10_000 + self._count

    def _now(self) -> float:
        return self.context.clock.time()


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        try:
            await work
        except Exception:
            log.exception("a VM could not be brought up or down")
