"""Are requests split between revisions as their deployer says, through Google's own client?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api_core.exceptions import BadRequest, Conflict
from google.cloud import run_v2

from localcloud.run import traffic
from localcloud.run.errors import InvalidArgument
from localcloud.run.traffic import Target
from tests.localcloud.run.run_bench import Bench, until
from tests.localcloud.run.test_run_admin import PARENT, Clients, a_service

NAME = f"{PARENT}/services/mine"
LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
REVISION = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[list[Bench]]:
    """Benches on one state; the last is closed at the end."""
    benches = [Bench(tmp_path)]
    yield benches
    benches[-1].close()


@pytest.fixture
def bench(benches: list[Bench]) -> Bench:
    return benches[0]


def to(revision: str, percent: int = 0, tag: str = "") -> run_v2.TrafficTarget:
    kind = REVISION if revision else LATEST
    return run_v2.TrafficTarget(type_=kind, revision=revision, percent=percent, tag=tag)


def deploy(bench: Bench, revision: str, *targets: run_v2.TrafficTarget, wire: str = "grpc") -> run_v2.Service:
    """The service `mine` with a revision of that name, which it tells its callers."""
    services = Clients(bench, wire).services
    service = a_service(bench, revision=revision)
    service.name, service.traffic = NAME, targets
    request = run_v2.UpdateServiceRequest(service=service, allow_missing=True)
    service.template.containers[0].env.append(run_v2.EnvVar(name="COLOUR", value=revision))
    return services.update_service(request).result()


def split(bench: Bench, *targets: run_v2.TrafficTarget, wire: str = "grpc") -> run_v2.Service:
    """Change nothing but where requests go."""
    wanted = run_v2.Service(name=NAME, traffic=targets)
    request = run_v2.UpdateServiceRequest(service=wanted, update_mask={"paths": ["traffic"]})
    return Clients(bench, wire).services.update_service(request).result()


def answering(bench: Bench, requests: int = 1, service: str = "mine") -> Counter[str]:
    """Which revisions answer so many requests."""
    return Counter(bench.get(service=service).json()["env"]["K_REVISION"] for _ in range(requests))


@pytest.mark.parametrize("wire", ["rest", "grpc"])
def test_each_revision_gets_its_percent_of_the_requests(bench: Bench, wire: str):
    deploy(bench, "mine-blue", wire=wire)
    deploy(bench, "mine-green", to("mine-blue", 100), wire=wire)

    before = answering(bench, 5)
    service = split(bench, to("mine-blue", 75), to("", 25), wire=wire)

    assert before == {"mine-blue": 5}
    assert answering(bench, 20) == {"mine-blue": 15, "mine-green": 5}
    assert [(each.revision, each.percent) for each in service.traffic] == [("mine-blue", 75), ("", 25)]
    assert service.latest_ready_revision.rpartition("/")[2] == "mine-green"
    assert service.template.revision == "mine-green"


def test_a_tag_leads_to_its_revision_without_a_share_of_the_requests(bench: Bench):
    deploy(bench, "mine-blue")
    service = deploy(bench, "mine-green", to("mine-blue", 100), to("mine-green", 0, "next"))

    assert answering(bench, 3) == {"mine-blue": 3}
    assert answering(bench, 2, "next---mine") == {"mine-green": 2}
    assert service.traffic_statuses[1].uri == f"{bench.gateway.http_url}/run/next---mine"
    missing = bench.get(service="other---mine")
    assert (missing.status, missing.json()["error"]["hint"]) == (404, "Its tags: next.")


def test_a_private_service_takes_the_token_of_its_own_address_at_a_tag_too(bench: Bench):
    service = a_service(bench, revision="mine-blue")
    service.invoker_iam_disabled = False
    service.traffic = [to("", 100, "now")]
    Clients(bench, "grpc").services.create_service(parent=PARENT, service_id="mine", service=service).result()
    token = bench.context.identity.mint(bench.context.service_url("mine"), "a@local.iam.gserviceaccount.com")

    assert bench.get(service="now---mine").status == 403
    assert bench.get(service="now---mine", headers={"Authorization": f"Bearer {token}"}).status == 200


def test_a_revision_that_gets_no_more_requests_finishes_its_own_and_goes_to_zero(bench: Bench):
    deploy(bench, "mine-blue")
    old = bench.background("/wait/a", service="mine")
    bench.begun("a")
    deploy(bench, "mine-green", to("mine-blue", 50), to("mine-green", 50))
    answering(bench, 2)
    running = {instance.revision for instance in bench.instances("mine")}

    split(bench, to("mine-green", 100))
    bench.finish("a")

    assert running == {"mine-blue", "mine-green"}
    assert old.result().json()["env"]["K_REVISION"] == "mine-blue"
    until(lambda: {instance.revision for instance in bench.instances("mine")} == {"mine-green"})


def test_a_request_that_waits_for_a_revision_goes_to_the_one_that_takes_its_place(bench: Bench):
    bench.deploy("mine", script="import time; time.sleep(60)")  # never ready
    waiting = bench.background("/", service="mine")
    until(lambda: bench.run.service("mine").waiting == 1)

    bench.deploy("mine")

    assert waiting.result().status == 200


def test_a_split_is_there_after_a_restart_and_a_deployment_keeps_it(benches: list[Bench], tmp_path: Path):
    deploy(benches[0], "mine-blue")
    deploy(benches[0], "mine-green", to("mine-blue", 50), to("", 50, "next"))
    benches[0].close()
    benches.append(Bench(tmp_path))

    assert answering(benches[1], 4) == {"mine-blue": 2, "mine-green": 2}
    assert answering(benches[1], 1, "next---mine") == {"mine-green": 1}


def test_a_name_is_of_one_revision(bench: Bench):
    deploy(bench, "mine-blue")
    service = a_service(bench, revision="mine-blue", timeout={"seconds": 7})
    service.name = NAME

    with pytest.raises(Conflict, match="Revision named 'mine-blue' with different configuration already exists"):
        Clients(bench, "grpc").services.update_service(service=service)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([to("mine-blue", 60), to("", 30)], "traffic has percents that sum to 90; expected 100"),
        ([to("mine-red", 100)], r"traffic\[0\].revision is 'mine-red'; expected one of: mine-blue"),
        ([to("", 100, "a"), to("mine-blue", 0, "a")], r"traffic\[1\].tag is 'a' once more"),
        ([to("", 100, "A")], r"traffic\[0\].tag is 'A'; expected"),
    ],
    ids=["sum", "revision", "tag twice", "tag"],
)
def test_a_split_that_cannot_be_is_refused(bench: Bench, targets: list[run_v2.TrafficTarget], message: str):
    deploy(bench, "mine-blue")

    with pytest.raises(BadRequest, match=message):
        split(bench, *targets)

    assert answering(bench, 2) == {"mine-blue": 2}


def test_a_service_that_is_replaced_as_gcloud_does_changes_its_traffic_only(bench: Bench):
    deploy(bench, "mine-blue")
    deploy(bench, "mine-green")
    address = f"{bench.gateway.http_url}/apis/serving.knative.dev/v1/namespaces/local/services/mine"
    shown = bench.http.request("GET", address).json()
    shown["spec"]["traffic"] = [{"revisionName": "mine-blue", "percent": 100}]

    replaced = bench.http.request("PUT", address, json=shown)
    late = bench.http.request("PUT", address, json=shown)
    shown["spec"]["template"]["spec"]["containerConcurrency"] = 1
    shown["metadata"]["resourceVersion"] = replaced.json()["metadata"]["resourceVersion"]
    refused = bench.http.request("PUT", address, json=shown)

    assert replaced.json()["status"]["traffic"] == [{"revisionName": "mine-blue", "percent": 100}]
    assert answering(bench, 2) == {"mine-blue": 2}
    assert (late.status, late.json()["error"]["status"]) == (409, "ABORTED")
    assert (refused.status, refused.json()["error"]["message"][:26]) == (400, "spec.template.spec differs")


def test_a_revision_is_called_after_its_service(bench: Bench):
    with pytest.raises(BadRequest, match=r"template\.revision is 'blue'; expected mine-"):
        deploy(bench, "blue")


def test_a_caller_sees_how_long_it_waited_for_an_instance(bench: Bench):
    deploy(bench, "mine-blue")

    cold, warm = bench.get(service="mine"), bench.get(service="mine")

    start = bench.run.events[0]
    waited = re.fullmatch(r"cold-start;dur=(\d+\.\d)", cold.headers["Server-Timing"])
    assert waited is not None
    assert float(waited[1]) + 0.1 > 1000 * (start.ready - start.spawned) > 0
    assert "Server-Timing" not in warm.headers


def test_turns_are_spread_evenly():
    credit: dict[str, int] = {}

    turns = "".join(traffic.take_turn({"a": 70, "b": 20, "c": 10, "d": 0}, credit) for _ in range(100))

    assert Counter(turns) == {"a": 70, "b": 20, "c": 10}
    assert turns == turns[:10] * 10


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_percent_is_from_0_to_100(percent: int):
    with pytest.raises(InvalidArgument, match=rf"traffic\[0\].percent is {percent}"):
        traffic.checked([Target(percent=percent), Target(percent=100 - percent)], ())
