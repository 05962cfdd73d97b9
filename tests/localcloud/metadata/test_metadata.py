"""Is a machine told what it is, as Google's metadata server would tell it?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from localcloud.faults import Fault
from localcloud.metadata import Metadata, MetadataServer
from localcloud.metadata.state import account
from tests.localcloud.run.run_bench import Background, Bench, until

EMAIL = "worker@local.iam.gserviceaccount.com"
FLAVOR = {"Metadata-Flavor": "Google"}


class Machine:
    """A metadata server as a virtual machine would have it, and a client."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.metadata = Metadata(
            {
                "instance": {
                    "attributes": {"job-id": "a-1", "startup-script": "#!/bin/sh\necho"},
                    "id": 4520031799277581759,
                    "maintenance-event": "NONE",
                    "preempted": "FALSE",
                    "service-accounts": account(EMAIL, ("https://www.googleapis.com/auth/cloud-platform",)),
                    "zone": "projects/1/zones/us-central1-a",
                },
                "project": {"numeric-project-id": 1, "project-id": "local"},
            }
        )
        self.server = MetadataServer(bench.context, self.metadata)
        bench.await_(self.server.start())

    def get(self, path: str, headers: Any = FLAVOR, method: str = "GET", **fields: str) -> Any:
        host = self.server.environment()["GCE_METADATA_HOST"]
        url = f"http://{host}{path if path.startswith('/') else f'/computeMetadata/v1/{path}'}"
        return self.bench.http.request(method, url, headers=headers, fields=fields, redirect=False)

    def set(self, path: str, value: str | None) -> None:
        self.bench.call(self.metadata.set, path, value)

    def waiting(self, path: str, **fields: str) -> Background:
        return Background(lambda: self.get(path, wait_for_change="true", **fields))

    def until_waited_for(self) -> None:
        until(lambda: self.bench.call(lambda: len(self.metadata._waiting)))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("metadata"))
    yield bench
    bench.close()


@pytest.fixture
def machine(bench: Bench) -> Iterator[Machine]:
    machine = Machine(bench)
    yield machine
    bench.await_(machine.server.stop())


def test_a_value_is_text(machine: Machine):
    answer = machine.get("instance/zone")

    assert answer.data == b"projects/1/zones/us-central1-a"
    assert answer.headers["Metadata-Flavor"] == "Google"
    assert answer.headers["Content-Type"].startswith("application/text")
    assert machine.get("instance/id").data == b"4520031799277581759"


def test_a_value_is_json_where_that_is_asked_for(machine: Machine):
    assert machine.get("instance/zone", alt="json").json() == "projects/1/zones/us-central1-a"
    assert machine.get("instance/id", alt="json").json() == 4520031799277581759


def test_a_directory_is_listed(machine: Machine):
    assert machine.get("instance/").data.decode().splitlines() == [
        "attributes/",
        "id",
        "maintenance-event",
        "preempted",
        "service-accounts/",
        "zone",
    ]
    assert machine.get("instance/service-accounts/default/").data.decode().splitlines() == [
        "aliases",
        "email",
        "identity",
        "scopes",
        "token",
    ]


def test_a_directory_has_a_slash(machine: Machine):
    answer = machine.get("instance")

    assert (answer.status, answer.headers["Location"]) == (301, "/computeMetadata/v1/instance/")
    assert machine.get("instance/zone/").status == 404


def test_everything_below_comes_as_one_object_in_camel_case(machine: Machine):
    answer = machine.get("", recursive="true").json()

    assert answer["project"] == {"numericProjectId": 1, "projectId": "local"}
    assert answer["instance"]["attributes"] == {"job-id": "a-1", "startup-script": "#!/bin/sh\necho"}
    assert answer["instance"]["maintenanceEvent"] == "NONE"
    assert answer["instance"]["serviceAccounts"][EMAIL] == {
        "aliases": ["default"],
        "email": EMAIL,
        "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
    }


def test_everything_below_comes_as_lines_where_text_is_asked_for(machine: Machine):
    assert machine.get("project/", recursive="true", alt="text").data == b"numeric-project-id 1\nproject-id local\n"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 403, id="no flavor"),
        pytest.param({"Metadata-Flavor": "Other"}, 403, id="another flavor"),
        pytest.param({**FLAVOR, "X-Forwarded-For": "10.0.0.1"}, 403, id="through a proxy"),
        pytest.param({**FLAVOR, "Host": "rebound.example"}, 403, id="another host"),
        pytest.param({**FLAVOR, "Host": "metadata.google.internal"}, 200, id="its own name"),
    ],
)
def test_only_a_program_that_means_it_gets_an_answer(machine: Machine, headers: dict[str, str], status: int):
    answer = machine.get("instance/zone", headers=headers)

    assert answer.status == status
    assert answer.headers["Metadata-Flavor"] == "Google"


def test_it_can_be_looked_for_without_the_header(machine: Machine):
    answer = machine.get("/", headers={})

    assert (answer.status, answer.headers["Metadata-Flavor"]) == (200, "Google")


@pytest.mark.parametrize("path", ["instance/none", "none/", "/v1/instance/zone", "instance/service-accounts/x/token"])
def test_what_is_not_there_is_not_found(machine: Machine, path: str):
    assert machine.get(path).status == 404


def test_it_cannot_be_written(machine: Machine):
    assert machine.get("instance/zone", method="POST").status == 405


def test_a_program_waits_until_the_machine_is_preempted(machine: Machine):
    answer = machine.waiting("instance/preempted")
    machine.until_waited_for()

    machine.set("instance/attributes/other", "1")
    machine.set("instance/preempted", "TRUE")

    assert answer.result().data == b"TRUE"


def test_a_program_waits_for_anything_in_a_directory(machine: Machine):
    answer = machine.waiting("instance/attributes/", recursive="true")
    machine.until_waited_for()

    machine.set("instance/attributes/job-id", None)

    assert answer.result().json() == {"startup-script": "#!/bin/sh\necho"}


def test_a_wait_ends_after_its_time(machine: Machine):
    answer = machine.waiting("instance/maintenance-event", timeout_sec="3600")
    machine.until_waited_for()

    machine.bench.clock.advance(seconds=3600)

    assert answer.result().data == b"NONE"


def test_a_change_since_the_etag_is_told_at_once(machine: Machine):
    etag = machine.get("instance/maintenance-event").headers["ETag"]
    machine.set("instance/maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE")

    answer = machine.get("instance/maintenance-event", wait_for_change="true", last_etag=etag)

    assert answer.data == b"TERMINATE_ON_HOST_MAINTENANCE"
    assert answer.headers["ETag"] != etag


def test_who_waits_is_let_go_when_the_machine_ends(bench: Bench):
    machine = Machine(bench)
    ended = threading.Event()

    def wait() -> None:
        with pytest.raises(urllib3.exceptions.HTTPError):
            machine.get("instance/preempted", wait_for_change="true")
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    machine.until_waited_for()
    bench.await_(machine.server.stop())

    assert ended.wait(20)


def test_tokens_are_of_the_machines_account(machine: Machine):
    token = machine.get("instance/service-accounts/default/token", scopes="a,b").json()
    identity = machine.get(f"instance/service-accounts/{EMAIL}/identity", audience="https://a", format="full").data

    verify = machine.bench.context.identity
    assert token["token_type"] == "Bearer"
    assert machine.bench.call(verify.verify_access_token, f"Bearer {token['access_token']}") == EMAIL
    assert machine.bench.call(verify.verify, f"Bearer {identity.decode()}", "https://a") == EMAIL


def test_an_identity_token_is_for_somebody(machine: Machine):
    answer = machine.get("instance/service-accounts/default/identity")

    assert (answer.status, answer.data) == (400, b"non-empty audience parameter required\n")


def test_a_wrong_time_is_refused(machine: Machine):
    assert machine.get("instance/zone", wait_for_change="true", timeout_sec="soon").status == 400


def test_it_fails_where_that_was_ordered(machine: Machine):
    machine.bench.context.faults.add(Fault("metadata.values.get", resource="instance/zone", status=503))

    assert [machine.get("instance/zone").status for _ in range(2)] == [503, 200]


CALLER = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer
import google.auth
from google.auth.transport.requests import Request
from google.oauth2 import id_token

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        request = Request()
        credentials, project = google.auth.default()
        credentials.refresh(request)
        token = id_token.fetch_id_token(request, os.environ["TARGET"])
        answer = request(os.environ["TARGET"], headers={"Authorization": f"Bearer {token}"})
        body = json.dumps({"project": project, "access_token": credentials.token,
            "email": credentials.service_account_email, "status": answer.status}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_google_auth_in_a_service_gets_tokens_that_open_private_services(bench: Bench):
    bench.deploy("echo", public=False)
    env = {"TARGET": bench.context.service_url("echo"), "NO_GCE_CHECK": "true"}
    bench.deploy("caller", CALLER, env=env, service_account="worker", bare=False)

    answer = bench.get(service="caller").json()

    assert (answer["status"], answer["project"], answer["email"]) == (200, "local", EMAIL)
    assert bench.call(bench.context.identity.verify_access_token, f"Bearer {answer['access_token']}") == EMAIL
    assert bench.get(service="echo").status == 403
