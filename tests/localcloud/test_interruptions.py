"""Does a fault that is ordered reach every call, and what does its caller see?"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
import urllib3
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage
from google.pubsub_v1 import types
from starlette.routing import Route

from localcloud import interruptions
from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.faults import Fault
from localcloud.gateway import Gateway
from localcloud.interruptions import call_name, message_resource, method_name
from localcloud.pubsub import api as pubsub_api
from localcloud.pubsub.resources import SubscriptionSpec
from localcloud.run import admin as run_admin
from localcloud.storage.api import METHODS
from localcloud.workflows import table

CONTENT = bytes(range(256)) * 1000


@dataclass
class Served:
    """What a gateway was asked to serve."""

    routes: list[Any] = field(default_factory=list)
    handlers: list[Any] = field(default_factory=list)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    seen, start = Served(), Gateway.start

    async def noted(self: Gateway, routes: Any, grpc_handlers: Any = ()) -> None:
        *seen.routes, later = routes
        seen.routes += later.routes
        seen.handlers = [handler for later in grpc_handlers for handler in later.handlers]
        await start(self, routes, grpc_handlers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gateway, "start", noted)
        yield seen


@pytest.fixture(scope="module")
def shared(served: Served) -> Iterator[LocalCloud]:
    deployment = Deployment(("bucket",), ("news",), (SubscriptionSpec("reader", "news"),))
    with running(CloudConfig(frozen_clock=True), lambda _: deployment) as cloud:
        client(cloud).bucket("bucket").blob("a").upload_from_string(CONTENT)
        yield cloud


@pytest.fixture
def cloud(shared: LocalCloud) -> Iterator[LocalCloud]:
    yield shared
    shared.faults.clear()


def client(cloud: LocalCloud) -> storage.Client:
    options = {"api_endpoint": cloud.http_url}
    return storage.Client(project="local", credentials=AnonymousCredentials(), client_options=options)


def get(cloud: LocalCloud, path: str, method: str = "GET") -> urllib3.BaseHTTPResponse:
    return urllib3.request(method, f"{cloud.http_url}{path}", retries=False)


def filled(path: str) -> str:
    """A path with something in the place of every parameter."""
    return re.sub(r"\{[^}]*\}", "x", path)


# Every call


def test_every_route_of_a_service_has_a_fault_point(cloud: LocalCloud, served: Served):
    cloud.faults.add(Fault("*", status=598, times=None))
    routes = [route for route in served.routes if isinstance(route, Route) and "_localcloud" not in route.path]
    routes = [route for route in routes if route.path not in ("/", "/favicon.ico")]  # the page that looks in

    statuses = {
        (method, route.path): get(cloud, filled(route.path), method).status
        for route in routes
        for method in route.methods - {"HEAD"}
    }

    assert len(statuses) > 30
    assert {call: status for call, status in statuses.items() if status != 598} == {}


def test_the_calls_of_each_service_have_names_of_their_own(cloud: LocalCloud, served: Served):
    named: dict[str, set[str]] = {}
    for route in served.routes:
        is_older_form = isinstance(route, Route) and route.path.startswith("/apis/")  # of the same calls of Cloud Run
        if (
            isinstance(route, Route)
            and not is_older_form
            and "_localcloud" not in route.path
            and len(route.methods - {"HEAD"}) == 1
        ):
            (method,) = route.methods - {"HEAD"}
            point: Any = route.app
            if isinstance(point, interruptions._Point):
                named.setdefault(call_name(point._service, route, method), set()).add(
                    f"{method} {filled(re.sub('/v[0-9]/', '/', route.path))}"
                )

    assert {name: paths for name, paths in named.items() if len(paths) > 1} == {}
    assert named.keys() >= {"pubsub.topics.publish", "pubsub.subscriptions.pull", "workflows.executions.create"}


def test_every_method_of_storage_has_a_fault_point(cloud: LocalCloud):
    cloud.faults.add(Fault("storage.*", status=598, times=None))

    for method in METHODS:
        path = "/".join(part if isinstance(part, str) else "x" for part in method.path)
        answer = urllib3.request(method.verb, f"{cloud.http_url}/storage/v1/{path}", body=b"{}", retries=False)
        assert (method.name, answer.status) == (method.name, 598)


def test_every_grpc_method_has_a_fault_point(cloud: LocalCloud, served: Served):
    cloud.faults.add(Fault("*", code="DATA_LOSS", times=None))
    codes = {}

    with grpc.insecure_channel(cloud.grpc_address) as channel:
        for name, streams in grpc_methods(served):
            call = channel.stream_stream(name) if streams else channel.unary_unary(name)
            with pytest.raises(grpc.RpcError) as failed:
                list(call(iter([b""]), timeout=10)) if streams else call(b"", timeout=10)
            codes[name] = failed.value.code()

    assert len(codes) > 40
    assert set(codes.values()) == {grpc.StatusCode.DATA_LOSS}
    own = [name for name in codes if "IamPolic" not in name and "IamPermissions" not in name]
    assert len({method_name(name) for name in own}) == len(own)


def grpc_methods(served: Served) -> Iterator[tuple[str, bool]]:
    """Every method by its full name, and whether it streams."""
    for handler in served.handlers:
        if hasattr(handler, "_method_handlers"):
            yield from ((name, each.request_streaming) for name, each in handler._method_handlers.items())
    for service, nouns in run_admin._GRPC.items():  # Cloud Run's are made when they are called
        for method in (*run_admin._REST, *run_admin._IAM):
            if service != run_admin._OPERATIONS and run_admin._is_of(method, nouns):
                yield f"/{service}/{method}", False


# What the caller sees, over HTTP


def test_a_failure_is_an_error_of_googles_json_apis(cloud: LocalCloud):
    cloud.faults.add(Fault("pubsub.topics.get", "news", code="RESOURCE_EXHAUSTED"))

    other, hit = get(cloud, "/v1/projects/local/topics/other"), get(cloud, "/v1/projects/local/topics/news")

    assert other.status == 404
    assert (hit.status, hit.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")


def test_an_answer_can_be_replaced_once_the_call_has_acted(cloud: LocalCloud):
    cloud.faults.add(Fault("pubsub.topics.create", "late", "fail_after"))
    path = "/v1/projects/local/topics/late"

    assert get(cloud, path, "PUT").status == 503
    assert get(cloud, path).status == 200


def test_a_dropped_call_closes_the_connection_and_does_nothing(cloud: LocalCloud):
    cloud.faults.add(Fault("pubsub.topics.create", "lost", "drop"))
    path = "/v1/projects/local/topics/lost"

    with pytest.raises(urllib3.exceptions.ProtocolError):
        get(cloud, path, "PUT")

    assert get(cloud, path).status == 404


def test_a_connection_closes_before_the_answer_of_a_call_that_acted(cloud: LocalCloud):
    cloud.faults.add(Fault("pubsub.topics.create", "unanswered", "disconnect"))
    cloud.faults.add(Fault("storage.objects.get", "bucket/a", "disconnect"))
    path = "/v1/projects/local/topics/unanswered"

    with pytest.raises(urllib3.exceptions.ProtocolError):
        get(cloud, path, "PUT")
    with pytest.raises(urllib3.exceptions.ProtocolError):
        get(cloud, "/storage/v1/b/bucket/o/a")

    assert get(cloud, path).status == 200


@pytest.mark.parametrize("after", [0, 1, 1000, len(CONTENT), 10**9])
def test_a_connection_closes_in_the_middle_of_a_body(cloud: LocalCloud, after: int):
    cloud.faults.add(Fault("storage.objects.get", "bucket/a", "disconnect", after_bytes=after))
    connection = http.client.HTTPConnection(cloud.http_url.removeprefix("http://"))
    connection.request("GET", "/download/storage/v1/b/bucket/o/a?alt=media")

    if after == 0:
        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()
        return
    answer = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead) as broken:
        answer.read()

    assert int(answer.headers["content-length"]) == len(CONTENT)
    assert broken.value.partial == CONTENT[: min(after, len(CONTENT) - 1)]


def test_the_real_client_resumes_a_download_that_was_cut_off(cloud: LocalCloud):
    cloud.faults.add(Fault("storage.objects.get", "bucket/a", "disconnect", after_bytes=100_000))

    assert client(cloud).bucket("bucket").blob("a").download_as_bytes() == CONTENT
    assert not cloud.faults.standing()


def test_a_call_of_a_batch_fails_alone(cloud: LocalCloud):
    bucket = client(cloud).bucket("bucket")
    for name in ("x", "y"):
        bucket.blob(name).upload_from_string(b"")
    cloud.faults.add(Fault("storage.objects.delete", "bucket/x", status=503))

    with pytest.raises(exceptions.ServiceUnavailable), bucket.client.batch():
        bucket.delete_blobs([bucket.blob("x"), bucket.blob("y")])

    assert [blob.name for blob in bucket.list_blobs()] == ["a", "x"]


def test_a_call_is_late_by_virtual_time(cloud: LocalCloud):
    cloud.faults.add(Fault("pubsub.topics.get", "news", "delay", delay_s=300, delay_max_s=400))
    connection = http.client.HTTPConnection(cloud.http_url.removeprefix("http://"))
    connection.request("GET", "/v1/projects/local/topics/news")
    while cloud.faults.standing():
        pass

    cloud.clock.advance(seconds=400)

    assert connection.getresponse().status == 200


# What the caller sees, over gRPC


@pytest.fixture
def publisher(cloud: LocalCloud) -> pubsub_v1.PublisherClient:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PUBSUB_EMULATOR_HOST", cloud.grpc_address)
        return pubsub_v1.PublisherClient()


@pytest.mark.parametrize(("action", "exists"), [("drop", False), ("disconnect", True)])
def test_a_grpc_call_that_loses_its_connection_is_unavailable(
    cloud: LocalCloud, publisher: pubsub_v1.PublisherClient, action: Any, exists: bool
):
    name = publisher.topic_path("local", f"{action}ped")
    cloud.faults.add(Fault("pubsub.topics.create", f"{action}ped", action))

    with pytest.raises(exceptions.ServiceUnavailable, match="Socket closed"):
        publisher.create_topic(name=name, retry=None)

    found = [topic.name for topic in publisher.list_topics(project="projects/local")]
    assert (name in found) is exists


def test_the_real_client_publishes_again_what_was_lost(cloud: LocalCloud, publisher: pubsub_v1.PublisherClient):
    cloud.faults.add(Fault("pubsub.topics.publish", "news", "fail", times=2, code="UNAVAILABLE"))
    quickly = Retry(
        predicate=lambda error: isinstance(error, exceptions.ServiceUnavailable), initial=0.01, maximum=0.01
    )

    assert publisher.publish(publisher.topic_path("local", "news"), b"x", retry=quickly).result(20)
    assert not cloud.faults.standing()


def test_a_stream_breaks_after_so_many_bytes(cloud: LocalCloud, publisher: pubsub_v1.PublisherClient):
    publisher.publish(publisher.topic_path("local", "news"), b"x" * 1000).result(20)
    cloud.faults.add(Fault("pubsub.subscriptions.streamingPull", "reader", "disconnect", after_bytes=10))
    first = types.StreamingPullRequest(
        subscription="projects/local/subscriptions/reader", stream_ack_deadline_seconds=10
    )

    with grpc.insecure_channel(cloud.grpc_address) as channel:
        pull = channel.stream_stream(
            "/google.pubsub.v1.Subscriber/StreamingPull",
            request_serializer=types.StreamingPullRequest.serialize,
        )
        with pytest.raises(grpc.RpcError) as broken:
            list(pull(iter([first]), timeout=20))

    assert broken.value.code() is grpc.StatusCode.UNAVAILABLE


# Names


@pytest.mark.parametrize(
    ("service", "method", "path", "name"),
    [
        ("pubsub", "GET", "/v1/projects/{project}/topics", "pubsub.topics.list"),
        ("pubsub", "PUT", "/v1/projects/{project}/topics/{id}", "pubsub.topics.create"),
        ("pubsub", "POST", "/v1/projects/{project}/topics/{id}:publish", "pubsub.topics.publish"),
        ("run", "PATCH", "/v2/projects/{project}/locations/{location}/services/{service}", "run.services.patch"),
        ("identity", "POST", "/token", "identity.token.create"),
    ],
)
def test_a_route_is_named_by_method_and_path(service: str, method: str, path: str, name: str):
    assert call_name(service, Route(path, lambda: None, methods=[method]), method) == name


def test_a_route_can_have_a_name_of_its_own():
    assert call_name("a", Route("/x", lambda: None, name="a.b.c"), "GET") == "a.b.c"


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("google.pubsub.v1.Publisher/CreateTopic", "pubsub.topics.create"),
        ("google.pubsub.v1.Publisher/ListTopics", "pubsub.topics.list"),
        ("google.pubsub.v1.Publisher/Publish", "pubsub.topics.publish"),
        ("google.pubsub.v1.Subscriber/ModifyAckDeadline", "pubsub.subscriptions.modifyAckDeadline"),
        ("google.cloud.workflows.executions.v1.Executions/CreateExecution", "workflows.executions.create"),
        ("google.cloud.workflows.v1.Workflows/GetWorkflow", "workflows.workflows.get"),
        ("google.pubsub.v1.Publisher/UpdateTopic", "pubsub.topics.patch"),
    ],
)
def test_a_grpc_method_is_named_as_over_rest(method: str, name: str):
    assert method_name(f"/{method}") == name


def test_a_method_is_called_the_same_over_both_wires():
    declared = {f"/{each.service}/{each.name}": each.point for each in pubsub_api.METHODS}
    declared |= {"/" + "/".join(each.rpc): f"workflows.{each.fault}" for each in table.METHODS if each.rpc}

    assert {name: method_name(name) for name in declared} == declared


def test_the_resource_of_a_message_is_its_short_name():
    assert message_resource(types.PublishRequest.pb()(topic="projects/p/topics/news")) == "news"
    assert message_resource(types.UpdateTopicRequest.pb()(topic={"name": "projects/p/topics/news"})) == "news"
    assert message_resource(types.ListTopicsRequest.pb()(project="projects/p")) == ""
    assert message_resource(types.CreateSchemaRequest.pb()(parent="projects/p", schema_id="shape")) == "shape"
