"""Which address of the console answers what? The page at `/`, its files and its data under `/_localcloud/console/`.

GET  overview · buckets · topics · services · jobs · machines · workflows · triggers · schedules
GET  active · active-jobs                  executions of workflows and of jobs that run
GET  folder?bucket=&prefix=&page=          one page of a folder
GET  object?bucket=&name=&generation=      one object with its versions
GET  preview · download ?bucket=&name=&generation=
GET  messages?subscription=&limit=         what waits in a subscription; looking changes nothing
GET  logs?service=&instance=&limit=        the end of a log
GET  job-executions?job=&limit= · job-execution?job=&name= · job-logs?job=&limit=
GET  machine-logs?name=&limit=
GET  executions?workflow=&limit=           the latest ones
GET  execution?workflow=&id=
GET  steps?workflow=&id=&limit=            the latest steps of an execution
GET  events?after=                         server-sent events
POST publish {topic, data, attributes, ordering_key} · republish {subscription, id}
POST cancel?workflow=&id= · cancel-job?job=&name=
POST run-job?job=                          start an execution
POST preempt-machine · lose-machine ?zone=&name=
DELETE object?bucket=&name=&generation=

Clock and faults are those of `localcloud.admin`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from localcloud.console import executions, instances, jobs, machines, messages, objects
from localcloud.console import overview as overviews
from localcloud.console.stream import Stream
from localcloud.endpoints import HEADERS, body, parameter, reply, route, whole_number
from localcloud.gateway import error
from localcloud.storage.resources import StoredObject

if TYPE_CHECKING:
    from localcloud.cloud import LocalCloud

PREFIX = "/_localcloud/console"
NOTICE_S = 30.0  # https://cloud.google.com/compute/docs/instances/preemptible#preemption-process
MAX_MESSAGES, MAX_LINES, MAX_EXECUTIONS, MAX_STEPS = 200, 2000, 500, 5000
PAGE_HEADERS = {
    **HEADERS,
    "Cache-Control": "no-cache",
    # What is not named here is not loaded; script sinks such as innerHTML are off.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def routes(cloud: LocalCloud) -> list[BaseRoute]:
    """The console of `cloud`."""
    stream = Stream(cloud.context.activity)
    return [
        Route("/", _page, methods=["GET"]),
        Route(f"{PREFIX}/static/{{name}}", _static, methods=["GET"]),
        route(f"{PREFIX}/events", stream.endpoint, "GET"),
        *_lists(cloud),
        *_storage(cloud),
        *_pubsub(cloud),
        *_jobs(cloud),
        *_machines(cloud),
        *_workflows(cloud),
    ]


def _lists(cloud: LocalCloud) -> list[BaseRoute]:
    async def logs(request: Request) -> Response:
        limit = whole_number(request, "limit", 200, MAX_LINES)
        instance = request.query_params.get("instance", "")
        return reply(instances.log(cloud.run, parameter(request, "service"), instance, limit))

    return [
        _list("overview", lambda: overviews.overview(cloud)),
        _list("services", lambda: instances.services(cloud.run)),
        _list("triggers", lambda: overviews.triggers(cloud)),
        _list("schedules", lambda: overviews.schedules(cloud)),
        route(f"{PREFIX}/logs", logs, "GET"),
    ]


def _storage(cloud: LocalCloud) -> list[BaseRoute]:
    storage = cloud.storage

    def named(request: Request) -> StoredObject:
        return storage.object(parameter(request, "bucket"), parameter(request, "name"), _generation(request))

    async def folder(request: Request) -> Response:
        query = request.query_params
        bucket = parameter(request, "bucket")
        return reply(objects.folder(storage, bucket, query.get("prefix", ""), query.get("page", "")))

    async def item(request: Request) -> Response:
        bucket, name, generation = parameter(request, "bucket"), parameter(request, "name"), _generation(request)
        if request.method == "DELETE":
            storage.delete(bucket, name, generation=generation)
            return reply({})
        return reply(objects.detail(storage, bucket, name, generation))

    async def preview(request: Request) -> Response:
        return objects.preview(storage, named(request))

    async def download(request: Request) -> Response:
        return objects.download(storage, named(request))

    return [
        _list("buckets", lambda: objects.buckets(storage)),
        route(f"{PREFIX}/folder", folder, "GET"),
        route(f"{PREFIX}/object", item, "GET", "DELETE"),
        route(f"{PREFIX}/preview", preview, "GET"),
        route(f"{PREFIX}/download", download, "GET"),
    ]


def _pubsub(cloud: LocalCloud) -> list[BaseRoute]:
    pubsub = cloud.pubsub

    async def peek(request: Request) -> Response:
        limit = whole_number(request, "limit", 50, MAX_MESSAGES)
        return reply(messages.messages(pubsub, parameter(request, "subscription"), limit))

    async def publish(request: Request) -> Response:
        return reply({"id": messages.publish(pubsub, await body(request, messages.Publish))})

    async def republish(request: Request) -> Response:
        return reply({"id": messages.republish(pubsub, await body(request, messages.Republish))})

    return [
        _list("topics", lambda: {"topics": messages.topics(pubsub), "subscriptions": messages.subscriptions(pubsub)}),
        route(f"{PREFIX}/messages", peek, "GET"),
        route(f"{PREFIX}/publish", publish, "POST"),
        route(f"{PREFIX}/republish", republish, "POST"),
    ]


def _jobs(cloud: LocalCloud) -> list[BaseRoute]:
    run = cloud.run

    async def latest(request: Request) -> Response:
        limit = whole_number(request, "limit", 50, MAX_EXECUTIONS)
        return reply(jobs.executions(run, parameter(request, "job"), limit))

    async def one(request: Request) -> Response:
        return reply(jobs.execution(run, parameter(request, "job"), parameter(request, "name")))

    async def logs(request: Request) -> Response:
        return reply(jobs.log(run, parameter(request, "job"), whole_number(request, "limit", 200, MAX_LINES)))

    async def start(request: Request) -> Response:
        return reply({"name": run.jobs.run(parameter(request, "job")).name})

    async def cancel(request: Request) -> Response:
        run.jobs.cancel(parameter(request, "job"), parameter(request, "name"))
        return reply({})

    return [
        _list("jobs", lambda: jobs.jobs(run)),
        _list("active-jobs", lambda: jobs.active(run)),
        route(f"{PREFIX}/job-executions", latest, "GET"),
        route(f"{PREFIX}/job-execution", one, "GET"),
        route(f"{PREFIX}/job-logs", logs, "GET"),
        route(f"{PREFIX}/run-job", start, "POST"),
        route(f"{PREFIX}/cancel-job", cancel, "POST"),
    ]


def _machines(cloud: LocalCloud) -> list[BaseRoute]:
    compute = cloud.compute

    async def logs(request: Request) -> Response:
        return reply(machines.log(compute, parameter(request, "name"), whole_number(request, "limit", 200, MAX_LINES)))

    async def preempt(request: Request) -> Response:
        compute.preempt(compute.machine(parameter(request, "zone"), parameter(request, "name")), NOTICE_S)
        return reply({})

    async def lose(request: Request) -> Response:
        compute.kill(compute.machine(parameter(request, "zone"), parameter(request, "name")))
        return reply({})

    return [
        _list("machines", lambda: machines.machines(compute)),
        route(f"{PREFIX}/machine-logs", logs, "GET"),
        route(f"{PREFIX}/preempt-machine", preempt, "POST"),
        route(f"{PREFIX}/lose-machine", lose, "POST"),
    ]


def _workflows(cloud: LocalCloud) -> list[BaseRoute]:
    workflows = cloud.workflows

    async def latest(request: Request) -> Response:
        limit = whole_number(request, "limit", 50, MAX_EXECUTIONS)
        return reply(executions.executions(workflows, parameter(request, "workflow"), limit))

    async def one(request: Request) -> Response:
        return reply(executions.execution(workflows, parameter(request, "workflow"), parameter(request, "id")))

    async def steps(request: Request) -> Response:
        limit = whole_number(request, "limit", 300, MAX_STEPS)
        workflow, id_ = parameter(request, "workflow"), parameter(request, "id")
        return reply(executions.steps(workflows, workflow, id_, limit))

    async def cancel(request: Request) -> Response:
        executions.cancel(workflows, parameter(request, "workflow"), parameter(request, "id"))
        return reply({})

    return [
        _list("workflows", lambda: executions.workflows(workflows)),
        _list("active", lambda: executions.active(workflows)),
        route(f"{PREFIX}/executions", latest, "GET"),
        route(f"{PREFIX}/execution", one, "GET"),
        route(f"{PREFIX}/steps", steps, "GET"),
        route(f"{PREFIX}/cancel", cancel, "POST"),
    ]


def _list(name: str, view: Callable[[], object]) -> Route:
    async def endpoint(_: Request) -> Response:
        return reply(view())

    return route(f"{PREFIX}/{name}", endpoint, "GET")


def _generation(request: Request) -> int | None:
    text = request.query_params.get("generation", "")
    if text and not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ValueError(f"generation is {text[:40]!r}; expected a number")
    return int(text) if text else None


async def _page(_: Request) -> Response:
    return _file("index.html")


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    # Compared with what there is, so that no name leads elsewhere.
    if name not in {file.name for file in _files().iterdir()}:
        return error(404, f"The console has no file {name[:80]!r}.")
    return _file(name)


def _file(name: str) -> Response:
    media_type = _MEDIA_TYPES[name[name.rindex(".") :]]
    return Response((_files() / name).read_bytes(), media_type=media_type, headers=PAGE_HEADERS)


def _files() -> Traversable:
    return resources.files("localcloud.console") / "static"
