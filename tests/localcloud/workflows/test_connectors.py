"""Does a connector make the request that the API's discovery document describes, and wait for what it starts?"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from localcloud.workflows.compiler import compile_source
from localcloud.workflows.connectors import known
from localcloud.workflows.errors import DeploymentError
from localcloud.workflows.state import Workflows
from tests.localcloud.workflows.stub_server import stub_server
from tests.localcloud.workflows.test_http import ECHO, JSON, request
from tests.localcloud.workflows.workflows_cloud import Cloud, on_cloud


def connector_call(call: str, routes: list[dict[str, Any]] | None = None, **args: Any) -> Any:
    """What a connector call gives; by default what the gateway received."""

    async def scenario(cloud: Cloud) -> Any:
        async with stub_server(routes or ECHO, cloud) as url:
            cloud.workflows = Workflows(replace(cloud.context, http_url=url))
            return await cloud.result(request(call, **args))

    return on_cloud(scenario)


def test_publish_posts_the_body_to_the_topic() -> None:
    message = {"messages": [{"data": base64.b64encode(b"hi").decode()}]}

    received = connector_call(
        "googleapis.pubsub.v1.projects.topics.publish", topic="projects/demo/topics/t", body=message
    )

    assert (received["method"], received["path"]) == ("POST", "/v1/projects/demo/topics/t:publish")
    assert received["json"] == message


def test_an_object_is_inserted_as_media_with_its_precondition() -> None:
    received = connector_call(
        "googleapis.storage.v1.objects.insert",
        bucket="b",
        name="claims/a b&c.json",
        uploadType="media",
        ifGenerationMatch=0,
        body={"x": 1},
    )

    assert (received["method"], received["path"]) == ("POST", "/upload/storage/v1/b/b/o")
    assert received["query"] == {"name": ["claims/a b&c.json"], "uploadType": ["media"], "ifGenerationMatch": ["0"]}
    assert received["json"] == {"x": 1}
    assert received["headers"]["content-type"] == "application/json"


def test_an_object_is_read_by_its_encoded_name() -> None:
    received = connector_call(
        "googleapis.storage.v1.objects.get", bucket="b", object='${text.url_encode("dir/a b.txt")}', alt="media"
    )

    assert received["path"] == "/storage/v1/b/b/o/dir/a b.txt"  # the server decodes %2F
    assert received["query"] == {"alt": ["media"]}


def test_a_connector_tries_a_transient_failure_again() -> None:
    responses = [{"status": 503}, {"status": 503}, {"status": 200, "headers": JSON, "body": '{"ok": true}'}]
    route = {"path": "/storage/v1/b/b/o", "responses": responses}

    assert connector_call("googleapis.storage.v1.objects.list", [route], bucket="b") == {"ok": True}


def test_a_connector_raises_a_lasting_failure() -> None:
    route = {"path": "/upload/storage/v1/b/b/o", "responses": [{"status": 412, "headers": JSON, "body": "{}"}]}

    error = connector_call(
        "googleapis.storage.v1.objects.insert", [route], bucket="b", name="n", ifGenerationMatch=0, body="x"
    )

    assert (error["code"], error["tags"]) == (412, ["HttpError"])


def ok(body: Any) -> dict[str, Any]:
    return {"status": 200, "headers": JSON, "body": json.dumps(body)}


def test_an_unknown_connector_is_refused_with_those_known() -> None:
    with pytest.raises(DeploymentError) as refused:
        compile_source("- s:\n    call: googleapis.bigquery.v2.jobs.insert\n")

    message = str(refused.value)
    assert "googleapis.bigquery.v2.jobs.insert" in message
    assert all(name in message for name in known())


def test_an_unknown_argument_is_refused_at_deployment() -> None:
    with pytest.raises(DeploymentError, match="unexpected argument 'colour'"):
        compile_source(request("googleapis.compute.v1.instances.get", project="p", zone="z", instance="i", colour="r"))


@pytest.mark.parametrize(
    ("call", "args", "method", "path", "query"),
    [
        ("run.v2.projects.locations.services.get", {"name": "projects/p/locations/l/services/s"}, "GET",
         "/v2/projects/p/locations/l/services/s", {}),
        ("run.v2.projects.locations.jobs.run", {"name": "projects/p/locations/l/jobs/j"}, "POST",
         "/v2/projects/p/locations/l/jobs/j:run", {}),
        ("compute.v1.instances.get", {"project": "p", "zone": "z", "instance": "i"}, "GET",
         "/compute/v1/projects/p/zones/z/instances/i", {}),
        ("compute.v1.instances.insert", {"project": "p", "zone": "z", "requestId": "r", "body": {"name": "i"}}, "POST",
         "/compute/v1/projects/p/zones/z/instances", {"requestId": ["r"]}),
        ("compute.v1.instances.delete", {"project": "p", "zone": "z", "instance": "i"}, "DELETE",
         "/compute/v1/projects/p/zones/z/instances/i", {}),
        ("compute.v1.instances.stop", {"project": "p", "zone": "z", "instance": "i", "discardLocalSsd": True}, "POST",
         "/compute/v1/projects/p/zones/z/instances/i/stop", {"discardLocalSsd": ["true"]}),
        ("dataproc.v1.projects.locations.batches.create", {"parent": "projects/p/locations/l", "batchId": "b"}, "POST",
         "/v1/projects/p/locations/l/batches", {"batchId": ["b"]}),
        ("dataproc.v1.projects.locations.batches.get", {"name": "projects/p/locations/l/batches/b"}, "GET",
         "/v1/projects/p/locations/l/batches/b", {}),
        ("storage.v1.objects.delete", {"bucket": "b", "object": "o", "ifGenerationMatch": 7}, "DELETE",
         "/storage/v1/b/b/o/o", {"ifGenerationMatch": ["7"]}),
    ],
)  # fmt: skip
def test_a_connector_makes_the_request_of_its_api(
    call: str, args: dict[str, Any], method: str, path: str, query: dict[str, Any]
) -> None:
    args["connector_params"] = {"skip_polling": True}

    received = connector_call(f"googleapis.{call}", **args)

    assert (received["method"], received["path"], received["query"]) == (method, path, query)
    assert received["headers"]["authorization"].startswith("Bearer ya29.")


JOB = {"call": "googleapis.run.v2.projects.locations.jobs.run", "name": "projects/p/locations/l/jobs/j"}
OPERATION = "projects/p/locations/l/operations/o"


def job_run(polls: list[dict[str, Any]], **params: Any) -> tuple[Any, float]:
    """What running a job gives, and how long it took, when its operation looks like that."""

    async def scenario(cloud: Cloud) -> tuple[Any, float]:
        routes = [
            {"path": f"/v2/{JOB['name']}:run", "responses": [ok({"name": OPERATION})]},
            {"path": f"/v2/{OPERATION}", "responses": polls},
        ]
        async with stub_server(routes, cloud) as url:
            cloud.workflows = Workflows(replace(cloud.context, endpoints={"run": url}))
            begun = cloud.clock.time()
            result = await cloud.result(request(**JOB, connector_params=params))
            return result, cloud.clock.time() - begun

    answer: tuple[Any, float] = on_cloud(scenario)
    return answer


PENDING, DONE = ok({"name": OPERATION}), ok({"name": OPERATION, "done": True, "response": {"n": 1}})


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        pytest.param({}, 1 + 1.25 + 1.25**2, id="default"),
        pytest.param({"initial_delay": 10, "multiplier": 2, "max_delay": 15}, 10 + 15 + 15, id="given"),
    ],
)
def test_an_operation_is_polled_until_it_is_done(policy: dict[str, Any], seconds: float) -> None:
    result, took = job_run([PENDING, PENDING, DONE], polling_policy=policy)

    assert result == {"n": 1}
    assert took == pytest.approx(seconds, abs=1e-3)


def test_polling_goes_on_after_transient_failures() -> None:
    result, took = job_run([{"status": 503}, {"status": 502}, DONE])

    assert result == {"n": 1}
    assert took == pytest.approx(1 + 1 + 1.25, abs=1e-3)


def test_skipped_polling_gives_the_operation() -> None:
    assert job_run([DONE], skip_polling=True)[0] == {"name": OPERATION}


def test_a_failed_operation_is_an_operation_error() -> None:
    failed = {"name": OPERATION, "done": True, "error": {"code": 3, "message": "no such image"}}

    error, _ = job_run([ok(failed)])

    assert error["tags"] == ["OperationError"]
    assert "no such image" in error["message"]
    assert error["operation"] == failed
    assert error["error"] == failed["error"]


@pytest.mark.parametrize("answer", [ok([1]), ok({"done": True}), {"status": 200, "body": "what?"}])
def test_an_answer_that_is_no_operation_is_a_response_type_error(answer: dict[str, Any]) -> None:
    assert "ResponseTypeError" in job_run([answer])[0]["tags"]


def test_an_operation_that_takes_too_long_is_a_timeout_error() -> None:
    error, took = job_run([PENDING], timeout=100)

    assert error == {"message": "the connector call timed out", "tags": ["TimeoutError", "OSError"]}
    assert took == pytest.approx(100, abs=1e-3)


@pytest.mark.parametrize(
    ("params", "tag"),
    [
        ({"timeout": 31_536_001}, "ValueError"),
        ({"timeout": "1"}, "TypeError"),
        ({"retries": 1}, "ValueError"),
        ({"polling_policy": {"delay": 1}}, "ValueError"),
        ({"polling_policy": {"multiplier": 0}}, "ValueError"),
        ({"polling_policy": 1}, "TypeError"),
        ({"skip_polling": "yes"}, "TypeError"),
        ({"scopes": 1}, "TypeError"),
    ],
)
def test_wrong_connector_params_raise(params: dict[str, Any], tag: str) -> None:
    assert tag in job_run([DONE], **params)[0]["tags"]


def test_a_compute_operation_is_looked_at_by_its_link() -> None:
    link = "/compute/v1/projects/p/zones/z/operations/o"
    start = {"name": "o", "status": "RUNNING", "selfLink": f"https://www.googleapis.com{link}"}
    failed = {
        **start,
        "status": "DONE",
        "error": {"errors": [{"code": "RESOURCE_EXHAUSTED", "message": "no capacity"}]},
    }

    async def scenario(cloud: Cloud) -> tuple[Any, Any]:
        routes = [
            {"path": "/compute/v1/projects/p/zones/z/instances", "responses": [ok(start)]},
            {"path": link, "responses": [ok(start), ok({**start, "status": "DONE"}), ok(failed)]},
        ]
        async with stub_server(routes, cloud) as url:
            cloud.workflows = Workflows(replace(cloud.context, http_url=url))
            insert = request("googleapis.compute.v1.instances.insert", project="p", zone="z", body={"name": "i"})
            return await cloud.result(insert), await cloud.result(insert)

    done, error = on_cloud(scenario)

    assert done["status"] == "DONE"
    assert "no capacity" in error["message"]
    assert error["operation"]["name"] == "o"


def test_an_api_that_nobody_serves_is_an_http_error() -> None:
    async def scenario(cloud: Cloud) -> Any:
        async with stub_server([{"path": "/else", "responses": [ok({})]}], cloud) as url:
            cloud.workflows = Workflows(replace(cloud.context, http_url=url))
            args = {"name": "projects/p/locations/l/batches/b"}
            return await cloud.result(request("googleapis.dataproc.v1.projects.locations.batches.get", **args))

    error = on_cloud(scenario)

    assert (error["code"], error["tags"]) == (404, ["HttpError"])


def test_only_get_is_tried_again_after_a_bad_gateway() -> None:
    route = {"path": "/{tail:.*}", "responses": [{"status": 502}, ok({"n": 1})]}

    assert connector_call("googleapis.storage.v1.objects.list", [route], bucket="b") == {"n": 1}
    assert connector_call("googleapis.storage.v1.objects.delete", [route], bucket="b", object="o")["code"] == 502
