"""Which VMs run, which groups want more of them, and what keeps these from coming up?"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from localcloud.compute.groups import Group, Managed
from localcloud.compute.machine import Machine
from localcloud.compute.state import LOG, Compute
from localcloud.compute.views import action_of
from localcloud.console.instances import LogLine, log_line
from localcloud.run.logs import tail

SHOWN_ERRORS = 20


class MachineView(msgspec.Struct):
    """A VM, or one that a group is still looking a place for: then `zone` is empty. Times are virtual."""

    name: str
    zone: str
    status: str
    action: str  # what its group does with it; NONE: nothing
    group: str
    region: str
    machine_type: str
    accelerator: str
    is_spot: bool
    is_preempted: bool
    created: float | None
    max_run_s: float | None
    pid: int | None
    labels: dict[str, str]
    error: str  # of the last attempt to make it


class GroupErrorView(msgspec.Struct):
    """What kept a VM from coming up. `time` is virtual, in seconds since the epoch."""

    time: float
    machine: str
    zone: str
    code: str


class GroupView(msgspec.Struct):
    """A regional instance group."""

    name: str
    region: str
    template: str
    zones: list[str]
    target_size: int
    running: int
    resize_requests: int
    errors: list[GroupErrorView]  # the latest ones, newest first


class MachinesView(msgspec.Struct):
    """All VMs, and the groups that have some, want some or failed to get some.

    `others` are those at zero, which may be many: the regions by the name of the group.
    """

    machines: list[MachineView]
    groups: list[GroupView]
    others: dict[str, list[str]]


def machines(compute: Compute) -> MachinesView:
    """What there is of Compute Engine."""
    wanted = [(group, each) for group in compute.groups.values() for each in group.managed.values()]
    views = [_managed(group, each) for group, each in wanted]
    views += [_machine(each) for each in compute.machines.values() if not _is_managed(compute, each)]
    groups, others = [], defaultdict(list)
    for group in sorted(compute.groups.values(), key=lambda each: (each.name, each.region)):
        if group.managed or group.errors or group.resize_requests:
            groups.append(_group(group))
        else:
            others[group.name].append(group.region)
    return MachinesView(sorted(views, key=lambda each: (-(each.created or 0), each.name)), groups, others)


def log(compute: Compute, name: str, limit: int) -> list[LogLine]:
    """The last lines that a VM of this name printed, oldest first; it may be gone."""
    return [log_line(entry) for entry in tail(compute.context.store.directory / "logs", LOG, name, limit)]


def _is_managed(compute: Compute, machine: Machine) -> bool:
    group = None if machine.group is None else compute.groups.get(machine.group)
    managed = None if group is None else group.managed.get(machine.name)
    return managed is not None and managed.machine is machine


def _group(group: Group) -> GroupView:
    return GroupView(
        name=group.name,
        region=group.region,
        template=group.template,
        zones=group.zones,
        target_size=group.target_size,
        running=sum(action_of(each) == "NONE" for each in group.managed.values()),
        resize_requests=len(group.resize_requests),
        errors=[
            GroupErrorView(when, name, zone, code)
            for when, name, zone, code, _ in reversed(group.errors[-SHOWN_ERRORS:])
        ],
    )


def _managed(group: Group, each: Managed) -> MachineView:
    found = {"group": group.name, "region": group.region, "action": action_of(each)}
    found["error"] = "" if each.error is None else each.error[2]
    if each.machine is not None:
        return _machine(each.machine, **found)
    return MachineView(
        name=each.name,
        zone="",
        status="waiting",
        machine_type="",
        accelerator="",
        is_spot=False,
        is_preempted=False,
        created=None,
        max_run_s=None,
        pid=None,
        labels={},
        **found,
    )


def _machine(machine: Machine, group: str = "", region: str = "", action: str = "NONE", error: str = "") -> MachineView:
    properties: Any = machine.properties
    return MachineView(
        name=machine.name,
        zone=machine.zone,
        status=machine.status.value.lower(),
        action=action,
        group=group,
        region=region,
        machine_type=str(properties.get("machineType", "")).rpartition("/")[2],
        accelerator=machine.accelerator,
        is_spot=machine.is_spot,
        is_preempted=machine.preempted,
        created=machine.created,
        max_run_s=machine.max_run_s,
        pid=machine.pid,
        labels={str(key): str(value) for key, value in (properties.get("labels") or {}).items()},
        error=error,
    )
