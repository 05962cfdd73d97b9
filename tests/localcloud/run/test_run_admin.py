"""Does Google's own client see what is deployed?"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2

PARENT = "projects/local/locations/us-central1"


@pytest.fixture
def client(bench) -> run_v2.ServicesClient:
    return run_v2.ServicesClient(
        credentials=AnonymousCredentials(), transport="rest", client_options={"api_endpoint": bench.gateway.http_url}
    )


def test_a_service_is_described_as_deployed(bench, client):
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


def test_services_are_listed(bench, client):
    bench.deploy("infer")
    bench.deploy("preprocess")

    assert [service.name.rpartition("/")[2] for service in client.list_services(parent=PARENT)] == [
        "infer",
        "preprocess",
    ]
    assert list(client.list_services(parent="projects/other/locations/us-central1")) == []


@pytest.mark.parametrize("name", [f"{PARENT}/services/none", "projects/other/locations/us-central1/services/infer"])
def test_a_service_that_is_not_there_is_not_found(bench, client, name: str):
    bench.deploy("infer")

    with pytest.raises(NotFound):
        client.get_service(name=name)
