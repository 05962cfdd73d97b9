"""Assignments over the local Pub/Sub and Google's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber._protocol import leaser

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.pubsub.resources import SubscriptionSpec
from tests.localcloud.waiting import wait_until
from worker.assignments import PulledAssignment, Subscription
from zeroidle.contracts.machines import Provisioning
from zeroidle.errors import TemporaryError
from zeroidle.gcp.publisher import GooglePublisher

PROJECT = "local"


def deployment(ack_deadline_s: int) -> Deployment:
    wanted = 'attributes.cluster = "1xl4" AND attributes.provisioning = "standard"'
    spec = SubscriptionSpec(name="l4-pull", topic="jobs-assigned", filter=wanted, ack_deadline_s=ack_deadline_s)
    return Deployment(topics=("jobs-assigned",), subscriptions=(spec,))


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    with running(CloudConfig(), lambda _: deployment(600)) as cloud:
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


def test_a_lease_is_extended_for_as_long_as_its_worker_needs_and_nobody_else_gets_it(
    monkeypatch: pytest.MonkeyPatch, pulls: list[Subscription]
) -> None:
    # The client extends leases by real time; here it does so as often as it may, and the cloud's time is moved.
    monkeypatch.setattr(leaser, "random", SimpleNamespace(uniform=lambda low, high: 0.05))
    with running(CloudConfig(frozen_clock=True), lambda _: deployment(60)) as cloud:
        address = cloud.environment()["PUBSUB_EMULATOR_HOST"]
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
        queue = cloud.call(lambda: cloud.pubsub.subscription(f"projects/{PROJECT}/subscriptions/l4-pull").queue)
        assign(GooglePublisher(PROJECT, address))
        assigned = taken(a_pull(pulls))
        other = a_pull(pulls)

        def lease_s() -> float:
            (entry,) = queue.entries()
            return (entry.due or 0.0) - cloud.clock.time()

        for _ in range(20):  # 160 s, where the subscription gives 60
            wait_until(lambda: cloud.call(lease_s) > 8, "a longer lease")
            cloud.clock.advance(seconds=8)
            assert other.take() is None

        assigned.settle()
        wait_until(lambda: cloud.call(lambda: len(queue)) == 0, "the acknowledgement")
        for each in pulls:
            each.close()
        pulls.clear()
