"""What does the API show of templates, groups and VMs? JSON as in the discovery document of compute v1."""

from __future__ import annotations

from typing import Any

from localcloud.compute.groups import Group, Managed
from localcloud.compute.machine import Machine, Status
from localcloud.compute.state import Compute
from localcloud.storage.times import timestamp


def base_of(compute: Compute) -> str:
    """URL of the project."""
    return f"{compute.context.http_url}/compute/v1/projects/{compute.context.project}"


def template(compute: Compute, resource: dict[str, Any]) -> dict[str, Any]:
    """An instance template."""
    link = f"{base_of(compute)}/global/instanceTemplates/{resource['name']}"
    return {"kind": "compute#instanceTemplate", **resource, "selfLink": link}


def group(compute: Compute, found: Group) -> dict[str, Any]:
    """A regional instance group manager."""
    base = base_of(compute)
    doing = [action_of(each) for each in found.managed.values()]
    actions = dict.fromkeys(_ACTIONS, 0)
    for action in doing:
        actions[_camel(action)] += 1
    return {
        **found.resource,
        "kind": "compute#instanceGroupManager",
        "id": str(found.number),
        "name": found.name,
        "region": f"{base}/regions/{found.region}",
        "instanceTemplate": f"{base}/global/instanceTemplates/{found.template}",
        "instanceGroup": f"{base}/regions/{found.region}/instanceGroups/{found.name}",
        "targetSize": found.target_size,
        "currentActions": actions,
        "status": {"isStable": all(action == "NONE" for action in doing)},
        "creationTimestamp": _time(found.created),
        "selfLink": f"{base}/regions/{found.region}/instanceGroupManagers/{found.name}",
    }


def managed(compute: Compute, found: Group, each: Managed) -> dict[str, Any]:
    """One VM of a group as the group sees it."""
    base = base_of(compute)
    zone = found.zones[0] if each.machine is None else each.machine.zone
    result: dict[str, Any] = {
        "id": str(each.number),
        "name": each.name,
        "instance": f"{base}/zones/{zone}/instances/{each.name}",
        "currentAction": action_of(each),
        "version": {"instanceTemplate": f"{base}/global/instanceTemplates/{found.template}"},
    }
    if each.machine is not None:
        result["instanceStatus"] = each.machine.status.value
    if each.error is not None:
        _, code, message = each.error
        result["lastAttempt"] = {"errors": {"errors": [{"code": code, "message": message}]}}
    return result


def resize_request(compute: Compute, found: Group, name: str) -> dict[str, Any]:
    """A resize request of a group."""
    base = base_of(compute)
    resource = dict(found.resize_requests[name])
    cancelled = resource.pop("cancelled", False)
    link = f"{base}/regions/{found.region}/instanceGroupManagers/{found.name}/resizeRequests/{name}"
    return {
        **resource,
        "kind": "compute#instanceGroupManagerResizeRequest",
        "region": f"{base}/regions/{found.region}",
        "state": "CANCELLED" if cancelled else "ACCEPTED" if found.waiting_for(name) else "SUCCEEDED",
        "selfLink": link,
    }


def action_of(each: Managed) -> str:
    """What the group does with a VM now."""
    if each.deleting:
        return "DELETING"
    if each.machine is None or each.machine.status in (Status.PROVISIONING, Status.STAGING):
        return "CREATING"
    return "NONE"


def errors(compute: Compute, found: Group) -> list[dict[str, Any]]:
    """What went wrong in a group lately, newest first."""
    base = base_of(compute)
    return [
        {
            "timestamp": _time(when),
            "error": {"code": code, "message": message},
            "instanceActionDetails": {
                "action": "CREATING",
                "instance": f"{base}/zones/{zone}/instances/{name}",
                "version": {"instanceTemplate": f"{base}/global/instanceTemplates/{found.template}"},
            },
        }
        for when, name, zone, code, message in reversed(found.errors)
    ]


def machine(compute: Compute, found: Machine) -> dict[str, Any]:
    """A VM."""
    base = base_of(compute)
    properties, zone = found.properties, f"{base}/zones/{found.zone}"
    kind = str(properties.get("machineType", "e2-small")).rpartition("/")[2]
    shown = {
        "kind": "compute#instance",
        "id": str(found.number),
        "name": found.name,
        "zone": zone,
        "machineType": f"{zone}/machineTypes/{kind}",
        "status": found.status.value,
        "creationTimestamp": _time(found.created),
        "selfLink": f"{zone}/instances/{found.name}",
        "labels": properties.get("labels") or {},
        "metadata": properties.get("metadata") or {},
        "scheduling": properties.get("scheduling") or {},
    }
    if properties.get("guestAccelerators"):
        shown["guestAccelerators"] = [
            {**each, "acceleratorType": f"{zone}/acceleratorTypes/{str(each['acceleratorType']).rpartition('/')[2]}"}
            for each in properties["guestAccelerators"]
        ]
    return shown


_ACTIONS = (
    "abandoning",
    "creating",
    "creatingWithoutRetries",
    "deleting",
    "none",
    "recreating",
    "refreshing",
    "restarting",
    "resuming",
    "starting",
    "stopping",
    "suspending",
    "verifying",
)


def _camel(action: str) -> str:
    first, *rest = action.lower().split("_")
    return first + "".join(word.capitalize() for word in rest)


def _time(seconds: float) -> str:
    return timestamp(int(seconds * 1_000_000))
