"""Can workflows be deployed, changed and deleted with Google's own client?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import workflows_v1
from google.longrunning import operations_pb2, operations_pb2_grpc

from localcloud.workflows import operations
from localcloud.workflows.definitions import MAX_REVISIONS
from tests.localcloud.workflows.served import SLEEPER, Served, on_wire
from tests.localcloud.workflows.workflows_cloud import Cloud, on_cloud

PARENT = "projects/demo/locations/us-central1"
NAME = f"{PARENT}/workflows/flow"
ONE, TWO = "- out:\n    return: 1\n", "- out:\n    return: 2\n"


def with_client(use: Callable[[workflows_v1.WorkflowsClient, Served], Any], *, transport: str) -> Any:
    """What `use` gives, called in a thread with the real client."""
    found = []

    async def scenario(both: Served) -> None:
        if transport == "rest":
            client = workflows_v1.WorkflowsClient(
                transport="rest", credentials=AnonymousCredentials(), client_options={"api_endpoint": both.url}
            )
            found.append(await asyncio.to_thread(use, client, both))
            return
        with grpc.insecure_channel(both.grpc_address) as channel:
            kind = workflows_v1.services.workflows.transports.WorkflowsGrpcTransport
            client = workflows_v1.WorkflowsClient(transport=kind(channel=channel))
            found.append(await asyncio.to_thread(use, client, both))

    on_wire(scenario)
    return found[0]


def flow(**fields: Any) -> workflows_v1.Workflow:
    return workflows_v1.Workflow(**{"source_contents": ONE, **fields})


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_workflow_lives_from_create_to_delete(transport: str) -> None:
    def use(client: workflows_v1.WorkflowsClient, both: Served) -> None:
        made = client.create_workflow(
            parent=PARENT,
            workflow=flow(description="mine", labels={"team": "a"}, user_env_vars={"A": "1"}),
            workflow_id="flow",
        )
        created = made.result(timeout=10)
        both.cloud.clock.advance(seconds=10)
        changed = client.update_workflow(
            workflow=workflows_v1.Workflow(name=NAME, source_contents=TWO), update_mask={"paths": ["source_contents"]}
        ).result(timeout=10)

        assert made.metadata.verb == "create"
        assert made.metadata.target == NAME
        assert created.name == NAME
        assert created.state is workflows_v1.Workflow.State.ACTIVE
        assert created.revision_id.startswith("000001-")
        assert created.service_account == "projects/demo/serviceAccounts/workflows@demo.iam.gserviceaccount.com"
        assert changed.revision_id.startswith("000002-")
        assert (changed.source_contents, changed.description, dict(changed.labels)) == (TWO, "mine", {"team": "a"})
        assert changed.create_time == created.create_time
        assert (changed.update_time - created.update_time).total_seconds() == 10
        assert changed.revision_create_time == changed.update_time
        old = client.get_workflow(request={"name": NAME, "revision_id": created.revision_id})
        assert old.source_contents == ONE
        revisions = [
            each.revision_id for each in client.list_workflow_revisions(request={"name": NAME, "page_size": 1})
        ]
        assert revisions == [changed.revision_id, created.revision_id]

        client.delete_workflow(name=NAME).result(timeout=10)
        with pytest.raises(exceptions.NotFound):
            client.get_workflow(name=NAME)

    with_client(use, transport=transport)


def test_only_what_a_revision_holds_makes_a_new_one() -> None:
    def use(client: workflows_v1.WorkflowsClient, _: Served) -> list[str]:
        client.create_workflow(parent=PARENT, workflow=flow(), workflow_id="flow").result()
        revisions = []
        for path, value in (
            ("description", "new"),
            ("labels", {"a": "b"}),
            ("user_env_vars", {"A": "1"}),
            ("service_account", "other@demo.iam.gserviceaccount.com"),
        ):
            wanted = workflows_v1.Workflow(name=NAME, **{path: value})
            changed = client.update_workflow(workflow=wanted, update_mask={"paths": [path]}).result()
            revisions.append(changed.revision_id[:6])
        return revisions

    assert with_client(use, transport="grpc") == ["000001", "000001", "000002", "000003"]


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_source_that_cannot_be_built_fails_its_operation(transport: str) -> None:
    def use(client: workflows_v1.WorkflowsClient, _: Served) -> None:
        broken = flow(source_contents="- out:\n    return: ${x}\n")
        with pytest.raises(exceptions.InvalidArgument, match="symbol 'x' is neither a variable"):
            client.create_workflow(parent=PARENT, workflow=broken, workflow_id="flow").result(timeout=10)
        with pytest.raises(exceptions.NotFound):
            client.get_workflow(name=NAME)

    with_client(use, transport=transport)


@pytest.mark.parametrize(
    ("fields", "workflow_id", "refusal"),
    [
        pytest.param({}, "1flow", exceptions.InvalidArgument, id="id"),
        pytest.param({}, "there", exceptions.AlreadyExists, id="one that is there"),
        pytest.param({"source_contents": ""}, "flow", exceptions.InvalidArgument, id="no source"),
        pytest.param({"source_contents": "#" * 131_073}, "flow", exceptions.InvalidArgument, id="source over 128 KB"),
        pytest.param({"description": "x" * 1001}, "flow", exceptions.InvalidArgument, id="long description"),
        pytest.param({"labels": {"A": "b"}}, "flow", exceptions.InvalidArgument, id="label key"),
        pytest.param({"labels": {"a": "b" * 64}}, "flow", exceptions.InvalidArgument, id="label value"),
        pytest.param({"user_env_vars": {"GOOGLE_A": "b"}}, "flow", exceptions.InvalidArgument, id="reserved variable"),
        pytest.param({"user_env_vars": {f"A{i}": "" for i in range(21)}}, "flow", exceptions.InvalidArgument, id="21"),
        pytest.param({"user_env_vars": {"A": "x" * 4097}}, "flow", exceptions.InvalidArgument, id="long variable"),
        pytest.param({"service_account": "a/b"}, "flow", exceptions.InvalidArgument, id="service account"),
    ],
)
def test_a_wrong_workflow_is_refused_at_once(fields: Any, workflow_id: str, refusal: type[Exception]) -> None:
    def use(client: workflows_v1.WorkflowsClient, both: Served) -> None:
        client.create_workflow(parent=PARENT, workflow=flow(), workflow_id="there").result()
        with pytest.raises(refusal):
            client.create_workflow(parent=PARENT, workflow=flow(**fields), workflow_id=workflow_id)

    with_client(use, transport="grpc")


def test_updates_of_what_is_not_there_or_cannot_change_are_refused() -> None:
    def use(client: workflows_v1.WorkflowsClient, _: Served) -> None:
        with pytest.raises(exceptions.NotFound):
            client.update_workflow(workflow=flow(name=NAME))
        client.create_workflow(parent=PARENT, workflow=flow(), workflow_id="flow").result()
        with pytest.raises(exceptions.InvalidArgument, match="revision_id"):
            client.update_workflow(workflow=flow(name=NAME), update_mask={"paths": ["revision_id"]})

    with_client(use, transport="grpc")


def test_workflows_are_filtered_ordered_and_paged_without_their_sources() -> None:
    def use(client: workflows_v1.WorkflowsClient, both: Served) -> None:
        for number in range(3):
            wanted = flow(labels={"odd": str(number % 2)})
            client.create_workflow(parent=PARENT, workflow=wanted, workflow_id=f"flow{number}").result()
            both.cloud.clock.advance(seconds=1)

        def names(**request: Any) -> list[str]:
            return [each.name[-1] for each in client.list_workflows(request={"parent": PARENT, **request})]

        assert names(page_size=2) == ["0", "1", "2"]
        assert names(order_by="createTime desc") == ["2", "1", "0"]
        assert names(filter='labels.odd="0"') == ["0", "2"]
        assert names(filter="name=flow1 OR name=flow2") == ["1", "2"]
        assert [each.source_contents for each in client.list_workflows(parent=PARENT)] == [""] * 3
        assert list(client.list_workflows(parent="projects/demo/locations/else")) == []

    with_client(use, transport="rest")


@pytest.mark.parametrize("mask", ["sourceContents", "source_contents", "*", ""])
def test_a_mask_is_taken_in_either_case(mask: str) -> None:
    async def scenario(both: Served) -> None:
        parent = both.cloud.deploy(ONE)

        status, _ = await both.rest("PATCH", f"{parent}?updateMask={mask}", json={"sourceContents": TWO})

        assert status == 200
        assert both.cloud.workflows.workflow(parent).spec.source == TWO

    on_wire(scenario)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "workflows?workflowId=x", '{"sourceContents": "\\ud800"}'),
        ("POST", "workflows?workflowId=x", '{"sourceContents": "a", "userEnvVars": {"A": 1}}'),
        ("POST", "workflows?workflowId=x", "[]"),
        ("POST", "workflows?workflowId=x", b"\xff\xfe"),
        ("POST", "workflows", '{"sourceContents": "- a:\\n    next: end"}'),
        ("GET", "workflows?colour=red", None),
        ("GET", "workflows?pageToken=abc", None),
        ("GET", "workflows?orderBy=colour", None),
        ("GET", "workflows?pageSize=99999999999999", None),
        ("GET", "operations?pageSize=-1", None),
    ],
)
def test_a_malformed_request_is_an_invalid_argument(method: str, path: str, body: Any) -> None:
    async def scenario(both: Served) -> None:
        status, answer = await both.rest(method, f"{PARENT}/{path}", data=body)

        assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")

    on_wire(scenario)


def test_deleting_a_workflow_cancels_and_deletes_its_executions() -> None:
    async def scenario(both: Served) -> None:
        parent = both.cloud.deploy(SLEEPER)
        name = (await both.client.create_execution(parent=parent)).name

        status, operation = await both.rest("DELETE", parent)

        assert (status, operation["done"], operation["response"]) == (
            200,
            True,
            {"@type": "type.googleapis.com/google.protobuf.Empty"},
        )
        assert both.cloud.workflows.is_idle()
        assert (await both.rest("GET", name))[0] == 404
        assert (await both.rest("DELETE", parent))[0] == 404

    on_wire(scenario)


def test_operations_are_found_listed_and_deleted() -> None:
    async def scenario(both: Served) -> None:
        body = {"sourceContents": ONE}
        _, made = await both.rest("POST", f"{PARENT}/workflows?workflowId=flow", json=body)

        assert (await both.rest("GET", made["name"]))[1] == made
        assert (await both.rest("GET", f"{PARENT}/operations?filter=verb%3Dcreate&returnPartialSuccess=false"))[1] == {
            "operations": [made]
        }
        stub = operations_pb2_grpc.OperationsStub(both.channel)
        waited = await stub.WaitOperation(operations_pb2.WaitOperationRequest(name=made["name"]))
        assert waited.done
        assert (await both.rest("DELETE", made["name"]))[0] == 200
        assert (await both.rest("GET", made["name"]))[0] == 404

    on_wire(scenario)


def test_old_revisions_and_operations_are_pruned_but_not_those_in_use() -> None:
    async def scenario(cloud: Cloud) -> None:
        source = "- nap:\n    call: sys.sleep\n    args: {{seconds: {}}}\n"
        parent = cloud.deploy(source.format(1))
        first = cloud.workflows.workflow(parent).revision
        cloud.workflows.create_execution(parent)
        for number in range(MAX_REVISIONS + 5):
            cloud.deploy(source.format(number + 2))

        kept = [each.revision for each in cloud.workflows.definitions.revisions("flow")]

        assert len(kept) == MAX_REVISIONS + 1
        assert kept[-1] == first
        assert kept[0] == cloud.workflows.workflow(parent).revision

    on_cloud(scenario)


def test_only_the_latest_operations_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "KEPT", 5)

    async def scenario(cloud: Cloud) -> None:
        for _ in range(8):
            cloud.workflows.operations.add("update", NAME, error="no")

        assert len(cloud.workflows.operations.all()) == 5

    on_cloud(scenario)
