"""Which services run, on which instances, and what did they print?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec

from localcloud.run.instances import Instance
from localcloud.run.logs import tail
from localcloud.run.service import Run, Service

KEPT_COLD_STARTS = 20
SHOWN_REVISIONS = 10
_SHOWN_APART = ("message", "severity", "time", "logger", "cold_start")


class InstanceView(msgspec.Struct):
    """An instance. `idle_since` is virtual time, those of the cold start are real, in seconds since the epoch."""

    name: str
    revision: str
    phase: str
    is_retired: bool
    pid: int | None
    port: int
    active: int
    served: int
    idle_since: float
    cold_start: dict[str, Any]


class RevisionView(msgspec.Struct):
    """A revision; `percent` is its share of the requests, `tags` are those that lead to it. `created` is virtual."""

    name: str
    created: float
    percent: int
    tags: list[str]


class ServiceView(msgspec.Struct):
    """A service, its limits, its instances, the requests that wait, and its latest cold starts, newest first."""

    name: str
    url: str
    revision: str  # the latest
    revisions: list[RevisionView]  # those that take requests and the latest of the others, newest first
    command: list[str]
    is_public: bool
    concurrency: int
    min_instances: int
    max_instances: int
    timeout_s: float
    idle_s: float
    waiting: int
    instances: list[InstanceView]
    cold_starts: list[dict[str, Any]]


class LogLine(msgspec.Struct):
    """One line of a service's log: what it printed, or the message of the JSON it printed and what `more` it says."""

    time: str
    instance: str
    stream: str
    severity: str
    text: str
    more: str


def services(run: Run) -> list[ServiceView]:
    """All services, in the order they were deployed."""
    return [_service(run, service) for service in run.services()]


def log(run: Run, service: str, instance: str, limit: int) -> list[LogLine]:
    """The last lines of a service, or of one instance of it, oldest first. Raises NoSuchService."""
    run.service(service)  # a name that is no service is not a file either
    return [log_line(entry) for entry in tail(run.logs_directory, service, instance, limit)]


def _service(run: Run, service: Service) -> ServiceView:
    spec = service.spec
    return ServiceView(
        name=spec.name,
        url=service.url,
        revision=service.revision,
        revisions=_revisions(service),
        command=list(spec.command),
        is_public=spec.public,
        concurrency=spec.concurrency,
        min_instances=spec.min_instances,
        max_instances=spec.max_instances,
        timeout_s=spec.timeout_s,
        idle_s=spec.idle_s,
        waiting=service.waiting,
        instances=[_instance(each) for each in service.instances],
        cold_starts=[asdict(each) for each in reversed(run.events) if each.service == spec.name][:KEPT_COLD_STARTS],
    )


def _revisions(service: Service) -> list[RevisionView]:
    shares, targets, newest = service.shares, service.record.traffic, reversed(service.record.revisions)
    views = [
        RevisionView(
            name=each.name,
            created=each.created,
            percent=shares.get(each.name, 0),
            tags=[it.tag for it in targets if it.tag and (it.revision or service.revision) == each.name],
        )
        for each in newest
    ]
    return [each for at, each in enumerate(views) if at < SHOWN_REVISIONS or each.name in shares]


def _instance(instance: Instance) -> InstanceView:
    return InstanceView(
        name=instance.name,
        revision=instance.revision,
        phase=instance.phase.value,
        is_retired=instance.retired,
        pid=instance.pid,
        port=instance.port,
        active=instance.active,
        served=instance.served,
        idle_since=instance.idle_since,
        cold_start=asdict(instance.cold_start),
    )


def log_line(entry: dict[str, Any]) -> LogLine:
    """An entry of a log file as it is shown."""
    said = entry.get("entry")
    said = said if isinstance(said, dict) else {"message": entry.get("line", "")}
    message = said.get("message", "")
    more = {name: value for name, value in said.items() if name not in _SHOWN_APART}
    return LogLine(
        time=str(entry["time"]),
        instance=str(entry.get("instance")),
        stream=str(entry.get("stream")),
        severity=str(said.get("severity", "")),
        text=message if isinstance(message, str) else msgspec.json.encode(message).decode(),
        more=msgspec.json.encode(more).decode() if more else "",
    )
