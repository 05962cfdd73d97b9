"""What does a handler work with, and what can become of an event?"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from zeroidle.core.pipeline import Deployment
from zeroidle.ports import Clock, Executions, Fleet, JobStore, Objects, Publisher, VmStore


class Context(Struct, frozen=True):
    """The ports, what is deployed, and what one call has to follow: each call has a context of its own."""

    jobs: JobStore
    executions: Executions
    vms: VmStore
    fleet: Fleet
    publisher: Publisher
    objects: Objects
    clock: Clock
    deployment: Deployment
    waiting: set[str] = field(default_factory=set)  # jobs with a VM on its way that may still be refused: `follow`


class Outcome(StrEnum):
    """What became of an event. One that breaks its contract or is not allowed raises PermanentError instead."""

    ACCEPTED = "ACCEPTED"  # a new job
    APPLIED = "APPLIED"  # it changed a record, or was kept
    DUPLICATE = "DUPLICATE"  # nothing new in it
    IGNORED = "IGNORED"  # nobody's job
