"""What is there, in numbers, and what stands on the clock: overview, triggers, schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from localcloud.console.messages import SubscriptionView, subscription_view
from localcloud.pubsub.errors import NotFound
from localcloud.pubsub.resources import full_name
from localcloud.run.instances import Phase

if TYPE_CHECKING:
    from localcloud.cloud import LocalCloud


class Overview(msgspec.Struct):
    """How many of each there are. `time` is virtual, in seconds since the epoch."""

    project: str
    location: str
    http_url: str
    grpc_address: str
    pubsub_address: str  # that of gRPC, unless Pub/Sub is Google's emulator
    state: str
    is_temporary: bool  # the state ends with the process
    time: float
    is_frozen: bool
    buckets: int
    objects: int
    topics: int
    subscriptions: int
    undelivered: int  # messages of push subscriptions that are not acknowledged
    backlog: int  # messages of pull subscriptions that are not acknowledged
    leased: int
    services: int
    starting: int
    ready: int
    in_flight: int
    waiting: int
    jobs: int
    active_jobs: int  # executions that run
    groups: int
    machines: int  # VMs that there are
    wanted_machines: int  # that groups are still looking a place for
    workflows: int
    active_executions: int
    triggers: int
    schedules: int
    faults: int


def overview(cloud: LocalCloud) -> Overview:
    """The numbers of now. Costs what resources there are, not what they hold."""
    project = f"projects/{cloud.config.project}"
    buckets = [cloud.storage.index(bucket.name) for bucket in cloud.storage.buckets()]
    subscriptions = [cloud.pubsub.subscription(each.name) for each in cloud.pubsub.subscriptions(project)]
    services = list(cloud.run.services())
    phases = [instance.phase for service in services for instance in service.instances]
    return Overview(
        project=cloud.config.project,
        location=cloud.config.location,
        http_url=cloud.http_url,
        grpc_address=cloud.grpc_address,
        pubsub_address=cloud.pubsub_address,
        state=str(cloud.context.store.directory),
        is_temporary=cloud.context.store.is_temporary,
        time=cloud.clock.time(),
        is_frozen=cloud.clock.is_frozen,
        buckets=len(buckets),
        objects=sum(len(index.live) for index in buckets),
        topics=len(cloud.pubsub.topics(project)),
        subscriptions=len(subscriptions),
        undelivered=sum(len(each.backlog) for each in subscriptions if each.is_push),
        backlog=sum(len(each.backlog) for each in subscriptions if not each.is_push),
        leased=sum(each.queue.leased for each in subscriptions),
        services=len(services),
        starting=phases.count(Phase.STARTING),
        ready=phases.count(Phase.READY),
        in_flight=sum(instance.active for service in services for instance in service.instances),
        waiting=sum(service.waiting for service in services),
        jobs=sum(1 for _ in cloud.run.jobs.jobs()),
        active_jobs=len(cloud.run.jobs.active()),
        groups=len(cloud.compute.groups),
        machines=len(cloud.compute.machines),
        wanted_machines=sum(
            each.machine is None for group in cloud.compute.groups.values() for each in group.managed.values()
        ),
        workflows=len(cloud.workflows.workflows()),
        active_executions=len(cloud.workflows.active()),
        triggers=len(cloud.eventarc.triggers()),
        schedules=len(cloud.scheduler.schedules()),
        faults=len(cloud.faults.standing()),
    )


class TriggerView(msgspec.Struct):
    """A trigger and how its events get on; without a subscription somebody removed its transport."""

    name: str
    event_type: str
    filters: dict[str, str]
    service: str
    path: str
    workflow: str  # instead of a service
    max_attempts: int
    backoff_s: tuple[float, float]
    dead_letter: str  # subscription
    dead_letters: int
    transport: SubscriptionView | None


def triggers(cloud: LocalCloud) -> list[TriggerView]:
    """All triggers by name."""
    return [
        TriggerView(
            name=trigger.name,
            event_type=trigger.event_type,
            filters=dict(trigger.filters),
            service=trigger.service,
            path=trigger.path,
            workflow=trigger.workflow,
            max_attempts=trigger.max_attempts,
            backoff_s=trigger.backoff_s,
            dead_letter=trigger.dead_letter,
            dead_letters=_backlog(cloud, trigger.dead_letter),
            transport=_transport(cloud, cloud.eventarc.subscription(trigger)),
        )
        for trigger in cloud.eventarc.triggers()
    ]


class ScheduleView(msgspec.Struct):
    """A schedule; `next_run` is virtual time, in seconds since the epoch."""

    name: str
    topic: str
    every_s: float
    next_run: float


def schedules(cloud: LocalCloud) -> list[ScheduleView]:
    """All schedules by name."""
    return [
        ScheduleView(each.name, each.topic, each.every_s, cloud.scheduler.next_run(each.name))
        for each in cloud.scheduler.schedules()
    ]


def _transport(cloud: LocalCloud, name: str) -> SubscriptionView | None:
    try:
        return subscription_view(cloud.pubsub.subscription(full_name(cloud.config.project, "subscriptions", name)))
    except NotFound:
        return None


def _backlog(cloud: LocalCloud, subscription: str) -> int:
    try:
        return cloud.pubsub.backlog(subscription)
    except NotFound:
        return 0
