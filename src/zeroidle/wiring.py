"""Which real thing stands behind each port? Built once a process; a function imports only what it uses."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from msgspec.structs import replace

from zeroidle import bundle, logs
from zeroidle.bundle import Bundle
from zeroidle.clocks import RemoteClock, SystemClock
from zeroidle.contracts import names
from zeroidle.contracts.machines import Provisioning
from zeroidle.contracts.messages import Limits
from zeroidle.contracts.services import ModelRef
from zeroidle.core.pipeline import Deployment
from zeroidle.core.placement import Caps, Catalog, Cluster
from zeroidle.handlers.context import Context
from zeroidle.settings import Settings

if TYPE_CHECKING:
    from zeroidle.ports import Clock, JobStore, Objects

PIPELINE = "pipeline"
# Stage as the workflow reports it -> the service that does its work, and so sets its price.
STAGE_SERVICES = {"preprocess": "preprocess", "inference": "gpu-inference", "postprocess": "postprocess"}


def context() -> Context:
    """What one call of a handler works with. Raises PermanentError if the environment or the bundle is wrong."""
    return replace(_context(), waiting=set())


@cache
def _context() -> Context:
    from zeroidle.gcp.executions import connect
    from zeroidle.gcp.fleet import GoogleFleet
    from zeroidle.gcp.jobstore import BucketJobStore
    from zeroidle.gcp.publisher import GooglePublisher
    from zeroidle.gcp.vmstore import BucketVmStore

    settings = _settings()
    deployed = deployment(bundle.load(settings.bundle), settings)
    objects = _objects()
    return Context(
        jobs=BucketJobStore(objects, deployed.jobs_bucket),
        executions=connect(settings.workflows_address),
        vms=BucketVmStore(objects, deployed.jobs_bucket),
        fleet=GoogleFleet(settings.project, settings.compute_url),
        publisher=GooglePublisher(settings.project, settings.pubsub_address),
        objects=objects,
        clock=clock(settings.clock_url),
        deployment=deployed,
    )


@cache
def job_store() -> JobStore:
    """The ledger alone, for handlers that start nothing."""
    from zeroidle.gcp.jobstore import BucketJobStore

    return BucketJobStore(_objects(), names.bucket_name(_settings().project, "jobs"))


def clock(url: str | None) -> Clock:
    """The machine's clock, or the one at `url`."""
    return SystemClock() if url is None else RemoteClock(url)


def deployment(deployed: Bundle, settings: Settings) -> Deployment:
    """What the decisions have to know of the bundle in this project and region."""
    project, region, limits = settings.project, settings.region, deployed.limits
    return Deployment(
        input_bucket=names.bucket_name(project, "input"),
        work_bucket=names.bucket_name(project, "work"),
        output_bucket=names.bucket_name(project, "output"),
        jobs_bucket=names.bucket_name(project, "jobs"),
        heartbeats_topic=names.topic_path(project, "jobs-heartbeats"),
        meta_topic=names.topic_path(project, "jobs-meta"),
        workflows={key: names.workflow_path(project, region, names.resource_name(key)) for key in deployed.workflows},
        upload_workflow=PIPELINE,
        default_model=ModelRef.parse(deployed.default_model),
        limits=_limits(limits),
        parallel_shards=deployed.parallel_shards,
        usd_per_second={
            stage: deployed.usd_per_second(service)
            for stage, service in STAGE_SERVICES.items()
            if service in deployed.services
        },
        machine_limits=_limits(deployed.machines.limits),
        catalog=catalog(deployed),
    )


def catalog(deployed: Bundle) -> Catalog:
    """The machines of the bundle, as placement sees them."""
    machines = deployed.machines
    clusters = {
        name: Cluster(
            name=name,
            machine_type=spec.machine_type,
            gpu=spec.gpu,
            gpus=spec.gpus,
            max_per_region=spec.max_per_region,
            usd_per_hour={region: _usd_per_hour(price, spec) for region, price in machines.prices[spec.price].items()},
            derived={
                region: frozenset([*price.derived, *machines.price_list.derived])
                for region, price in machines.prices[spec.price].items()
            },
        )
        for name, spec in machines.clusters.items()
    }
    return Catalog(clusters, Caps(machines.limits.max_vms, machines.limits.max_usd_per_hour))


def _usd_per_hour(price: bundle.GpuPrice, spec: bundle.Cluster) -> dict[Provisioning, float]:
    of_one = {
        Provisioning.STANDARD: price.standard,
        Provisioning.SPOT: price.spot,
        Provisioning.FLEX_START: price.flex_start,
    }
    return {how: round(usd * spec.gpus, 4) for how, usd in of_one.items() if usd is not None and how in spec.sold_as}


def _limits(limits: bundle.JobLimits) -> Limits:
    return Limits(
        max_runtime_s=limits.max_runtime_s,
        provision_timeout_s=limits.provision_timeout_s,
        max_errors=limits.max_errors,
        max_interruptions=limits.max_interruptions,
    )


@cache
def _settings() -> Settings:
    settings = Settings.from_env(os.environ)
    logs.configure(settings.log_level)
    return settings


def _objects() -> Objects:
    import google.cloud.storage as storage

    from zeroidle.gcp.objects import GoogleObjects

    return GoogleObjects(storage.Client(project=_settings().project))
