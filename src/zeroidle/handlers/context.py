"""What does a handler work with, and what can become of an event?"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from zeroidle.core.pipeline import Deployment
from zeroidle.ports import Clock, Executions, Fleet, JobStore, Objects, Publisher, VmStore


class Context(Struct, frozen=True):
    """The ports, and what is deployed."""

    jobs: JobStore
    executions: Executions
    vms: VmStore
    fleet: Fleet
    publisher: Publisher
    objects: Objects
    clock: Clock
    deployment: Deployment


class Outcome(StrEnum):
    """What became of an event. One that breaks its contract or is not allowed raises PermanentError instead."""

    ACCEPTED = "ACCEPTED"  # a new job
    APPLIED = "APPLIED"  # it changed a record, or was kept
    DUPLICATE = "DUPLICATE"  # nothing new in it
    IGNORED = "IGNORED"  # nobody's job
