"""Assignments over the local Pub/Sub and Google's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from google.cloud import pubsub_v1

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.pubsub.resources import SubscriptionSpec
from tests.localcloud.waiting import wait_until
from worker.assignments import PulledAssignment, Subscription
from zeroidle.contracts.machines import Provisioning
from zeroidle.errors import TemporaryError
from zeroidle.gcp.publisher import GooglePublisher

PROJECT = "local"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    wanted = 'attributes.cluster = "1xl4" AND attributes.provisioning = "standard"'
    deployment = Deployment(
        topics=("jobs-assigned",),
        subscriptions=(SubscriptionSpec(name="l4-pull", topic="jobs-assigned", filter=wanted, ack_deadline_s=600),),
    )
    with running(CloudConfig(), lambda _: deployment) as cloud:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", cloud.environment()["PUBSUB_EMULATOR_HOST"])
        yield cloud


@pytest.fixture
def publisher(cloud: LocalCloud) -> GooglePublisher:
    return GooglePublisher(PROJECT, cloud.environment()["PUBSUB_EMULATOR_HOST"])


@pytest.fixture
def pulls(cloud: LocalCloud) -> Iterator[list[Subscription]]:
    """Those that a test opens; closed after it."""
    opened: list[Subscription] = []
    yield opened
    for each in opened:
        each.close()


def a_pull(pulls: list[Subscription], name: str = "l4-pull") -> Subscription:
    pulls.append(Subscription(pubsub_v1.SubscriberClient(), f"projects/{PROJECT}/subscriptions/{name}"))
    return pulls[-1]


def taken(pull: Subscription) -> PulledAssignment:
    found: list[PulledAssignment] = []

    def arrived() -> bool:
        assigned = pull.take()
        found.extend([] if assigned is None else [assigned])
        return bool(found)

    wait_until(arrived, "an assignment")
    return found[0]


def assign(publisher: GooglePublisher, job_id: str = "job-1", cluster: str = "1xl4") -> None:
    publisher.assign(cluster, Provisioning.STANDARD, job_id, 1)


def test_only_what_is_for_its_cluster_arrives(publisher: GooglePublisher, pulls: list[Subscription]) -> None:
    assign(publisher, "other", "8xh100-80gb")
    assign(publisher, "mine")

    assigned = taken(a_pull(pulls))

    assert (assigned.job_id, assigned.attempt) == ("mine", 1)


def test_what_is_settled_is_gone_and_what_is_given_back_comes_again(
    publisher: GooglePublisher, pulls: list[Subscription]
) -> None:
    pull = a_pull(pulls)
    assign(publisher, "first")
    taken(pull).give_back()
    taken(pull).settle()
    assign(publisher, "second")

    assert taken(pull).job_id == "second"


def test_what_arrived_and_was_not_taken_goes_back_when_it_closes(
    publisher: GooglePublisher, pulls: list[Subscription]
) -> None:
    pull = a_pull(pulls)
    assign(publisher)
    wait_until(lambda: not pull._arrived.empty(), "the message")

    pull.close()

    assert taken(a_pull(pulls)).job_id == "job-1"


def test_what_is_no_assignment_is_dropped(publisher: GooglePublisher, pulls: list[Subscription]) -> None:
    client = pubsub_v1.PublisherClient()
    attributes = {"cluster": "1xl4", "provisioning": "standard"}
    for body in (b"", b"{", b"\xff", json.dumps({"schema": 2}).encode(), b'{"schema": 1, "job_id": "../x"}'):
        client.publish(f"projects/{PROJECT}/topics/jobs-assigned", body, **attributes).result(10)
    assign(publisher, "good")

    pull = a_pull(pulls)

    assert taken(pull).job_id == "good"


def test_a_subscription_that_is_not_there_is_a_temporary_trouble(pulls: list[Subscription]) -> None:
    pull = a_pull(pulls, "missing")
    wait_until(pull._pull.done, "the end of the pull")

    with pytest.raises(TemporaryError, match="takes no pull"):
        pull.take()
