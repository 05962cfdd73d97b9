"""What do messages of the Run API v2 deploy? A container's command and arguments, as a process of this machine.

https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from localcloud.context import Context
from localcloud.run import traffic
from localcloud.run.errors import InvalidArgument
from localcloud.run.jobs import JobSpec, Overrides
from localcloud.run.state import Probe, ServiceSpec
from localcloud.run.traffic import Target

_REVISION = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_DEFAULT_MAX_INSTANCES = 100  # https://cloud.google.com/run/docs/configuring/max-instances


def service_spec(context: Context, message: Any, name: str, before: ServiceSpec | None) -> tuple[ServiceSpec, int, str]:
    """What a Service deploys: its spec, how many words of the command are no arguments, and the image it names.

    `before` is what is deployed now: it has what the message can't say.

    Raises:
        InvalidArgument: it asks for something that can't run here.
    """
    template = message.template
    container = _only_container(template.containers)
    command = _command(container, "template.containers[0]")
    scaling = template.scaling
    known: dict[str, Any] = {} if before is None else {each.name: getattr(before, each.name) for each in fields(before)}
    wanted = {
        **known,
        "name": name,
        "command": command,
        "env": _variables(container, before.env if before is not None else {}),
        "cwd": _working_directory(container, before),
        "concurrency": template.max_instance_request_concurrency or 80,
        "min_instances": max(scaling.min_instance_count, message.scaling.min_instance_count),
        "max_instances": scaling.max_instance_count or message.scaling.max_instance_count or _DEFAULT_MAX_INSTANCES,
        "timeout_s": template.timeout.ToNanoseconds() / 1e9 or 300.0,
        "public": message.invoker_iam_disabled,
        "service_account": _account(context, template.service_account),
        **_startup(container),
    }
    try:
        wanted["liveness"] = _liveness(container)
        return ServiceSpec(**wanted), len(container.command), container.image
    except ValueError as error:
        raise InvalidArgument(str(error)) from error


def revision_name(message: Any, service: str) -> str:
    """What the revision that a Service deploys is to be called; empty: whatever fits. Raises InvalidArgument."""
    name: str = message.template.revision
    if name and not (name.startswith(f"{service}-") and _REVISION.fullmatch(name)):
        raise InvalidArgument(
            f"template.revision is {name!r:.80}; expected {service}- and then up to 63 of a-z 0-9 - in all"
        )
    return name


def targets(message: Any, revisions: Iterable[str]) -> list[Target]:
    """Where a Service that has these revisions sends its requests. Raises InvalidArgument."""
    wanted = [Target(each.revision.rpartition("/")[2], each.percent, each.tag) for each in message.traffic]
    return traffic.checked(wanted, {*revisions})


def job_spec(context: Context, message: Any, name: str, before: JobSpec | None) -> tuple[JobSpec, int, str]:
    """What a Job deploys, as `service_spec`. Raises InvalidArgument."""
    template = message.template.template
    container = _only_container(template.containers)
    command = _command(container, "template.template.containers[0]")
    try:
        spec = JobSpec(
            name,
            command,
            env=_variables(container, before.env if before is not None else {}),
            cwd=_working_directory(container, before),
            task_count=message.template.task_count or 1,
            parallelism=message.template.parallelism,
            max_retries=template.max_retries if template.WhichOneof("retries") else 3,
            timeout_s=template.timeout.ToNanoseconds() / 1e9 or 600.0,
            service_account=_account(context, template.service_account),
        )
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    return spec, len(container.command), container.image


def overrides(message: Any) -> Overrides:
    """What a RunJobRequest changes. Raises InvalidArgument."""
    containers = message.container_overrides
    if len(containers) > 1:
        raise InvalidArgument("overrides.container_overrides has more than one entry; a job here has one container")
    override = containers[0] if containers else None
    return Overrides(
        args=tuple(override.args) if override is not None and (override.args or override.clear_args) else None,
        env=_variables(override, {}) if override is not None else {},
        task_count=message.task_count or None,
        timeout_s=message.timeout.ToNanoseconds() / 1e9 if message.HasField("timeout") else None,
    )


def _account(context: Context, email: str) -> str:
    """As specs have it, so that what is shown can be sent back and changes nothing."""
    return "" if email == context.account_of("") else email.removesuffix(context.service_account("x")[1:])


def _only_container(containers: Iterable[Any]) -> Any:
    only, *others = [*containers] or [None]
    if only is None or others:
        count = len(others) + (only is not None)
        raise InvalidArgument(f"containers has {count} entries; expected one, as there are no sidecars here")
    return only


def _command(container: Any, where: str) -> tuple[str, ...]:
    if not container.command:
        raise InvalidArgument(
            f"{where}.command is empty: the local cloud runs a process of this machine, not image"
            f" {container.image!r:.80}; give the command (and args) that the image would run"
        )
    return (*container.command, *container.args)


def _variables(container: Any, before: Mapping[str, str]) -> dict[str, str]:
    """An empty value keeps what was: values may not have been shown to the caller."""
    for variable in container.env:
        if variable.HasField("value_source"):
            raise InvalidArgument(f"env {variable.name!r:.80} takes its value from a secret; there are none here")
    return {each.name: each.value or before.get(each.name, "") for each in container.env}


def _working_directory(container: Any, before: ServiceSpec | JobSpec | None) -> Path:
    path = Path(container.working_dir) if container.working_dir else before.cwd if before is not None else Path.cwd()
    if not path.is_dir():
        raise InvalidArgument(f"working_dir is {str(path)!r:.200}; expected a directory of this machine")
    return path


def _liveness(container: Any) -> Probe | None:
    """https://cloud.google.com/run/docs/reference/rest/v2/Container#Probe has the defaults."""
    if not container.HasField("liveness_probe"):
        return None
    probe = container.liveness_probe
    return Probe(
        path=_probed_path(probe, "liveness_probe"),
        initial_delay_s=probe.initial_delay_seconds,
        period_s=probe.period_seconds or 10,
        timeout_s=probe.timeout_seconds or 1,
        failure_threshold=probe.failure_threshold or 3,
    )


def _probed_path(probe: Any, where: str) -> str | None:
    if probe.WhichOneof("probe_type") == "grpc":
        raise InvalidArgument(f"{where}.grpc is not supported here; expected http_get or tcp_socket")
    return (probe.http_get.path or "/") if probe.WhichOneof("probe_type") == "http_get" else None


def _startup(container: Any) -> dict[str, Any]:
    if not container.HasField("startup_probe"):
        return {}
    probe = container.startup_probe
    period, failures = probe.period_seconds or 10, probe.failure_threshold or 3
    path = _probed_path(probe, "startup_probe")
    return {"health_path": path, "startup_timeout_s": float(probe.initial_delay_seconds + period * failures)}
