"""What does a job that runs on a machine of its own ask for, and what is kept about its VMs?

A cluster is one kind of machine: `<count>x<gpu>` (`1xl4`, `8xa100-40gb`), in every region where the bundle has it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, field

from zeroidle.contracts.codec import Contract

# Python's `$` also matches before a final newline.
_END = r"$(?!\n)"

ClusterName = Annotated[str, Meta(pattern=r"^[1-9][0-9]?x[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?" + _END)]
RegionName = Annotated[str, Meta(pattern=r"^[a-z]{2,20}-[a-z]{2,20}[0-9]{1,2}" + _END)]
ZoneName = Annotated[str, Meta(pattern=r"^[a-z]{2,20}-[a-z]{2,20}[0-9]{1,2}-[a-z]" + _END)]
# https://cloud.google.com/compute/docs/naming-resources
VmName = Annotated[str, Meta(pattern=r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?" + _END)]
Usd = Annotated[float, Meta(ge=0)]
Moment = Annotated[float, Meta(ge=0)]  # seconds since the epoch


class Provisioning(StrEnum):
    """How a VM is bought. https://cloud.google.com/compute/docs/instances/provisioning-models"""

    STANDARD = "standard"
    SPOT = "spot"  # cheap, taken back at any time
    FLEX_START = "flex-start"  # queued until there is capacity, then kept up to seven days

    @property
    def may_wait(self) -> bool:
        """No VM yet is no sign of missing capacity: the request stands in a queue."""
        return self is Provisioning.FLEX_START


class VmRef(Contract, frozen=True, kw_only=True):
    """One VM: its name and the group it is in, of which there is one a cluster, region and way of buying."""

    name: VmName
    cluster: ClusterName
    region: RegionName
    provisioning: Provisioning = Provisioning.STANDARD


class Vm(Contract, frozen=True, kw_only=True):
    """A VM that was asked for, or is about to be. It stays in its job's record until the cloud says that it is gone."""

    ref: VmRef
    attempt: Annotated[int, Meta(ge=1)]
    usd_per_hour: Usd  # list price when it was asked for
    asked_at: Moment
    given_up: bool = False  # it is to be deleted, whatever it does


class Worker(Contract, frozen=True, kw_only=True):
    """Who works on an attempt. `boot_id` tells two lives of one VM name apart."""

    vm: VmRef
    zone: ZoneName
    usd_per_hour: Usd = 0.0
    boot_id: Annotated[str, Meta(min_length=1, max_length=64)]


class Tried(Contract, frozen=True, kw_only=True):
    """One line of a job's capacity story: what was asked for, and what came of it."""

    cluster: ClusterName
    region: RegionName
    provisioning: Provisioning
    code: Annotated[str, Meta(max_length=100)]  # the cloud's error code, or ours: CLAIMED, NO_SIGN_OF_LIFE
    message: Annotated[str, Meta(max_length=300)] = ""
    at: Moment
    next_at: Moment | None = None  # when it may be tried there again


class Report(Contract, frozen=True, kw_only=True):
    """What a worker says in its VM's entry of the ledger: it works on a job, or waits for one until `idle_until`."""

    worker: Worker
    job_id: str | None = None
    attempt: int = 0
    idle_until: Moment | None = None


class VmEntry(Contract, frozen=True, kw_only=True):
    """`vms/<region>/<name>` in the ledger: written before the VM is asked for, removed once it is gone.

    All entries together are what is live or about to be, so the caps are held by counting them.
    """

    ref: VmRef
    job_id: str  # the job it was asked for
    attempt: int
    usd_per_hour: Usd
    report: Report | None = None


class Wanted(Contract, frozen=True, kw_only=True):
    """Which machine a job wants: any of these clusters, the first ones preferred, in any of these regions."""

    accelerators: Annotated[list[ClusterName], Meta(min_length=1, max_length=16)]
    regions: Annotated[list[RegionName], Meta(max_length=64)] = field(default_factory=list)  # empty: anywhere
    provisioning: Provisioning = Provisioning.STANDARD
    hedge: Annotated[int, Meta(ge=1, le=2)] = 1  # ask so many regions at once, keep the first VM that comes up
