"""What does a trigger look like as a JSON resource, and which one does a resource describe?

https://cloud.google.com/eventarc/docs/reference/rest/v1/projects.locations.triggers#resource:-trigger
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from localcloud.eventarc import events
from localcloud.eventarc.errors import InvalidTrigger
from localcloud.eventarc.state import Eventarc, Record, Trigger
from localcloud.pubsub.errors import shown
from localcloud.pubsub.resources import full_name

# Of a resource, what a call may set; the rest is the service's own, or nothing that is emulated.
_SETTABLE = {"eventFilters", "serviceAccount", "destination", "transport", "labels", "eventDataContentType"}
_OUTPUT_ONLY = {"name", "uid", "createTime", "updateTime", "etag", "conditions", "satisfiesPzs"}
_DATA_TYPE = "application/json"


def to_json(eventarc: Eventarc, record: Record) -> dict[str, Any]:
    """The resource of a trigger."""
    trigger, context = record.trigger, eventarc.context
    filters = {"type": trigger.event_type}
    if trigger.is_storage:
        filters["bucket"] = trigger.filters["bucket"]
    resource = {
        "name": eventarc.full_name(trigger),
        "uid": record.uid,
        "createTime": record.created,
        "updateTime": record.updated,
        "eventFilters": [{"attribute": name, "value": value} for name, value in filters.items()],
        "serviceAccount": eventarc.email(trigger),
        "destination": _destination(eventarc, trigger),
        "transport": {
            "pubsub": {
                "topic": full_name(context.project, "topics", eventarc.topic(trigger)),
                "subscription": full_name(context.project, "subscriptions", eventarc.subscription(trigger)),
            }
        },
        "labels": dict(trigger.labels),
        "eventDataContentType": _DATA_TYPE,
    }
    digest = hashlib.sha256(json.dumps(resource, sort_keys=True).encode()).hexdigest()
    return {**resource, "etag": f'"{digest[:32]}"'}


def _destination(eventarc: Eventarc, trigger: Trigger) -> dict[str, Any]:
    if trigger.workflow:
        return {"workflow": f"{_location(eventarc)}/workflows/{trigger.workflow}"}
    region = eventarc.context.location
    return {"cloudRun": {"service": trigger.service, "path": trigger.path, "region": region}}


def from_json(eventarc: Eventarc, name: str, resource: Mapping[str, Any]) -> Trigger:
    """The trigger of that short name that a resource describes. Raises InvalidTrigger."""
    unknown = set(resource) - _SETTABLE - _OUTPUT_ONLY
    if unknown:
        raise InvalidTrigger(f"trigger has {shown(sorted(unknown))}, which is not emulated")
    if resource.get("eventDataContentType", _DATA_TYPE) != _DATA_TYPE:
        raise InvalidTrigger(
            f"event_data_content_type is {shown(resource['eventDataContentType'])}; expected {_DATA_TYPE}"
        )
    filters = _filters(_typed(resource, "eventFilters", list, []))
    event_type = filters.pop("type", "")
    topic = _typed(_typed(_typed(resource, "transport", dict, {}), "pubsub", dict, {}), "topic", str, "")
    if event_type == events.MESSAGE_PUBLISHED and topic:
        filters["topic"] = topic.removeprefix(f"projects/{eventarc.context.project}/topics/")
    service, path, workflow = _receiver(eventarc, _typed(resource, "destination", dict, {}))
    return Trigger(
        name=name,
        event_type=event_type,
        filters=filters,
        service=service,
        path=path,
        workflow=workflow,
        service_account=_typed(resource, "serviceAccount", str, "") or Trigger.service_account,
        labels=_typed(resource, "labels", dict, {}),
    )


def _filters(listed: list[Any]) -> dict[str, str]:
    filters: dict[str, str] = {}
    for each in listed:
        attribute, value = _typed(each, "attribute", str, ""), _typed(each, "value", str, "")
        if _typed(each, "operator", str, ""):
            raise InvalidTrigger(
                f"event_filters.operator is {shown(each['operator'])}; events of Cloud Storage and Pub/Sub are"
                " matched by exact values"
            )
        if attribute in filters:
            raise InvalidTrigger(f"event_filters has {shown(attribute)} twice")
        filters[attribute] = value
    return filters


def _receiver(eventarc: Eventarc, destination: Mapping[str, Any]) -> tuple[str, str, str]:
    """Service, path, workflow."""
    match destination:
        case {"cloudRun": dict(run), **others} if not others:
            region = _typed(run, "region", str, "")
            if region != eventarc.context.location:
                raise InvalidTrigger(
                    f"destination.cloud_run.region is {shown(region)}; expected {eventarc.context.location}"
                )
            return _typed(run, "service", str, ""), _typed(run, "path", str, "") or "/", ""
        case {"workflow": str(workflow), **others} if not others:
            parent = f"{_location(eventarc)}/workflows/"
            if not workflow.startswith(parent):
                raise InvalidTrigger(f"destination.workflow is {shown(workflow)}; expected {parent}<name>")
            return "", "/", workflow.removeprefix(parent)
    raise InvalidTrigger(f"destination has {shown(sorted(destination))}; expected either cloud_run or workflow")


def _typed(owner: Any, field: str, kind: type, default: Any) -> Any:
    """A field's value. Raises InvalidTrigger when it, or its owner, is something else."""
    value = owner.get(field, default) if isinstance(owner, dict) else owner
    if not isinstance(value, kind):
        raise InvalidTrigger(f"{field} is {shown(value)}; expected a {kind.__name__}")
    return value


def _location(eventarc: Eventarc) -> str:
    return f"projects/{eventarc.context.project}/locations/{eventarc.context.location}"
