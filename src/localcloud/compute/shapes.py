"""What do we read of the bodies of calls? Their types, so that what does not fit is refused as it comes in.

What else is in them is kept and shown as it came.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from localcloud.compute.errors import ComputeError

# https://cloud.google.com/compute/docs/naming-resources
Name = Annotated[str, Meta(pattern=r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$(?!\n)")]
BaseName = Annotated[str, Meta(pattern=r"^([a-z]([-a-z0-9]{0,56}[a-z0-9])?)?$(?!\n)")]
Size = Annotated[int, Meta(ge=0, le=1000)]
T = TypeVar("T")


class Item(Struct):
    """A key of a VM's metadata."""

    key: str
    value: str = ""


class MetadataOfVm(Struct):
    """What the metadata server of a VM tells of its own."""

    items: list[Item] = field(default_factory=list)


class Duration(Struct):
    """A time span; JSON has its 64-bit number as a string."""

    seconds: Annotated[int, Meta(ge=0)] = 0


class Scheduling(Struct):
    """How long a VM lives."""

    provisioningModel: str = ""  # noqa: N815  # as in JSON
    preemptible: bool = False
    instanceTerminationAction: str = ""  # noqa: N815
    maxRunDuration: Duration | None = None  # noqa: N815


class Accelerator(Struct):
    """GPUs of a VM."""

    acceleratorType: str = ""  # noqa: N815


class Account(Struct):
    """A service account of a VM."""

    email: str = ""


class Properties(Struct):
    """What a VM is made of."""

    machineType: str = ""  # noqa: N815
    labels: dict[str, str] = field(default_factory=dict)
    metadata: MetadataOfVm | None = None
    scheduling: Scheduling | None = None
    guestAccelerators: list[Accelerator] = field(default_factory=list)  # noqa: N815
    serviceAccounts: list[Account] = field(default_factory=list)  # noqa: N815


class Template(Struct):
    """An instance template."""

    name: Name
    properties: Properties | None = None


class Instance(Properties, kw_only=True):
    """A VM of its own."""

    name: Name


class Zone(Struct):
    """A zone, by URL."""

    zone: str


class Policy(Struct):
    """Where the VMs of a group may be."""

    zones: list[Zone] = field(default_factory=list)


class Group(Struct):
    """A regional instance group manager."""

    name: Name
    instanceTemplate: str  # noqa: N815
    targetSize: Size = 0  # noqa: N815
    baseInstanceName: BaseName = ""  # noqa: N815
    distributionPolicy: Policy | None = None  # noqa: N815


class Named(Struct):
    """A VM to be made in a group."""

    name: Name


class ToCreate(Struct):
    """The VMs to be made in a group."""

    instances: Annotated[list[Named], Meta(min_length=1)]


class ToRemove(Struct):
    """The VMs that a group is to delete or let go."""

    instances: Annotated[list[str], Meta(min_length=1)]
    skipInstancesOnValidationError: bool = False  # noqa: N815


class ResizeRequest(Struct):
    """A request of VMs that come all together, or so many with names of the group's own."""

    name: Name
    resizeBy: Size = 0  # noqa: N815
    instances: list[Named] = field(default_factory=list)


def read(body: dict[str, Any], shape: type[T]) -> T:
    """What we read of a body. Raises ComputeError 400, which names the field."""
    try:
        return msgspec.convert(body, shape, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        path = where.strip("`").replace("$", "resource", 1) or "resource"
        raise ComputeError(400, f"Invalid value for field '{path}': {what:.200}.") from error
