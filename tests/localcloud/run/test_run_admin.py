"""Does Google's own client see, change and run what is deployed, over both wires?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound, ServiceUnavailable
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.longrunning import operations_pb2

from localcloud.faults import Fault
from localcloud.run import jobs as rules
from tests.localcloud.run.run_bench import SERVICE, Bench, until

PARENT = "projects/local/locations/us-central1"
WAIT = "import os, pathlib, time\nwhile not pathlib.Path(os.environ['FILES'], 'go').exists(): time.sleep(0.005)"
CLIENTS = {
    "services": run_v2.ServicesClient,
    "revisions": run_v2.RevisionsClient,
    "jobs": run_v2.JobsClient,
    "executions": run_v2.ExecutionsClient,
    "tasks": run_v2.TasksClient,
}


class Clients:
    """The clients of all services over one wire."""

    services: run_v2.ServicesClient
    revisions: run_v2.RevisionsClient
    jobs: run_v2.JobsClient
    executions: run_v2.ExecutionsClient
    tasks: run_v2.TasksClient

    def __init__(self, bench: Bench, wire: str) -> None:
        for name, kind in CLIENTS.items():
            if wire == "rest":
                options = {"api_endpoint": bench.gateway.http_url}
                client = kind(credentials=AnonymousCredentials(), transport="rest", client_options=options)
            else:
                channel = grpc.insecure_channel(bench.gateway.grpc_address)
                client = kind(transport=kind.get_transport_class("grpc")(channel=channel))
            setattr(self, name, client)


@pytest.fixture(params=["rest", "grpc"])
def clients(bench: Bench, request: pytest.FixtureRequest) -> Clients:
    return Clients(bench, request.param)


@pytest.fixture
def client(clients: Clients) -> run_v2.ServicesClient:
    return clients.services


def container(bench: Bench, script: str, **fields: Any) -> run_v2.Container:
    return run_v2.Container(
        image="registry.example/image",
        command=[sys.executable, "-S"],
        args=["-c", script],
        env=[run_v2.EnvVar(name="FILES", value=str(bench.files))],
        working_dir=str(bench.files),
        **fields,
    )


def a_service(bench: Bench, **fields: Any) -> run_v2.Service:
    template = run_v2.RevisionTemplate(containers=[container(bench, SERVICE)], **fields)
    return run_v2.Service(template=template, invoker_iam_disabled=True, labels={"team": "a"})


def a_job(bench: Bench, script: str = "print('done')", **task: Any) -> run_v2.Job:
    template = run_v2.TaskTemplate(containers=[container(bench, script)], **task)
    return run_v2.Job(template=run_v2.ExecutionTemplate(task_count=2, template=template))


def test_a_service_is_described_as_deployed(bench: Bench, client: run_v2.ServicesClient):
    bench.deploy("infer", concurrency=4, max_instances=3, min_instances=1, timeout_s=60, public=False)

    service = client.get_service(name=f"{PARENT}/services/infer")

    assert service.name == f"{PARENT}/services/infer"
    assert service.uri == f"{bench.gateway.http_url}/run/infer"
    assert service.template.max_instance_request_concurrency == 4
    assert (service.template.scaling.min_instance_count, service.template.scaling.max_instance_count) == (1, 3)
    assert service.template.timeout.seconds == 60
    assert service.terminal_condition.state == run_v2.Condition.State.CONDITION_SUCCEEDED
    assert [variable.name for variable in service.template.containers[0].env] == ["FILES"]
    assert service.template.containers[0].env[0].value == ""
    assert not service.invoker_iam_disabled


def test_services_are_listed_by_page(bench: Bench, client: run_v2.ServicesClient):
    for name in ("infer", "preprocess", "again"):
        bench.deploy(name)

    pager = client.list_services(run_v2.ListServicesRequest(parent=PARENT, page_size=2))

    assert [service.name.rpartition("/")[2] for service in pager] == ["again", "infer", "preprocess"]


@pytest.mark.parametrize("name", [f"{PARENT}/services/none", "projects/other/locations/us-central1/services/infer"])
def test_a_service_that_is_not_there_is_not_found(bench: Bench, client: run_v2.ServicesClient, name: str):
    bench.deploy("infer")

    with pytest.raises(NotFound):
        client.get_service(name=name)


def test_a_service_is_created_called_changed_and_deleted(bench: Bench, clients: Clients):
    name = f"{PARENT}/services/mine"
    created = clients.services.create_service(parent=PARENT, service_id="mine", service=a_service(bench)).result()
    first = bench.get(service="mine").json()

    changed = clients.services.get_service(name=name)
    changed.template.containers[0].env.append(run_v2.EnvVar(name="VERSION", value="2"))
    clients.services.update_service(service=changed).result()
    second = bench.get(service="mine").json()
    revisions = [each.name.rpartition("/")[2] for each in clients.revisions.list_revisions(parent=name)]

    assert (created.uri, created.labels["team"]) == (f"{bench.gateway.http_url}/run/mine", "a")
    assert created.template.containers[0].image == "registry.example/image"
    assert "VERSION" not in first["env"]
    assert (second["env"]["VERSION"], second["env"]["FILES"]) == ("2", str(bench.files))
    assert revisions == [second["env"]["K_REVISION"], first["env"]["K_REVISION"]]
    one = clients.revisions.get_revision(name=f"{name}/revisions/{revisions[1]}")
    assert [variable.name for variable in one.containers[0].env] == ["FILES"]

    clients.services.delete_service(name=name).result()
    with pytest.raises(NotFound):
        clients.services.get_service(name=name)
    assert bench.get(service="mine").status == 404


def test_a_mask_changes_the_fields_it_names(bench: Bench, clients: Clients):
    clients.services.create_service(parent=PARENT, service_id="mine", service=a_service(bench)).result()
    wanted = run_v2.Service(name=f"{PARENT}/services/mine", labels={"team": "b"})

    request = run_v2.UpdateServiceRequest(service=wanted, update_mask={"paths": ["labels"]})
    changed = clients.services.update_service(request).result()

    assert dict(changed.labels) == {"team": "b"}
    assert list(changed.template.containers[0].command) == [sys.executable, "-S"]
    assert changed.latest_ready_revision.rpartition("-")[0].endswith("mine-00001")


def test_what_somebody_changed_meanwhile_is_neither_changed_nor_deleted(bench: Bench, clients: Clients):
    service = clients.services.create_service(parent=PARENT, service_id="mine", service=a_service(bench)).result()
    job = clients.jobs.create_job(parent=PARENT, job_id="crunch", job=a_job(bench)).result()
    service.labels["team"] = job.labels["team"] = "b"
    clients.services.update_service(service=service).result()
    clients.jobs.update_job(job=job).result()
    stale = r"Conflict for resource 'mine': version '.+' was specified but current version is '.+'\."

    with pytest.raises(Conflict, match=stale):
        clients.services.update_service(service=service)
    with pytest.raises(Conflict, match=stale):
        clients.services.delete_service(run_v2.DeleteServiceRequest(name=service.name, etag=service.etag))
    with pytest.raises(Conflict, match="Conflict for resource 'crunch'"):
        clients.jobs.update_job(job=job)
    with pytest.raises(Conflict, match="Conflict for resource 'crunch'"):
        clients.jobs.delete_job(run_v2.DeleteJobRequest(name=job.name, etag=job.etag))

    assert clients.services.get_service(name=service.name).generation == 2
    assert clients.jobs.get_job(name=job.name).generation == 2


def test_probes_come_back_as_they_were_set(bench: Bench, clients: Clients):
    service = a_service(bench)
    probed = service.template.containers[0]
    probed.startup_probe = run_v2.Probe(http_get={"path": "/ready"}, period_seconds=20, failure_threshold=3)
    probed.liveness_probe = run_v2.Probe(http_get={"path": "/alive"}, period_seconds=5, failure_threshold=2)

    created = clients.services.create_service(parent=PARENT, service_id="mine", service=service).result()

    started, lives = created.template.containers[0].startup_probe, created.template.containers[0].liveness_probe
    assert (started.http_get.path, started.period_seconds * started.failure_threshold) == ("/ready", 60)
    assert (lives.http_get.path, lives.period_seconds, lives.failure_threshold) == ("/alive", 5, 2)


def test_what_only_validates_changes_nothing(bench: Bench, clients: Clients):
    request = run_v2.CreateServiceRequest(
        parent=PARENT, service_id="mine", service=a_service(bench), validate_only=True
    )
    clients.services.create_service(request)

    assert list(clients.services.list_services(parent=PARENT)) == []


def test_a_name_is_given_once(bench: Bench, clients: Clients):
    bench.deploy("mine")

    with pytest.raises(Conflict, match="already exists"):
        clients.services.create_service(parent=PARENT, service_id="mine", service=a_service(bench))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda it: it.template.containers[0].command.clear(), r"containers\[0\].command is empty", id="image"
        ),
        pytest.param(lambda it: it.template.containers.clear(), "containers has 0 entries", id="no container"),
        pytest.param(lambda it: setattr(it.template.containers[0], "working_dir", "/none"), "working_dir is", id="cwd"),
        pytest.param(lambda it: setattr(it.template.scaling, "min_instance_count", 101), "min_instances is", id="min"),
        pytest.param(
            lambda it: setattr(it.template.containers[0], "liveness_probe", run_v2.Probe(grpc={"port": 1})),
            "liveness_probe.grpc is not supported",
            id="probe",
        ),
    ],
)
def test_what_cannot_run_here_is_refused_with_the_field(bench: Bench, clients: Clients, change: Any, message: str):
    service = a_service(bench)
    change(service)

    with pytest.raises(BadRequest, match=message):
        clients.services.create_service(parent=PARENT, service_id="mine", service=service)


def test_a_policy_is_kept(bench: Bench, clients: Clients):
    bench.deploy("mine")
    policy = policy_pb2.Policy(bindings=[policy_pb2.Binding(role="roles/run.invoker", members=["allUsers"])])
    resource = f"{PARENT}/services/mine"

    clients.services.set_iam_policy(iam_policy_pb2.SetIamPolicyRequest(resource=resource, policy=policy))
    kept = clients.services.get_iam_policy(iam_policy_pb2.GetIamPolicyRequest(resource=resource))
    tested = clients.services.test_iam_permissions(
        iam_policy_pb2.TestIamPermissionsRequest(resource=resource, permissions=["run.routes.invoke"])
    )

    assert [binding.role for binding in kept.bindings] == ["roles/run.invoker"]
    assert list(tested.permissions) == ["run.routes.invoke"]


def test_a_job_is_created_run_and_followed(bench: Bench, clients: Clients):
    job = clients.jobs.create_job(parent=PARENT, job_id="crunch", job=a_job(bench)).result()

    execution = clients.jobs.run_job(name=job.name).result(timeout=60)

    assert (execution.task_count, execution.succeeded_count, execution.failed_count) == (2, 2, 0)
    assert not execution.reconciling
    assert execution.completion_time >= execution.start_time
    (completed,) = [each for each in execution.conditions if each.type_ == "Completed"]
    assert completed.state == run_v2.Condition.State.CONDITION_SUCCEEDED
    tasks = list(clients.tasks.list_tasks(parent=execution.name))
    assert [(task.index, task.last_attempt_result.exit_code) for task in tasks] == [(0, 0), (1, 0)]
    assert clients.tasks.get_task(name=tasks[1].name).index == 1
    described = clients.jobs.get_job(name=job.name)
    assert described.execution_count == 1
    assert described.latest_created_execution.name == execution.name.rpartition("/")[2]
    assert [each.name for each in clients.executions.list_executions(parent=job.name)] == [execution.name]


def test_a_page_of_executions_reads_what_it_shows_and_one_more(
    bench: Bench, clients: Clients, monkeypatch: pytest.MonkeyPatch
):
    made = []
    for name in ("crunch", "munch", "crunch"):
        with suppress(Conflict):
            clients.jobs.create_job(parent=PARENT, job_id=name, job=a_job(bench)).result()
        made.insert(0, clients.jobs.run_job(name=f"{PARENT}/jobs/{name}").result(timeout=60).name)
        bench.context.clock.advance(seconds=1)
    read: list[str] = []
    decode = rules.decode

    def noting(data: bytes, kind: type[Any]) -> Any:
        record = decode(data, kind)
        read.extend([record.name] if kind is rules.Execution else [])
        return record

    monkeypatch.setattr(rules, "decode", noting)

    of_one = clients.executions.list_executions({"parent": f"{PARENT}/jobs/crunch", "page_size": 1})
    first = next(of_one.pages)
    assert ([each.name for each in first.executions], len(read)) == ([made[0]], 2)
    of_all = clients.executions.list_executions({"parent": f"{PARENT}/jobs/-", "page_size": 1})
    assert [[each.name for each in page.executions] for page in of_all.pages] == [[name] for name in made]
    assert [each.name for each in clients.executions.list_executions(parent=f"{PARENT}/jobs/crunch")] == made[::2]
    clients.jobs.delete_job(name=f"{PARENT}/jobs/crunch").result()
    assert bench.context.store.count("run.executions.newest") == 1
    with pytest.raises(BadRequest, match="page_token"):
        clients.executions.list_executions({"parent": f"{PARENT}/jobs/-", "page_token": "x"})


def test_a_failed_execution_says_why(bench: Bench, clients: Clients):
    job = a_job(bench, "raise SystemExit(3)", max_retries=0)
    name = clients.jobs.create_job(parent=PARENT, job_id="crunch", job=job).result().name

    execution = clients.jobs.run_job(name=name).result(timeout=60)

    (completed,) = [each for each in execution.conditions if each.type_ == "Completed"]
    assert (execution.failed_count, completed.state) == (2, run_v2.Condition.State.CONDITION_FAILED)
    assert completed.execution_reason == run_v2.Condition.ExecutionReason.NON_ZERO_EXIT_CODE
    assert completed.message.endswith("-task0 failed with message: The container exited with an error.")
    task = next(iter(clients.tasks.list_tasks(parent=execution.name)))
    assert task.last_attempt_result.exit_code == 3


def test_an_execution_may_differ_from_its_job(bench: Bench, clients: Clients):
    name = clients.jobs.create_job(parent=PARENT, job_id="crunch", job=a_job(bench)).result().name
    overrides = run_v2.RunJobRequest.Overrides(
        task_count=1,
        container_overrides=[run_v2.RunJobRequest.Overrides.ContainerOverride(args=["-c", "raise SystemExit(0)"])],
    )

    execution = clients.jobs.run_job(run_v2.RunJobRequest(name=name, overrides=overrides)).result(timeout=60)

    assert execution.task_count == 1
    assert list(execution.template.containers[0].args) == ["-c", "raise SystemExit(0)"]
    assert list(clients.jobs.get_job(name=name).template.template.containers[0].args)[1] == "print('done')"


def test_an_execution_is_cancelled(bench: Bench, clients: Clients):
    name = clients.jobs.create_job(parent=PARENT, job_id="crunch", job=a_job(bench, WAIT)).result().name
    operation = clients.jobs.run_job(name=name)
    execution = operation.metadata.name
    until(lambda: clients.executions.get_execution(name=execution).running_count == 2)

    clients.executions.cancel_execution(name=execution).result()

    ended = operation.result(timeout=60)
    assert (ended.cancelled_count, ended.succeeded_count) == (2, 0)
    with pytest.raises(BadRequest, match="already completed"):
        clients.executions.cancel_execution(name=execution)
    clients.executions.delete_execution(name=execution).result()
    with pytest.raises(NotFound):
        clients.executions.get_execution(name=execution)


def test_an_operation_is_waited_for(bench: Bench, clients: Clients):
    name = clients.jobs.create_job(parent=PARENT, job_id="crunch", job=a_job(bench, WAIT)).result().name
    operation = clients.jobs.run_job(name=name).operation.name
    wait = operations_pb2.WaitOperationRequest(name=operation)
    wait.timeout.FromMilliseconds(1)

    early = clients.jobs.wait_operation(wait)
    (bench.files / "go").touch()
    late = clients.jobs.wait_operation(operations_pb2.WaitOperationRequest(name=operation))

    # Over gRPC the client hands out the bytes of the answer.
    parsed = [operations_pb2.Operation.FromString(it) if isinstance(it, bytes) else it for it in (early, late)]
    assert [each.done for each in parsed] == [False, True]


def test_operations_are_listed_and_forgotten(bench: Bench):
    client = Clients(bench, "rest").jobs
    name = client.create_job(parent=PARENT, job_id="crunch", job=a_job(bench)).operation.name

    listed = client.list_operations(operations_pb2.ListOperationsRequest(name=PARENT)).operations
    client.delete_operation(operations_pb2.DeleteOperationRequest(name=name))

    assert [operation.name for operation in listed] == [name]
    with pytest.raises(NotFound):
        client.get_operation(operations_pb2.GetOperationRequest(name=name))


def test_a_job_is_changed_and_deleted(bench: Bench, clients: Clients):
    job = clients.jobs.create_job(parent=PARENT, job_id="crunch", job=a_job(bench)).result()
    job.template.task_count = 3

    changed = clients.jobs.update_job(job=job).result()
    listed = [each.name for each in clients.jobs.list_jobs(parent=PARENT)]
    clients.jobs.delete_job(name=job.name).result()

    assert (changed.template.task_count, changed.generation, listed) == (3, 2, [job.name])
    with pytest.raises(NotFound):
        clients.jobs.get_job(name=job.name)


def test_a_fault_hits_before_or_after_the_effect(bench: Bench, clients: Clients):
    clients.jobs.create_job(parent=PARENT, job_id="crunch", job=a_job(bench)).result()
    executions = f"{PARENT}/jobs/crunch"
    for action, expected in (("fail", 0), ("fail_after", 1)):
        bench.context.faults.add(Fault("run.jobs.run", "crunch", action=action, status=503))

        with pytest.raises(ServiceUnavailable):
            clients.jobs.run_job(name=executions)

        assert len(list(clients.executions.list_executions(parent=executions))) == expected


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[list[Bench]]:
    """Benches on one state; the last is closed at the end."""
    benches = [Bench(tmp_path)]
    yield benches
    benches[-1].close()


def test_what_was_created_through_the_api_is_there_after_a_restart(benches: list[Bench], tmp_path: Path):
    before = Clients(benches[0], "grpc")
    before.services.create_service(parent=PARENT, service_id="mine", service=a_service(benches[0])).result()
    before.jobs.create_job(parent=PARENT, job_id="crunch", job=a_job(benches[0])).result()
    first = before.services.get_service(name=f"{PARENT}/services/mine")
    benches[0].close()
    benches.append(Bench(tmp_path))

    after = Clients(benches[1], "grpc")
    second = after.services.get_service(name=f"{PARENT}/services/mine")

    assert (second.uid, second.generation) == (first.uid, 1)
    assert second.latest_ready_revision == first.latest_ready_revision
    assert after.jobs.get_job(name=f"{PARENT}/jobs/crunch").generation == 1
    assert benches[1].get(service="mine").status == 200
