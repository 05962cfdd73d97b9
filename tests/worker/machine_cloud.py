"""A local cloud with the bundle's buckets, subscriptions and machines, whose VMs run what a test says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.cloud import storage

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.compute.state import ComputeSpec, TemplateSpec
from tests.localcloud.waiting import wait_until
from zeroidle.contracts import names
from zeroidle.contracts.machines import Provisioning, VmEntry, VmRef, Wanted
from zeroidle.contracts.messages import Limits, MachineRun
from zeroidle.core import events, job
from zeroidle.gcp.fleet import GoogleFleet
from zeroidle.gcp.jobstore import BucketJobStore
from zeroidle.gcp.objects import GoogleObjects
from zeroidle.gcp.publisher import ASSIGNED, GooglePublisher
from zeroidle.gcp.vmstore import BucketVmStore
from zeroidle_cli import deployment, project

ROOT = Path(__file__).parents[2]
CLUSTER, REGION = "1xl4", "us-central1"
GROUP = names.group_name(CLUSTER, Provisioning.STANDARD.value)
LIMITS = Limits(max_runtime_s=86400, provision_timeout_s=3600, max_errors=0, max_interruptions=1)


@dataclass
class Machines:
    """The cloud, and what handlers do to it: enter a VM, ask for it, assign a job."""

    cloud: LocalCloud
    objects: GoogleObjects

    def __post_init__(self) -> None:
        bucket = names.bucket_name("local", "jobs")
        self.jobs = BucketJobStore(self.objects, bucket)
        self.vms = BucketVmStore(self.objects, bucket)
        self.fleet = GoogleFleet("local", self.cloud.http_url)
        self.publisher = GooglePublisher("local", self.cloud.pubsub_address)

    def a_vm(self, name: str) -> VmRef:
        """A VM that comes up."""
        ref = VmRef(name=name, cluster=CLUSTER, region=REGION)
        self.vms.enter(VmEntry(ref=ref, job_id="job-1", attempt=1, usd_per_hour=1.0))
        self.fleet.create(ref)
        self.cloud.clock.advance(seconds=5)
        return ref

    def a_job(self, script: str, **env: str) -> None:
        """A job that waits, and its assignment."""
        run = MachineRun(wanted=Wanted(accelerators=[CLUSTER]), command=["/bin/sh", "-c", script], env=env)
        now = self.cloud.clock.time()
        record = job.begin(events.Submitted("job-1", "me", run, LIMITS, {}, {}, now))
        self.jobs.create(job.advance(record, events.VmsAsked(1, (), now), now))
        self.publisher.assign(CLUSTER, Provisioning.STANDARD, "job-1", 1)

    def claimed_by(self) -> str:
        """The VM that has job-1, once one has."""
        wait_until(lambda: self.jobs.claim("job-1", 1), "a claim")
        claim = self.jobs.claim("job-1", 1)
        assert claim is not None
        assert claim.worker is not None
        return claim.worker.vm.name

    def leased(self) -> int:
        """How many assignments of the cluster are with a worker."""
        name = f"projects/local/subscriptions/{names.assignments_subscription(CLUSTER, 'standard')}"
        return self.cloud.call(lambda: self.cloud.pubsub.subscription(name).queue.leased)

    def machine(self, name: str) -> Any:
        """The VM as the local cloud has it, or None."""
        machines = self.cloud.call(lambda: list(self.cloud.compute.machines.values()))
        return next((each for each in machines if each.name == name), None)

    def until_gone(self, name: str) -> None:
        """Wait for its end."""
        wait_until(lambda: self.machine(name) is None, f"the end of {name}")

    def left(self) -> dict[str, bytes]:
        """What job-1 left in the output bucket."""
        bucket, folder = names.bucket_name("local", "output"), f"{names.work_prefix('job-1', 1)}/"
        found = self.objects.list(bucket, folder)
        return {each.ref.name.removeprefix(folder): self.objects.read(each.ref)[0] for each in found}


@contextmanager
def machines(
    script: str, attributes: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Machines]:
    """A cloud whose VMs of one cluster have that startup script; its clock stands until it is moved."""
    here = project.find(ROOT)

    def deploy(cloud: LocalCloud) -> Deployment:
        whole = deployment.local(here, cloud)
        (of_cluster,) = (each for each in whole.compute.templates if each.name == GROUP)
        items = {item["key"]: item["value"] for item in of_cluster.properties["metadata"]["items"]}
        items |= {"startup-script": script, **(attributes or {})}
        metadata = {"items": [{"key": key, "value": value} for key, value in items.items()]}
        template = TemplateSpec(GROUP, {**of_cluster.properties, "metadata": metadata})
        groups = tuple(each for each in whole.compute.groups if each.template == GROUP and each.region == REGION)
        return Deployment(
            buckets=whole.buckets,
            topics=whole.topics,
            subscriptions=tuple(each for each in whole.subscriptions if each.topic == ASSIGNED),
            compute=ComputeSpec((template,), groups, {**whole.compute.env, **(env or {})}),
        )

    with running(replace(CloudConfig(frozen_clock=True)), deploy) as cloud:
        client = storage.Client(
            project="local", credentials=_anonymous(), client_options={"api_endpoint": cloud.http_url}
        )
        yield Machines(cloud, GoogleObjects(client))


def _anonymous() -> Any:
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()
