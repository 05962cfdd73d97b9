"""What is a local cloud made of, and how does one run it? All services on one loop, one clock and one store.

with running(CloudConfig(), lambda cloud: Deployment(buckets=("input",), ...)) as cloud:
    os.environ.update(cloud.environment())
    ...                                # the real client libraries now talk to it
    cloud.clock.advance(minutes=10)
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
from starlette.routing import BaseRoute

from localcloud import admin, environment
from localcloud.clock import Clock
from localcloud.compute.state import Compute, ComputeSpec
from localcloud.context import Context
from localcloud.eventarc.state import Eventarc, Trigger
from localcloud.faults import Faults
from localcloud.gateway import Gateway
from localcloud.identity import Identity
from localcloud.interruptions import interruptible
from localcloud.later import LaterMethods, LaterRoutes
from localcloud.official import bridge as official_bridge
from localcloud.official.bridge import Bridge
from localcloud.official.process import Emulator
from localcloud.pubsub.errors import NotFound
from localcloud.pubsub.resources import PublishedMessage, SubscriptionSpec
from localcloud.pubsub.state import PubSub
from localcloud.run import api as run_api
from localcloud.run.jobs import JobSpec
from localcloud.run.service import Run
from localcloud.run.state import ServiceSpec
from localcloud.scheduler.state import Schedule, Scheduler
from localcloud.storage import api as storage_api
from localcloud.storage.state import Storage
from localcloud.store import Store
from localcloud.workflows.state import Workflows, WorkflowSpec

_T = TypeVar("_T")


@dataclass(frozen=True)
class CloudConfig:
    """Which project, where its state is (None: a temporary directory), on which ports (0: any free one).

    `frozen_clock` stops virtual time until it is advanced. `endpoints` are the base URLs of Google APIs that workflows
    find elsewhere (`{"compute": "http://127.0.0.1:9100"}`), `allowed_hosts` shell-style patterns of hosts outside this
    machine that they may call; without them nothing leaves it. `official_pubsub` puts Google's own Pub/Sub emulator, on
    `pubsub_port`, in the place of ours (`localcloud.official`).
    """

    project: str = "local"
    location: str = "us-central1"
    state: Path | None = None
    http_port: int = 0
    grpc_port: int = 0
    frozen_clock: bool = False
    endpoints: Mapping[str, str] = field(default_factory=dict)
    allowed_hosts: tuple[str, ...] = ()
    official_pubsub: bool = False
    pubsub_port: int = 0


@dataclass(frozen=True)
class Deployment:
    """What is deployed to a local cloud. Deploying it again changes only what differs."""

    buckets: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    subscriptions: tuple[SubscriptionSpec, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    services: tuple[ServiceSpec, ...] = ()
    jobs: tuple[JobSpec, ...] = ()
    workflows: tuple[WorkflowSpec, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    compute: ComputeSpec = field(default_factory=ComputeSpec)

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, str):  # of which every character would be taken for a name
                raise TypeError(f"{each.name} is {value!r:.80}; expected a tuple: {each.name}=({value!r:.80},)")


class _Service(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class LocalCloud:
    """A project of the cloud in this process. Make it on the loop that is to run it.

    From another thread use `clock`, `faults`, `is_idle`, `environment`, and `call` for all else.
    """

    def __init__(self, config: CloudConfig) -> None:
        """Open the state and bind the ports.

        Raises:
            localcloud.store.StateInUse: another process has the state directory open.
            localcloud.gateway.PortInUse: a port given is taken.
            localcloud.official.errors.NotInstalled: Google's emulator is asked for, and not there.
        """
        self.config = config
        self.faults = Faults()
        self._loop = asyncio.get_running_loop()
        store = Store(config.state)
        try:
            emulator = Emulator(config.pubsub_port, store.directory) if config.official_pubsub else None
            self._gateway = Gateway(config.http_port, config.grpc_port, self.faults)
        except BaseException:
            store.close()
            raise
        self.http_url = self._gateway.http_url
        self.grpc_address = self._gateway.grpc_address
        self.pubsub_address = self.grpc_address if emulator is None else emulator.address
        self.clock = Clock(frozen=config.frozen_clock)
        self.context = Context(
            project=config.project,
            location=config.location,
            clock=self.clock,
            store=store,
            faults=self.faults,
            identity=Identity(self.clock, store, self.http_url),
            http_url=self.http_url,
            grpc_address=self.grpc_address,
            endpoints=config.endpoints,
            allowed_hosts=config.allowed_hosts,
        )
        self.storage = Storage(self.context)
        self.pubsub = PubSub(self.context)
        self.eventarc = Eventarc(self.context, self.pubsub)
        self.run = Run(self.context)
        self.compute = Compute(self.context)
        self.workflows = Workflows(self.context)
        self.scheduler = Scheduler(self.context, self.pubsub)
        self.storage.subscribe(self.eventarc.storage_event)
        self.storage.notify(_NotificationTopics(self.pubsub))
        self._bridge = None if emulator is None else Bridge(self.context, self.pubsub, self.eventarc, emulator)
        if self._bridge is None:
            official_bridge.forget(self.pubsub)
        # In the order they start; they stop the other way round. Those that call others wait for the gateway.
        self._called: tuple[_Service, ...] = (self.storage, self.run, self.compute)
        if self._bridge is not None:
            self._called = (self._bridge, *self._called)
        self._calling: tuple[_Service, ...] = (
            self.workflows,
            self.pubsub,
            self.eventarc,
            self.scheduler,
            self.run.jobs,
        )

    async def start(self) -> None:
        """Serve, and go on with what an earlier process left in the state.

        Raises:
            localcloud.official.errors.EmulatorFailed: Google's emulator did not start.
        """
        for service in self._called:
            await service.start()
        # Storage's routes and those of services on Cloud Run look at the first word of a path only; to ask all others'
        # patterns before them would cost more than what they do.
        await self._gateway.start(
            [
                *storage_api.routes(self.storage),
                *run_api.routes(self.run),
                *admin.routes(self),
                LaterRoutes(self._other_routes),
            ],
            [LaterMethods(self._grpc_handlers)],
        )
        for caller in self._calling:
            await caller.start()

    def _other_routes(self) -> list[BaseRoute]:
        """The routes of all services, each behind its fault point, and of the console."""
        from localcloud.compute import api as compute_api
        from localcloud.console import api as console_api
        from localcloud.eventarc import api as eventarc_api
        from localcloud.identity import api as identity_api
        from localcloud.official import api as official_api
        from localcloud.pubsub import api as pubsub_api
        from localcloud.run import admin as run_admin
        from localcloud.run import knative
        from localcloud.storage import xml_api as storage_xml_api
        from localcloud.workflows import api as workflows_api

        services = {
            "run": [*run_admin.routes(self.run), *knative.routes(self.run)],
            "compute": compute_api.routes(self.compute),
            "pubsub": pubsub_api.routes(self.pubsub) if self._bridge is None else official_api.routes(self._bridge),
            "eventarc": eventarc_api.routes(self.eventarc),
            "workflows": workflows_api.routes(self.workflows),
            "identity": identity_api.routes(self.context),
        }
        return [
            *(each for name, found in services.items() for each in interruptible(self.faults, name, found)),
            *console_api.routes(self),
            *storage_xml_api.routes(self.storage),
        ]

    def _grpc_handlers(self) -> list[grpc.GenericRpcHandler]:
        """The gRPC methods of all services."""
        from localcloud.pubsub import api as pubsub_api
        from localcloud.run import admin as run_admin
        from localcloud.workflows import api as workflows_api

        return [
            *(pubsub_api.grpc_handlers(self.pubsub) if self._bridge is None else ()),
            *run_admin.grpc_handlers(self.run),
            *workflows_api.grpc_handlers(self.workflows),
        ]

    def deploy(self, deployment: Deployment) -> None:
        """Make sure that all of `deployment` exists. Before `start`, so that earlier events find their services."""
        with self.context.store.transaction():  # hundreds of writes cost as much as one commit
            for bucket in deployment.buckets:
                self.storage.create_bucket(bucket)
            for topic in deployment.topics:
                self.pubsub.create_topic(topic)
            for subscription in deployment.subscriptions:
                self.pubsub.create_subscription(subscription)
            for spec in deployment.services:
                self.run.deploy(spec)
            for job in deployment.jobs:
                self.run.jobs.deploy(job)
            for workflow in deployment.workflows:
                self.workflows.deploy(workflow)
            for trigger in deployment.triggers:
                self.eventarc.create_trigger(trigger)
            for schedule in deployment.schedules:
                self.scheduler.create_schedule(schedule)
            self.compute.deploy(deployment.compute)

    async def stop(self) -> None:
        """End everything, whatever of it fails; what is in the state goes on at the next start."""
        async with contextlib.AsyncExitStack() as ending:  # the last one pushed ends first
            ending.callback(self.context.store.close)
            ending.push_async_callback(self._gateway.stop)
            for service in (*self._called, *self._calling):
                ending.push_async_callback(service.stop)
            ending.callback(self.context.activity.close)

    def is_idle(self) -> bool:
        """Is nothing on its way: no event undelivered, no execution active, no request in flight?"""
        return self.call(lambda: self.pubsub.is_idle() and self.run.is_idle() and self.workflows.is_idle())

    def environment(self) -> dict[str, str]:
        """The variables by which client libraries, and the programs that use them, find this cloud."""
        return environment.for_clients(self.config.project, self.http_url, self.grpc_address, self.pubsub_address)

    def gcloud_environment(self) -> dict[str, str]:
        """The variables by which gcloud finds this cloud, to be set besides those of `environment`."""
        folder = self.context.store.directory / "gcloud"
        return environment.for_gcloud(self.config.project, self.config.location, self.http_url, folder)

    def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """The result of `function`, run on the loop of this cloud."""
        if _running_loop() is self._loop:
            return function(*arguments)

        async def called() -> _T:
            return function(*arguments)

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result()


@dataclass(frozen=True)
class _NotificationTopics:
    """Pub/Sub as Cloud Storage publishes to it."""

    pubsub: PubSub

    def has_topic(self, topic: str) -> bool:
        try:
            self.pubsub.topic(topic)
        except NotFound:
            return False
        return True

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> None:
        self.pubsub.publish(topic, [PublishedMessage(data, attributes)])


@contextlib.contextmanager
def running(config: CloudConfig, deployment: Callable[[LocalCloud], Deployment] | None = None) -> Iterator[LocalCloud]:
    """A local cloud on a loop in a thread of its own. `deployment` is asked once the addresses are known."""
    with contextlib.ExitStack() as ending:
        runner = _new_runner()
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name="localcloud")
        thread.start()
        ending.callback(_end, runner, thread)

        async def begin() -> LocalCloud:
            cloud = LocalCloud(config)
            try:
                if deployment is not None:
                    cloud.deploy(deployment(cloud))
                await cloud.start()
            except BaseException:
                await cloud.stop()
                raise
            return cloud

        cloud = asyncio.run_coroutine_threadsafe(begin(), loop).result()
        ending.callback(lambda: asyncio.run_coroutine_threadsafe(cloud.stop(), loop).result())
        yield cloud


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _new_runner() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _end(runner: asyncio.Runner, thread: threading.Thread) -> None:
    runner.get_loop().call_soon_threadsafe(runner.get_loop().stop)
    thread.join()
    runner.close()
