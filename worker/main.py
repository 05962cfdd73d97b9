"""Run the agent of this VM until it has ended the VM: `python -m worker.main`.

What it is, the metadata server tells; where the cloud is, the environment, as for functions (see `zeroidle.settings`):

    ZEROIDLE_WORK        folder for the files of jobs (/var/lib/zeroidle)
    ZEROIDLE_CONTAINERS  docker (default) or process
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from worker.agent import Agent
from worker.assignments import Subscription
from worker.containers import Docker, Processes
from worker.host import BOOT_ID, GOOGLES, Metadata, Vm, identify
from worker.ports import Containers, Tools
from zeroidle import bundle, logs, wiring
from zeroidle.contracts import names
from zeroidle.contracts.machines import VmRef
from zeroidle.contracts.records import Job
from zeroidle.contracts.services import Folder
from zeroidle.core import pipeline
from zeroidle.errors import PermanentError, ZeroidleError
from zeroidle.gcp.fleet import GoogleFleet
from zeroidle.gcp.jobstore import BucketJobStore
from zeroidle.gcp.objects import GoogleObjects
from zeroidle.gcp.publisher import GooglePublisher
from zeroidle.gcp.vmstore import BucketVmStore
from zeroidle.settings import Settings

log = logging.getLogger("zeroidle.worker")


def main(env: Mapping[str, str]) -> int:
    """The agent's life; 0 when it has ended its VM."""
    settings = Settings.from_env(env)
    logs.configure(settings.log_level)
    agent = _agent(settings, env)
    woken = threading.Event()

    def told_to_end(*_: object) -> None:
        agent.end()
        woken.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told_to_end)
    while not agent.is_over:
        try:
            delay = agent.step()
        except Exception:  # the next step meets the same world; a dead agent would leave its VM to the tick
            log.exception("a step failed")
            delay = 5.0
        woken.wait(delay)
        woken.clear()
    return 0


def _agent(settings: Settings, env: Mapping[str, str]) -> Agent:
    from google.cloud import storage

    metadata = Metadata(env.get("GCE_METADATA_HOST") or GOOGLES)
    deployed = wiring.deployment(bundle.load(settings.bundle), settings)
    objects = GoogleObjects(storage.Client(project=settings.project))
    vms = BucketVmStore(objects, deployed.jobs_bucket)
    worker = identify(metadata, BOOT_ID.read_text() if BOOT_ID.exists() else "0")
    entry = vms.entry(worker.vm)
    worker = worker if entry is None else replace(worker, usd_per_hour=entry.usd_per_hour)
    clock = wiring.clock(settings.clock_url)

    def folder_of(job: Job) -> Folder | None:
        return pipeline.output_folder(job, deployed)

    def attempt_folder(job_id: str, attempt: int) -> Folder:
        return Folder(bucket=deployed.output_bucket, prefix=names.work_prefix(job_id, attempt))

    root = Path(env.get("ZEROIDLE_WORK") or "/var/lib/zeroidle")
    containers: Containers
    if env.get("ZEROIDLE_CONTAINERS") == "process":
        containers = Processes(root, objects, clock, attempt_folder)
    elif shutil.which("docker"):
        containers = Docker(root, objects, clock, attempt_folder, bundle.load(settings.bundle).machines.image)
    else:
        raise PermanentError("docker is not installed", code="INVALID_SETTINGS", hint="Use an image that has it.")
    fleet = GoogleFleet(settings.project, settings.compute_url)
    return Agent(
        worker,
        Tools(
            assignments=_subscription(settings, worker.vm),
            jobs=BucketJobStore(objects, deployed.jobs_bucket),
            vms=vms,
            containers=containers,
            reporter=GooglePublisher(settings.project, settings.pubsub_address),
            host=Vm(metadata, fleet, worker.vm),
            clock=clock,
        ),
        folder_of,
    )


def _subscription(settings: Settings, vm: VmRef) -> Subscription:
    from google.cloud.pubsub_v1 import SubscriberClient

    # The client finds a local Pub/Sub by PUBSUB_EMULATOR_HOST itself.
    client = SubscriberClient()
    name = names.assignments_subscription(vm.cluster, vm.provisioning)
    return Subscription(client, f"projects/{settings.project}/subscriptions/{name}")


if __name__ == "__main__":
    try:
        sys.exit(main(os.environ))
    except ZeroidleError as error:
        log.error("%s: %s %s", error.code, error.message, error.hint)
        sys.exit(1)
