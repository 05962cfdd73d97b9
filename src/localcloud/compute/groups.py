"""Which VMs does a regional managed instance group want, and why is one of them not there yet?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from localcloud.compute.machine import Machine

ERRORS_KEPT = 100


@dataclass(eq=False)
class Managed:
    """One VM that a group wants. `machine` is there once a zone had room for it."""

    name: str
    number: int
    machine: Machine | None = None
    error: tuple[str, str, str] | None = None  # zone, code and message of the last attempt
    deleting: bool = False
    resize_request: str = ""


@dataclass(eq=False)
class Group:
    """A regional managed instance group; `resource` is what its user gave."""

    name: str
    region: str
    number: int
    resource: dict[str, Any]
    created: float
    managed: dict[str, Managed] = field(default_factory=dict)
    errors: list[tuple[float, str, str, str, str]] = field(default_factory=list)  # when, VM, zone, code, message
    resize_requests: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def template(self) -> str:
        """Short name of the instance template."""
        return str(self.resource.get("instanceTemplate", "")).rpartition("/")[2]

    @property
    def zones(self) -> list[str]:
        """Where its VMs may be."""
        wanted = (self.resource.get("distributionPolicy") or {}).get("zones") or []
        return [str(each["zone"]).rpartition("/")[2] for each in wanted] or [f"{self.region}-{x}" for x in "abc"]

    @property
    def target_size(self) -> int:
        """How many VMs it wants."""
        return sum(not each.deleting for each in self.managed.values())

    def note(self, when: float, managed: Managed, zone: str, code: str, message: str) -> None:
        """Keep an error, for `lastAttempt` and `listErrors`."""
        managed.error = zone, code, message
        self.errors = [*self.errors, (when, managed.name, zone, code, message)][-ERRORS_KEPT:]

    def zones_by_load(self) -> list[str]:
        """Its zones, those with the fewest of its VMs first."""
        used = [each.machine.zone for each in self.managed.values() if each.machine is not None]
        return sorted(self.zones, key=lambda zone: (used.count(zone), zone))

    def waiting_for(self, resize_request: str) -> list[Managed]:
        """Its VMs that belong to a resize request and have no place yet."""
        return [each for each in self.managed.values() if each.resize_request == resize_request and not each.machine]
