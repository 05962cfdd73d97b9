"""How does the bundle run on one machine? As buckets, triggers, functions, services, workflows of the local cloud."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping

from localcloud.cloud import Deployment, LocalCloud
from localcloud.compute.state import ComputeSpec, GroupSpec, TemplateSpec
from localcloud.eventarc.state import Trigger
from localcloud.pubsub.resources import SubscriptionSpec
from localcloud.run.state import ServiceSpec
from localcloud.scheduler.state import Schedule
from localcloud.workflows.state import WorkflowSpec
from zeroidle import bundle
from zeroidle.contracts import names
from zeroidle.contracts.machines import Provisioning
from zeroidle.gcp.fleet import CLUSTER, PROVISIONING
from zeroidle.gcp.publisher import ASSIGNED
from zeroidle.http import READY_PATH
from zeroidle.wiring import catalog
from zeroidle_cli.project import Project

FINALIZED = "google.cloud.storage.object.v1.finalized"
MESSAGE = "google.cloud.pubsub.topic.v1.messagePublished"
SERVICE_ACCOUNT = "zeroidle"
BACKOFF_S = (1.0, 60.0)  # between deliveries of an event; in the cloud 10 s to 600 s
MARGIN_S = 3600  # by which a VM's own end lies behind the longest job
IDLE_S = 300.0  # until an instance without requests ends; in the cloud up to 15 minutes


def environment(project: Project, cloud: LocalCloud) -> dict[str, str]:
    """What a process needs to run against `cloud`: functions, services, Google's clients, this command line."""
    return {**cloud.environment(), **project.environment}


def local(project: Project, cloud: LocalCloud) -> Deployment:
    """What to deploy to `cloud`, sized for this machine."""
    deployed, env = project.bundle, environment(project, cloud)
    functions = [_function(project, name, spec, env) for name, spec in deployed.functions.items()]
    services = [_service(project, name, spec, env) for name, spec in deployed.services.items()]
    return Deployment(
        buckets=tuple(project.bucket(key) for key in deployed.buckets),
        topics=tuple(deployed.topics),
        triggers=tuple(_trigger(project, name, spec) for name, spec in deployed.functions.items()),
        services=(*functions, *services),
        workflows=tuple(_workflow(project, name, spec, cloud) for name, spec in deployed.workflows.items()),
        schedules=tuple(_schedule(name, spec) for name, spec in deployed.schedules.items()),
        subscriptions=tuple(_assignments(*pool) for pool in _pools(deployed)),
        compute=_compute(project, cloud, env),
    )


def _pools(deployed: bundle.Bundle) -> list[tuple[str, Provisioning]]:
    """Each cluster in each way in which it is sold: the VMs of one are interchangeable."""
    clusters = catalog(deployed).clusters
    sold = {
        (name, how) for name, cluster in clusters.items() for prices in cluster.usd_per_hour.values() for how in prices
    }
    return sorted(sold)


def _assignments(cluster: str, how: Provisioning) -> SubscriptionSpec:
    return SubscriptionSpec(
        name=names.assignments_subscription(cluster, how.value),
        topic=ASSIGNED,
        filter=f'attributes.cluster = "{cluster}" AND attributes.provisioning = "{how.value}"',
        ack_deadline_s=60,
    )


def _compute(project: Project, cloud: LocalCloud, env: Mapping[str, str]) -> ComputeSpec:
    """Groups of the bundle's clusters in all their regions; a VM here is a process that runs the agent."""
    deployed = project.bundle
    clusters = catalog(deployed).clusters
    root, python = shlex.quote(str(project.root)), shlex.quote(sys.executable)
    # It starts in a folder that is gone with the VM.
    script = f'#!/bin/sh\nexport ZEROIDLE_WORK="$PWD/work"\ncd {root} && exec {python} -m worker.main\n'
    templates, groups = [], []
    for name, how in _pools(deployed):
        cluster, group = clusters[name], names.group_name(name, how.value)
        labels = {CLUSTER: names.cluster_label(name), PROVISIONING: how.value}
        attributes = {"startup-script": script, CLUSTER: name, PROVISIONING: how.value}
        properties = {
            "machineType": cluster.machine_type,
            "guestAccelerators": [{"acceleratorType": cluster.gpu, "acceleratorCount": cluster.gpus}],
            "labels": labels,
            "metadata": {"items": [{"key": key, "value": value} for key, value in attributes.items()]},
            "scheduling": {
                "provisioningModel": how.value.upper().replace("-", "_"),
                "instanceTerminationAction": "DELETE",
                "maxRunDuration": {"seconds": str(deployed.machines.limits.max_runtime_s + MARGIN_S)},
            },
            "serviceAccounts": [{"email": cloud.context.service_account(SERVICE_ACCOUNT)}],
        }
        templates.append(TemplateSpec(group, properties))
        groups += [GroupSpec(group, region, group) for region, prices in cluster.usd_per_hour.items() if how in prices]
    return ComputeSpec(tuple(templates), tuple(groups), {**env, "ZEROIDLE_CONTAINERS": "process"})


def _function(project: Project, name: str, spec: bundle.Function, env: Mapping[str, str]) -> ServiceSpec:
    source = str(project.root / "functions" / "main.py")
    return ServiceSpec(
        name=names.resource_name(name),
        command=(sys.executable, "-m", "functions_framework", "--source", source, "--target", name),
        env={**env, "THREADS": str(spec.concurrency)},
        cwd=project.root,
        concurrency=spec.concurrency,
        max_instances=1,
        timeout_s=spec.timeout_s,
        idle_s=IDLE_S,
    )


def _service(project: Project, name: str, spec: bundle.Service, env: Mapping[str, str]) -> ServiceSpec:
    models = {"MODEL_BUCKET": project.bucket("models"), "DEFAULT_MODEL": project.bundle.default_model}
    # One process per instance and one instance per service: two that compute at once only share the same cores.
    return ServiceSpec(
        name=names.resource_name(name),
        command=(sys.executable, "-m", f"{spec.source.replace('/', '.')}.app"),
        env={**env, **(models if spec.reads_models else {}), "CPU_LIMIT": str(_cores())},
        cwd=project.root,
        concurrency=spec.concurrency,
        max_instances=1,
        timeout_s=spec.timeout_s,
        idle_s=IDLE_S,
        health_path=READY_PATH,
    )


def _trigger(project: Project, name: str, spec: bundle.Function) -> Trigger:
    if spec.trigger.bucket is not None:
        event_type, filters = FINALIZED, {"bucket": project.bucket(spec.trigger.bucket)}
    else:
        event_type, filters = MESSAGE, {"topic": spec.trigger.topic or ""}
    return Trigger(
        name=name.replace("_", "-"),
        event_type=event_type,
        filters=filters,
        service=names.resource_name(name),
        service_account=SERVICE_ACCOUNT,
        backoff_s=BACKOFF_S,
    )


def _workflow(project: Project, name: str, spec: bundle.Workflow, cloud: LocalCloud) -> WorkflowSpec:
    addresses = {
        variable: cloud.context.service_url(names.resource_name(service)) for variable, service in spec.services.items()
    }
    return WorkflowSpec(
        name=names.resource_name(name),
        source=(project.root / spec.source).read_text(encoding="utf-8"),
        env=addresses,
        service_account=SERVICE_ACCOUNT,
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _schedule(name: str, spec: bundle.Schedule) -> Schedule:
    # Cloud Scheduler publishes no message without data or attributes.
    return Schedule(name, spec.every_s, spec.topic, attributes={"schedule": name})
