"""How is one source executed by itself, without a deployment around it?

It gets a state of its own that goes with it. The rest of a local cloud is started only for a source that needs one: a
gateway where callbacks arrive, services that connectors call.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, cast

from localcloud.clock import Clock
from localcloud.context import Context
from localcloud.faults import Faults
from localcloud.store import Store
from localcloud.workflows import connectors
from localcloud.workflows.observe import StepObserver
from localcloud.workflows.state import Execution, Workflows, WorkflowSpec

if TYPE_CHECKING:
    from localcloud.identity import Identity

PROJECT, LOCATION = "local", "us-central1"
_NOWHERE = "http://127.0.0.1:1"
# Rather too often than too rarely: what these are found in by chance starts a second later.
_CALLBACKS = re.compile(r"events\s*\.\s*create_callback_endpoint")
_CONNECTORS = re.compile(r"googleapis\s*\.|experimental\s*\.\s*executions")
_LOOK_S = 0.002  # how often time is moved on, where sleeps are skipped


@dataclass(frozen=True)
class Surroundings:
    """What an execution finds. `cloud_url` is the gateway of a running local cloud that serves its connectors, if any.

    With `skip_sleeps` virtual time jumps to the next moment that the execution waits for, unless it also waits for
    an answer or a callback from outside.
    """

    cloud_url: str | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)
    allowed_hosts: tuple[str, ...] = ()
    skip_sleeps: bool = False


async def run_single(
    spec: WorkflowSpec,
    argument: str | None,
    around: Surroundings,
    watch: Callable[[Clock], StepObserver] | None = None,
    timeout_s: float | None = None,
) -> Execution:
    """The execution of `spec` with a JSON argument once it has ended; cancelled when this is, or after `timeout_s`.

    Raises:
        DeploymentError: the source cannot be deployed.
        ApiError: the argument cannot be used.
    """
    async with _service(spec.source, around) as workflows:
        workflows.deploy(spec)
        if watch is not None:
            observer = watch(workflows.context.clock)
            workflows.watch = lambda execution: observer if execution.workflow == spec.name else None
        execution = workflows.create_execution(workflows.resource_name(spec.name), argument)
        jumping = asyncio.create_task(_skip_sleeps(workflows)) if around.skip_sleeps else None
        try:
            async with asyncio.timeout(timeout_s):
                await workflows.finished(execution.name)
        except (TimeoutError, asyncio.CancelledError):
            return workflows.cancel(execution.name)
        finally:
            if jumping is not None:
                jumping.cancel()
        return workflows.get(execution.name)


@contextlib.asynccontextmanager
async def _service(source: str, around: Surroundings) -> AsyncIterator[Workflows]:
    url = around.cloud_url
    theirs: dict[str, str] = {} if url is None else dict.fromkeys(connectors.services(), url)
    endpoints = {**theirs, **around.endpoints}
    if _CALLBACKS.search(source) or (_CONNECTORS.search(source) and around.cloud_url is None):
        from localcloud.cloud import CloudConfig, LocalCloud  # all services: a second that few sources need

        cloud = LocalCloud(CloudConfig(PROJECT, LOCATION, endpoints=endpoints, allowed_hosts=around.allowed_hosts))
        try:
            await cloud.start()
            yield cloud.workflows
        finally:
            await cloud.stop()
        return
    store = Store(None)
    workflows = Workflows(_context(store, endpoints, around.allowed_hosts))
    try:
        yield workflows
    finally:
        await workflows.stop()
        store.close()


def _context(store: Store, endpoints: Mapping[str, str], allowed_hosts: tuple[str, ...]) -> Context:
    clock = Clock()
    return Context(
        project=PROJECT,
        location=LOCATION,
        clock=clock,
        store=store,
        faults=Faults(),
        identity=cast("Identity", _Issuer(clock, store)),
        http_url=_NOWHERE,
        grpc_address="127.0.0.1:1",
        endpoints=endpoints,
        allowed_hosts=allowed_hosts,
    )


@dataclass
class _Issuer:
    """An identity once a token is asked for: what signs takes a third of a second to import."""

    clock: Clock
    store: Store

    @cached_property
    def _identity(self) -> Identity:
        from localcloud.identity import Identity

        return Identity(self.clock, self.store)

    def mint(self, audience: str, email: str) -> str:
        return self._identity.mint(audience, email)

    def mint_access_token(self, email: str, scopes: Sequence[str]) -> str:
        return self._identity.mint_access_token(email, scopes)


async def _skip_sleeps(workflows: Workflows) -> None:
    """Move time on whenever the execution has come to rest and nothing but time can wake it."""
    before = -1
    while True:
        await asyncio.sleep(_LOOK_S)
        steps = workflows.steps()
        if steps == before and not workflows.http.in_flight and not workflows.awaits_callers():
            workflows.context.clock.jump()
        before = steps
