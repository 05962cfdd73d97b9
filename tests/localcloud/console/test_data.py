"""Does the console tell what the Google clients did, and do its changes reach them?"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1, pubsub_v1, storage

from localcloud.cloud import LocalCloud
from localcloud.faults import Fault
from tests.localcloud.console.console_http import DATA, Http, until

SUBSCRIPTION = "projects/local/subscriptions/{}"


def test_the_overview_counts_what_is_there(http: Http):
    overview = http.get("overview")

    expected = {"buckets": 2, "subscriptions": 5, "services": 1, "workflows": 2, "triggers": 1, "schedules": 1}
    assert {name: overview[name] for name in expected} == expected
    assert overview["is_frozen"]
    assert overview["pubsub_address"] == overview["grpc_address"]


def test_a_folder_shows_what_is_below_a_prefix_page_by_page(http: Http, client: storage.Client):
    names = [f"many/{number:03}" for number in range(201)]
    for name in (*names, "many/deep/er"):
        client.bucket("uploads").blob(name).upload_from_string(b"x")

    first = http.get("folder?bucket=uploads&prefix=many/")
    second = http.get(f"folder?bucket=uploads&prefix=many/&page={first['next_page']}")

    assert [object_["name"] for object_ in first["objects"] + second["objects"]] == names
    assert second["folders"] == ["many/deep/"]
    assert second["next_page"] == ""
    assert "many/" in http.get("folder?bucket=uploads")["folders"]


def test_an_object_is_shown_with_its_versions_and_deleted_by_generation(http: Http, client: storage.Client):
    bucket = client.create_bucket("versioned")
    bucket.versioning_enabled = True
    bucket.patch()
    blob = bucket.blob("a b/ü.txt")
    blob.upload_from_string("old")
    old = blob.generation
    blob.upload_from_string("new")
    named = f"object?bucket=versioned&name={quote('a b/ü.txt')}"

    versions = [version["generation"] for version in http.get(named)["versions"]]
    deleted = http.ask("DELETE", f"{DATA}/{named}&generation={old}")

    assert versions == [str(blob.generation), str(old)]
    assert deleted.status == 200
    assert [each.generation for each in client.list_blobs("versioned", versions=True)] == [blob.generation]


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "application/xhtml+xml"])
def test_a_document_in_a_bucket_is_shown_as_text_in_a_sandbox(http: Http, client: storage.Client, content_type: str):
    page = "<script>fetch('/_localcloud/faults', {method: 'DELETE'})</script>"
    client.bucket("uploads").blob("page").upload_from_string(page, content_type=content_type)

    response = http.ask("GET", f"{DATA}/preview?bucket=uploads&name=page")

    assert response.data.decode() == page
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_a_preview_of_a_long_compressed_text_is_its_start(http: Http, client: storage.Client):
    blob = client.bucket("uploads").blob("long.txt")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(b"line\n" * 100_000), content_type="text/plain")

    response = http.ask("GET", f"{DATA}/preview?bucket=uploads&name=long.txt")

    assert response.headers["X-Cut"] == "true"
    assert response.data == (b"line\n" * 100_000)[: 64 * 1024]


def test_a_download_is_a_file_whatever_its_name_and_type(http: Http, client: storage.Client):
    name = 'dir/a"; x=\r.html'.replace("\r", "")
    client.bucket("uploads").blob(name).upload_from_string(b"<b>", content_type="text/html")

    response = http.ask("GET", f"{DATA}/download?bucket=uploads&name={quote(name)}")

    assert response.data == b"<b>"
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"] == "attachment; filename*=UTF-8''a%22%3B%20x%3D.html"


def test_looking_at_a_message_does_not_lease_it(
    http: Http, publisher: pubsub_v1.PublisherClient, subscriber: pubsub_v1.SubscriberClient
):
    id_ = publisher.publish("projects/local/topics/orders", b"\xff\x00", color="red").result()

    shown = http.get("messages?subscription=orders-pull")
    pulled = subscriber.pull(subscription=SUBSCRIPTION.format("orders-pull"), max_messages=10)

    assert [(each["id"], each["data"], each["is_text"], each["attributes"]) for each in shown] == [
        (id_, "/wA=", False, {"color": "red"})
    ]
    assert [each.message.message_id for each in pulled.received_messages] == [id_]
    assert http.get("messages?subscription=orders-pull")[0]["state"] == "leased"
    subscription = next(each for each in http.get("topics")["subscriptions"] if each["name"] == "orders-pull")
    assert (subscription["backlog"], subscription["leased"]) == (1, 1)
    subscriber.acknowledge(
        subscription=SUBSCRIPTION.format("orders-pull"), ack_ids=[each.ack_id for each in pulled.received_messages]
    )


def test_a_message_published_by_hand_arrives(http: Http, subscriber: pubsub_v1.SubscriberClient):
    message = {"topic": "orders", "data": "grüß", "attributes": {"color": "red"}, "ordering_key": "k"}

    published = http.ask("POST", f"{DATA}/publish", body=message).json()
    received = subscriber.pull(subscription=SUBSCRIPTION.format("orders-pull"), max_messages=1).received_messages[0]

    assert received.message.message_id == published["id"]
    assert received.message.data.decode() == "grüß"
    assert (received.message.attributes, received.message.ordering_key) == ({"color": "red"}, "k")
    subscriber.acknowledge(subscription=SUBSCRIPTION.format("orders-pull"), ack_ids=[received.ack_id])


def test_a_dead_letter_goes_back_to_where_it_came_from(
    http: Http, cloud: LocalCloud, publisher: pubsub_v1.PublisherClient
):
    # The receiver finds the word: attributes travel as they are, data as base64.
    publisher.publish("projects/local/topics/orders", b"", push="refuse").result()

    def dead() -> list[dict[str, object]]:
        cloud.clock.advance(minutes=2)  # refused or not answered in time, until it is a dead letter
        return http.get("messages?subscription=dead-pull")

    letter = until(dead)[0]
    orders = len(http.get("messages?subscription=orders-pull"))
    again = http.ask("POST", f"{DATA}/republish", body={"subscription": "dead-pull", "id": letter["id"]})

    assert letter["source"] == "orders-push"
    assert again.status == 200
    assert letter["id"] not in [each["id"] for each in http.get("messages?subscription=dead-pull")]
    back = http.get("messages?subscription=orders-pull")
    assert len(back) == orders + 1
    assert back[-1]["attributes"] == {"push": "refuse"}


def test_a_service_shows_its_instances_and_what_they_printed(http: Http):
    assert http.ask("POST", "/run/receiver/hello", body={}).status == 200

    (service,) = http.get("services")
    instance = next(each for each in service["instances"] if each["phase"] == "ready")
    assert service["cold_starts"][0]["service"] == "receiver"
    (revision,) = service["revisions"]
    assert (revision["name"], revision["percent"], revision["tags"]) == (instance["revision"], 100, [])
    told = f"logs?service=receiver&instance={instance['name']}"
    line = until(lambda: [each for each in http.get(told) if each["more"] == '{"path":"/hello"}'])[0]
    assert (line["severity"], line["text"]) == ("WARNING", "<b>got</b> it")
    assert http.get("logs?service=receiver&instance=another") == []


def test_only_a_dead_letter_is_published_again(http: Http):
    http.ask("POST", f"{DATA}/publish", body={"topic": "orders", "data": "alive"})
    alive = http.get("messages?subscription=orders-pull")[-1]

    answer = http.ask("POST", f"{DATA}/republish", body={"subscription": "orders-pull", "id": alive["id"]})

    assert (answer.status, "no dead letter" in answer.json()["error"]["message"]) == (400, True)
    assert http.get("messages?subscription=orders-pull")[-1]["id"] == alive["id"]


def test_an_execution_is_shown_with_argument_and_result(http: Http, cloud: LocalCloud):
    parent = cloud.workflows.resource_name("hello")
    body = {"argument": '"ada"'}

    id_ = http.ask("POST", f"/v1/{parent}/executions", body=body).json()["name"].rpartition("/")[2]
    until(lambda: http.get(f"execution?workflow=hello&id={id_}")["state"] == "SUCCEEDED")

    shown = http.get(f"execution?workflow=hello&id={id_}")
    assert (shown["argument"], shown["result"], shown["current"]) == ('"ada"', '"hello adaab"', ["main", "end"])
    assert http.get("executions?workflow=hello")[0]["id"] == id_
    taken = http.get(f"steps?workflow=hello&id={id_}&limit=5")
    assert taken["total"] == 7
    assert [(step["step"], step["depth"], step["kind"], step["part"], step["state"]) for step in taken["steps"]] == [
        ("each", 1, "for iteration", "1 of 2", "SUCCEEDED"),
        ("add", 2, "assign", "", "SUCCEEDED"),
        ("each", 1, "for iteration", "2 of 2", "SUCCEEDED"),
        ("add", 2, "assign", "", "SUCCEEDED"),
        ("end", 0, "return", "", "SUCCEEDED"),
    ]


def test_an_execution_that_runs_is_in_flight_until_it_is_cancelled(http: Http, cloud: LocalCloud):
    parent = cloud.workflows.resource_name("waiting")
    id_ = http.ask("POST", f"/v1/{parent}/executions", body={}).json()["name"].rpartition("/")[2]

    (active,) = until(lambda: [each for each in http.get("active") if each["current"]])
    cancelled = http.ask("POST", f"{DATA}/cancel?workflow=waiting&id={id_}")

    assert (active["id"], active["workflow"], active["current"]) == (id_, "waiting", ["main", "wait"])
    assert cancelled.status == 200
    assert http.get(f"execution?workflow=waiting&id={id_}")["state"] == "CANCELLED"
    assert [(step["step"], step["state"]) for step in http.get(f"steps?workflow=waiting&id={id_}")["steps"]] == [
        ("wait", "CANCELLED")
    ]
    assert http.get("active") == []


def test_a_job_is_run_and_shown_task_by_task(http: Http):
    name = http.ask("POST", f"{DATA}/run-job?job=crunch").json()["name"]
    until(lambda: http.get(f"job-execution?job=crunch&name={name}")["completed"])

    shown = http.get(f"job-execution?job=crunch&name={name}")
    tasks = [(task["state"], task["attempts"], task["exit_code"]) for task in shown["shown"]]
    assert tasks == [("succeeded", 1, 0), ("failed", 2, 3)]
    assert (shown["tasks"], shown["retried"]) == ({"succeeded": 1, "failed": 1}, 1)
    assert http.get("job-executions?job=crunch")[0]["name"] == name
    assert [(job["name"], job["latest"]) for job in http.get("jobs")] == [("crunch", name)]
    assert "task 0" in [line["text"] for line in http.get("job-logs?job=crunch")]
    assert http.get("active-jobs") == []
    assert http.ask("POST", f"{DATA}/cancel-job?job=crunch&name={name}").status == 400


@pytest.fixture
def machine(http: Http, cloud: LocalCloud) -> Iterator[Any]:
    """A VM of the group `workers` that runs, as the console shows it."""
    group = {"project": "local", "region": "us-central1", "instance_group_manager": "workers"}
    client = compute_v1.RegionInstanceGroupManagersClient(
        credentials=AnonymousCredentials(), client_options={"api_endpoint": cloud.http_url}
    )
    client.resize_unary(**group, size=1)

    def running() -> Any:
        cloud.clock.advance(seconds=1)
        return [each for each in http.get("machines")["machines"] if each["status"] == "running"]

    yield until(running)[0]
    client.resize_unary(**group, size=0)
    until(lambda: http.get("machines")["machines"] == [])


def test_a_vm_is_shown_with_its_group_and_what_it_printed(http: Http, machine: Any):
    printed = until(lambda: http.get(f"machine-logs?name={machine['name']}"))

    shown = http.get("machines")
    assert (machine["group"], machine["accelerator"], machine["is_spot"]) == ("workers", "nvidia-l4", True)
    assert [(each["name"], each["running"], each["target_size"]) for each in shown["groups"]] == [("workers", 1, 1)]
    assert shown["others"] == {"idle": ["us-east1"]}
    assert printed[0]["text"] == "<b>at work</b>"
    assert {name: http.get("overview")[name] for name in ("machines", "wanted_machines", "groups")} == {
        "machines": 1,
        "wanted_machines": 0,
        "groups": 2,
    }


@pytest.mark.parametrize("what", ["preempt", "lose"])
def test_a_vm_is_taken_back_or_lost_by_hand(http: Http, cloud: LocalCloud, machine: Any, what: str):
    answer = http.ask("POST", f"{DATA}/{what}-machine?zone={machine['zone']}&name={machine['name']}")
    noticed = [each["is_preempted"] for each in http.get("machines")["machines"]]
    cloud.clock.advance(seconds=30)

    assert answer.status == 200
    assert what == "lose" or noticed == [True]
    until(lambda: http.get("machines")["machines"] == [])


def test_a_vm_that_no_zone_has_room_for_says_why(http: Http, cloud: LocalCloud):
    fault = Fault("compute.machines.provision", reason="QUOTA_EXCEEDED", times=None)
    cloud.faults.add(fault)
    cloud.call(lambda: cloud.compute.create_in(cloud.compute.group("us-central1", "workers"), ["wanted"]))

    shown = until(lambda: http.get("machines") if http.get("machines")["groups"][0]["errors"] else None)

    cloud.call(lambda: cloud.compute.remove_from(cloud.compute.group("us-central1", "workers"), ["wanted"]))
    cloud.faults.withdraw(fault)
    assert [(each["name"], each["status"], each["zone"]) for each in shown["machines"]] == [("wanted", "waiting", "")]
    assert "QUOTA_EXCEEDED" in shown["machines"][0]["error"]
    assert {each["code"] for each in shown["groups"][0]["errors"]} == {"QUOTA_EXCEEDED"}


def test_a_trigger_shows_what_it_has_not_delivered(http: Http):
    (trigger,) = http.get("triggers")

    assert (trigger["name"], trigger["service"], trigger["transport"]["backlog"]) == ("on-upload", "receiver", 0)
    (schedule,) = http.get("schedules")
    assert schedule["next_run"] == pytest.approx(http.get("overview")["time"], abs=3600)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("folder?bucket=nowhere", 404, "does not exist"),
        ("folder", 400, "bucket is missing"),
        ("object?bucket=uploads&name=nothing", 404, "No such object"),
        ("object?bucket=uploads&name=x&generation=1e3", 400, "generation is '1e3'"),
        ("folder?bucket=uploads&page=%ff", 400, "Invalid page token"),
        ("messages?subscription=nowhere", 404, "resource=nowhere"),
        ("messages?subscription=orders-pull&limit=0", 400, "limit is '0'; expected a number from 1 to 200"),
        ("logs?service=..%2F..%2Fetc", 404, "does not exist"),
        ("execution?workflow=hello&id=nothing", 404, "not found"),
        ("job-logs?job=..%2Fcrunch", 404, "does not exist"),
        ("machine-logs", 400, "name is missing"),
        ("executions?workflow=no%2Fthing", 400, "is not a workflow"),
        ("static/..%2Fapi.py", 404, ""),
        ("static/nothing.js", 404, "has no file"),
    ],
)
def test_what_is_not_there_is_refused_with_a_reason(http: Http, path: str, status: int, said: str):
    response = http.ask("GET", f"{DATA}/{path}")

    assert response.status == status
    assert said in response.json()["error"]["message"]
