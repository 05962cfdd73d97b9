"""What do we react to? One function an event; each is deployed by its name, from this one source."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

import functions_framework
from cloudevents.http import CloudEvent
from werkzeug.exceptions import ServiceUnavailable

from zeroidle import logs, wiring
from zeroidle.contracts.events import PubSubMessage, Upload, message, uploaded
from zeroidle.errors import PermanentError, ZeroidleError
from zeroidle.handlers.context import Context, Outcome
from zeroidle.handlers.follow import follow
from zeroidle.handlers.on_job_heartbeat import on_job_heartbeat as take_heartbeat
from zeroidle.handlers.on_job_meta import on_job_meta as keep_meta
from zeroidle.handlers.on_job_start import on_job_start as start_job
from zeroidle.handlers.on_job_stop import on_job_stop as stop_job
from zeroidle.handlers.on_tick import on_tick as look_after_jobs
from zeroidle.handlers.on_upload import on_upload as make_job

Tools = TypeVar("Tools")
Payload = TypeVar("Payload", Upload, PubSubMessage)

log = logging.getLogger("zeroidle.functions")


@functions_framework.cloud_event
def on_upload(event: CloudEvent) -> None:
    """A file landed in the input bucket."""
    react(event, uploaded, make_job, wiring.context())


@functions_framework.cloud_event
def on_job_start(event: CloudEvent) -> None:
    """jobs-start: somebody wants a job to run."""
    react(event, message, start_job, wiring.context())


@functions_framework.cloud_event
def on_job_stop(event: CloudEvent) -> None:
    """jobs-stop: somebody wants a job stopped."""
    react(event, message, stop_job, wiring.context())


@functions_framework.cloud_event
def on_job_heartbeat(event: CloudEvent) -> None:
    """jobs-heartbeats: an attempt reported."""
    react(event, message, take_heartbeat, wiring.context())


@functions_framework.cloud_event
def on_job_meta(event: CloudEvent) -> None:
    """jobs-meta: somebody has something worth keeping about a job."""
    react(event, message, keep_meta, wiring.job_store())


@functions_framework.cloud_event
def on_tick(event: CloudEvent) -> None:
    """jobs-tick: a minute has passed."""
    react(event, message, look_after_jobs, wiring.context())


def react(
    event: CloudEvent,
    parse: Callable[[CloudEvent], Payload],
    handle: Callable[[Tools, Payload], Outcome],
    tools: Tools,
) -> None:
    """Parse, handle, log what became of it. What will never succeed is acknowledged; 503 asks for another delivery."""
    with logs.labelled(event_id=event["id"]), ExitStack() as labels:
        try:
            payload = parse(event)
            labels.enter_context(logs.labelled(job_id=payload.job_id))
            log.info("%s: %s", handle.__name__, handle(tools, payload))
            if isinstance(tools, Context):
                follow(tools)
        except PermanentError as error:
            log.error("REJECTED: %s: %s", error.code, error.message)
        except ZeroidleError as error:
            log.warning("to be delivered again: %s: %s", error.code, error.message)
            raise ServiceUnavailable(error.message) from error
