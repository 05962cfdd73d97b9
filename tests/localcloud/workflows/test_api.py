"""Do Google's own client and the REST form see executions as the real service shows them?"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import workflows_v1
from google.cloud.workflows import executions_v1

from localcloud.faults import Fault
from localcloud.workflows import api
from localcloud.workflows.requests import TriggerRequest
from localcloud.workflows.table import METHODS, Method
from tests.localcloud.workflows.served import SLEEPER, Served, on_wire

FAILING = """
main:
  steps:
    - outer:
        call: inner
inner:
  steps:
    - look:
        return: ${json.decode("{}").b}
"""


def test_the_executions_client_starts_an_execution_and_sees_its_result() -> None:
    async def scenario(both: Served) -> None:
        parent = both.cloud.deploy(SLEEPER)

        started = await both.client.create_execution(
            parent=parent, execution=executions_v1.Execution(argument='{"n": 1}', labels={"team": "a"})
        )

        assert started.state is executions_v1.Execution.State.ACTIVE
        assert started.name.startswith(f"{parent}/executions/")
        assert started.workflow_revision_id.startswith("000001-")
        await both.cloud.until(both.cloud.waits, advance=False)
        running = await both.client.get_execution(name=started.name)
        assert [(step.routine, step.step) for step in running.status.current_steps] == [("main", "nap")]
        await both.cloud.finished(started.name)
        ended = await both.client.get_execution(name=started.name)
        assert ended.state is executions_v1.Execution.State.SUCCEEDED
        assert json.loads(ended.result) == {"n": 1}
        assert ended.duration.total_seconds() == 100
        assert dict(ended.labels) == {"team": "a"}
        assert json.loads(ended.argument) == {"n": 1}

    on_wire(scenario)


def test_the_synchronous_client_works_too() -> None:
    async def scenario(both: Served) -> None:
        parent = both.cloud.deploy("- out:\n    return: 7\n")
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(tuple(api.grpc_handlers(both.cloud.workflows)))
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()

        def call() -> str:
            with grpc.insecure_channel(address) as channel:
                transport = executions_v1.services.executions.transports.ExecutionsGrpcTransport(channel=channel)
                client = executions_v1.ExecutionsClient(transport=transport)
                return str(client.create_execution(parent=parent, timeout=10).name)

        name = await asyncio.to_thread(call)
        await server.stop(None)

        assert (await both.cloud.finished(name)).result == "7"

    on_wire(scenario)


def test_a_failure_shows_its_context_and_stack_trace() -> None:
    async def scenario(both: Served) -> None:
        parent = both.cloud.deploy(FAILING)

        name = (await both.client.create_execution(parent=parent)).name
        await both.cloud.finished(name)
        error = (await both.client.get_execution(name=name)).error

        assert error.context == (
            "KeyError: key not found: b\n"
            'in step "look", routine "inner", line: 9\n'
            'in step "outer", routine "main", line: 4'
        )
        assert json.loads(error.payload) == {
            "message": "KeyError: key not found: b",
            "tags": ["KeyError", "LookupError"],
        }
        trace = [(each.routine, each.step, each.position.line) for each in error.stack_trace.elements]
        assert trace == [("inner", "look", 9), ("main", "outer", 4)]

    on_wire(scenario)


def test_cancelling_stops_an_execution_at_its_wait() -> None:
    async def scenario(both: Served) -> None:
        name = (await both.client.create_execution(parent=both.cloud.deploy(SLEEPER))).name

        cancelled = await both.client.cancel_execution(name=name)

        assert cancelled.state is executions_v1.Execution.State.CANCELLED
        await both.cloud.until(lambda: not both.cloud.waits(), advance=False)
        with pytest.raises(exceptions.FailedPrecondition):
            await both.client.cancel_execution(name=name)
        assert (await both.client.get_execution(name=name)).state is executions_v1.Execution.State.CANCELLED

    on_wire(scenario)


@pytest.mark.parametrize(
    ("argument", "workflow", "refusal"),
    [
        pytest.param("{", "flow", exceptions.InvalidArgument, id="argument that is not JSON"),
        pytest.param(json.dumps("x" * 40_000), "flow", exceptions.InvalidArgument, id="argument over 32 KB"),
        pytest.param("{}", "other", exceptions.NotFound, id="unknown workflow"),
    ],
)
def test_a_bad_create_is_refused(argument: str, workflow: str, refusal: type[Exception]) -> None:
    async def scenario(both: Served) -> None:
        both.cloud.deploy(SLEEPER)
        with pytest.raises(refusal):
            await both.client.create_execution(
                parent=both.cloud.workflows.resource_name(workflow),
                execution=executions_v1.Execution(argument=argument),
            )

    on_wire(scenario)


@pytest.mark.parametrize(("action", "left"), [("fail", 0), ("fail_after", 1)])
def test_a_fault_answers_before_or_after_the_execution_exists(action: Any, left: int) -> None:
    async def scenario(both: Served) -> None:
        parent = both.cloud.deploy(SLEEPER)
        both.cloud.context.faults.add(Fault("workflows.executions.create", "flow", action))

        with pytest.raises(exceptions.ServiceUnavailable):
            await both.client.create_execution(parent=parent)

        assert len(list(both.cloud.workflows.newest(parent))) == left

    on_wire(scenario)


def test_the_list_is_paged_filtered_and_the_latest_first() -> None:
    async def scenario(both: Served) -> None:
        parent = both.cloud.deploy(SLEEPER)
        names = []
        for _ in range(5):
            names.append((await both.client.create_execution(parent=parent)).name)
            both.cloud.clock.advance(seconds=1)
        await both.client.cancel_execution(name=names[0])

        pages = [page async for page in (await both.client.list_executions({"parent": parent, "page_size": 2})).pages]
        active = await both.client.list_executions(
            {"parent": parent, "filter": 'state="ACTIVE"', "order_by": "createTime"}
        )

        assert [[each.name for each in page.executions] for page in pages] == [
            [names[4], names[3]],
            [names[2], names[1]],
            [names[0]],
        ]
        assert [each.name async for each in active] == names[1:]
        with pytest.raises(exceptions.InvalidArgument, match="colour"):
            await both.client.list_executions({"parent": parent, "filter": 'colour="red"'})
        with pytest.raises(exceptions.InvalidArgument, match="another list"):
            await both.client.list_executions(
                {"parent": parent, "page_token": pages[0].next_page_token, "order_by": "state"}
            )

    on_wire(scenario)


def test_the_basic_view_leaves_argument_and_result_out() -> None:
    async def scenario(both: Served) -> None:
        parent = both.cloud.deploy("main:\n  params: [a]\n  steps:\n    - out:\n        return: 1\n")
        created = await both.client.create_execution(parent=parent, execution=executions_v1.Execution(argument="{}"))
        await both.cloud.finished(created.name)

        (listed,) = [each async for each in await both.client.list_executions(parent=parent)]

        assert (listed.argument, listed.result) == ("", "")
        assert listed.state is executions_v1.Execution.State.SUCCEEDED

    on_wire(scenario)


def test_rest_speaks_the_json_of_the_discovery_document() -> None:
    async def scenario(both: Served) -> None:
        parent = both.cloud.deploy(FAILING)

        status, created = await both.rest(
            "POST", f"{parent}/executions", json={"callLogLevel": "LOG_ERRORS_ONLY", "labels": {"a": "b"}}
        )
        await both.cloud.finished(created["name"])
        _, ended = await both.rest("GET", created["name"])

        assert status == 200
        assert created["state"] == "ACTIVE"
        assert ended["createTime"] == "2023-11-14T22:13:20Z"
        assert ended["callLogLevel"] == "LOG_ERRORS_ONLY"
        assert ended["error"]["stackTrace"]["elements"][0]["position"]["line"] == "9"
        _, listed = await both.rest("GET", f"{parent}/executions?filter=state%3DFAILED")
        assert [each["name"] for each in listed["executions"]] == [created["name"]]

    on_wire(scenario)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "workflows/flow/executions/none", None, 404, "NOT_FOUND"),
        ("GET", "workflows/none/executions", None, 404, "NOT_FOUND"),
        ("GET", "workflows/flow/executions?pageSize=many", None, 400, "INVALID_ARGUMENT"),
        ("GET", "workflows/flow/executions?view=ALL", None, 400, "INVALID_ARGUMENT"),
        ("POST", "workflows/flow/executions", "{", 400, "INVALID_ARGUMENT"),
        ("POST", "workflows/flow/executions", '{"a":' + "[" * 100_000, 400, "INVALID_ARGUMENT"),
        ("POST", "workflows/flow/executions", " " * (api.MAX_BODY_BYTES + 1), 400, "INVALID_ARGUMENT"),
    ],
)
def test_rest_refuses_with_googles_error_shape(
    method: str, path: str, body: str | None, status: int, code: str
) -> None:
    async def scenario(both: Served) -> None:
        base = both.cloud.deploy(SLEEPER).removesuffix("workflows/flow")

        answer = await both.rest(method, base + path, data=body)

        assert answer[0] == status
        assert answer[1]["error"]["status"] == code

    on_wire(scenario)


def test_the_workflows_client_finds_what_is_deployed() -> None:
    async def scenario(both: Served) -> None:
        name = both.cloud.deploy(SLEEPER, env={"SIZE": "2"})
        transport = workflows_v1.services.workflows.transports.WorkflowsGrpcAsyncIOTransport(channel=both.channel)
        client = workflows_v1.WorkflowsAsyncClient(transport=transport)

        found = await client.get_workflow(name=name)

        assert found.source_contents == SLEEPER
        assert dict(found.user_env_vars) == {"SIZE": "2"}
        listed = [each.name async for each in await client.list_workflows(parent=name.partition("/workflows")[0])]
        assert listed == [name]

    on_wire(scenario)


def test_labels_and_levels_are_the_workflows_unless_the_execution_has_its_own() -> None:
    async def scenario(both: Served) -> None:
        parent = both.cloud.deploy("- out:\n    return: 1\n", labels={"team": "a", "env": "x"}, call_log_level=1)

        _, created = await both.rest(
            "POST",
            f"{parent}/executions",
            json={"labels": {"env": "y"}, "executionHistoryLevel": "EXECUTION_HISTORY_DETAILED"},
        )

        assert created["labels"] == {"team": "a", "env": "y"}
        assert created["callLogLevel"] == "LOG_ALL_CALLS"
        assert created["executionHistoryLevel"] == "EXECUTION_HISTORY_DETAILED"
        for body in ({"labels": {"Team": "a"}}, {"executionHistoryLevel": "ALL"}, {"colour": "red"}, [1]):
            assert (await both.rest("POST", f"{parent}/executions", json=body))[0] == 400

    on_wire(scenario)


def test_a_push_message_starts_an_execution_with_its_event() -> None:
    async def scenario(both: Served) -> None:
        parent = both.cloud.deploy("main:\n  params: [e]\n  steps:\n    - out:\n        return: ${e}\n")
        message = {"data": "aGk=", "messageId": "7", "publishTime": "2026-01-01T00:00:00Z"}
        attributes = {"ce-id": "1", "ce-source": "//s", "ce-type": "t"}

        results = []
        for sent in (message, {**message, "data": "eyJhIjoxfQ==", "attributes": attributes}):
            body = {
                "message": sent,
                "subscription": "projects/p/subscriptions/s",
                "GCPCloudEventsMode": "CE_PUBSUB_BINDING",
            }
            _, started = await both.rest("POST", f"{parent}:triggerPubsubExecution", json=body)
            results.append(json.loads((await both.cloud.finished(started["name"])).result or ""))

        published, event = results
        assert published["type"] == "google.cloud.pubsub.topic.v1.messagePublished"
        assert published["data"]["message"] == message
        assert event == {"specversion": "1.0", "id": "1", "source": "//s", "type": "t", "data": {"a": 1}}
        bad = {"message": {"data": "?"}, "subscription": "s"}
        assert (await both.rest("POST", f"{parent}:triggerPubsubExecution", json=bad))[0] == 400
        assert (await both.rest("POST", f"{parent}:triggerPubsubExecution", json={}))[0] == 400

    on_wire(scenario)


@pytest.mark.parametrize("method", [each for each in METHODS if each.path], ids=lambda each: each.fault)
def test_every_method_has_a_fault_point(method: Method) -> None:
    async def scenario(both: Served) -> None:
        both.cloud.context.faults.add(Fault(f"workflows.{method.fault}", status=503))
        path = re.sub(r"\{[\w.]+=([^}]+)\}", r"\1", method.path).replace("*", "x")

        body = {"message": {}, "subscription": ""} if method.kind is TriggerRequest else {}
        status, answer = await both.rest(method.verb, path, json=body if method.body else None)

        assert (status, answer["error"]["status"]) == (503, "UNAVAILABLE")
        assert not both.cloud.context.faults.standing()

    on_wire(scenario)


CALLER = """
main:
  steps:
    - run:
        call: googleapis.workflowexecutions.v1.projects.locations.workflows.executions.run
        args:
          workflow_id: child
          argument: {n: 20}
        result: r
    - out:
        return: ${r}
"""


def test_the_run_connector_waits_for_the_child_and_gives_its_decoded_result() -> None:
    async def scenario(both: Served) -> None:
        child = "main:\n  params: [a]\n  steps:\n    - nap:\n        call: sys.sleep\n        args: {seconds: 3}\n"
        both.cloud.deploy(child + "    - out:\n        return: {got: '${a.n + 1}'}\n", name="child")

        assert await both.cloud.result(CALLER) == {"got": 21}

    on_wire(scenario)


def test_the_run_connector_raises_operation_error_when_the_child_fails() -> None:
    async def scenario(both: Served) -> None:
        both.cloud.deploy("- bad:\n    raise: broken\n", name="child")

        payload = await both.cloud.error(CALLER)

        assert "OperationError" in payload["tags"]
        assert payload["operation"]["error"]["payload"] == '"broken"'

    on_wire(scenario)
