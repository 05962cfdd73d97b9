"""Messages are pushed to an endpoint until it answers that it has them."""

from __future__ import annotations

import base64
import socket
import threading

import pytest

from localcloud.faults import Fault
from localcloud.pubsub.resources import PublishedMessage, SubscriptionSpec
from tests.localcloud.pubsub.pubsub_cloud import Cloud, Receiver, subscription_path, wait_until

PUSHER = subscription_path("pusher")


def with_push(cloud: Cloud, receiver: Receiver, **settings: object) -> None:
    spec = SubscriptionSpec("pusher", "jobs", push_endpoint=f"{receiver.url}/hook?x=1", **settings)
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    cloud.call(lambda: cloud.pubsub.create_topic("dead"))
    cloud.call(lambda: cloud.pubsub.create_subscription(SubscriptionSpec("dead", "dead")))
    cloud.call(lambda: cloud.pubsub.create_subscription(spec))


def publish(cloud: Cloud, *payloads: str, **attributes: str) -> list[str]:
    messages = [PublishedMessage(payload.encode(), attributes) for payload in payloads]
    return cloud.call(lambda: cloud.pubsub.publish("jobs", messages))


def payloads(receiver: Receiver) -> list[str]:
    return [base64.b64decode(each.json["message"]["data"]).decode() for each in receiver.requests]


def wait_for_delays(cloud: Cloud) -> None:
    """Until every message that is left waits for its backoff, or all wait for that of the subscription."""
    subscription = cloud.call(lambda: cloud.pubsub.subscription(PUSHER))

    def waits() -> bool:
        if paused_until(cloud) is not None:
            return not subscription.queue.leased
        return all(entry.state.value == "delayed" for entry in subscription.queue.entries())

    cloud.wait_until(waits)


def paused_until(cloud: Cloud) -> float | None:
    pusher = cloud.pubsub.pushers.pusher(PUSHER)
    assert pusher is not None
    return pusher.paused_until


def test_a_push_carries_the_wrapped_message_and_an_identity_token(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver, push_service_account="pusher@demo", push_audience="https://audience")
    [message_id] = publish(cloud, "hello", cluster="l4")

    [request] = receiver.wait_for(1)

    assert request.path == "/hook"
    assert request.json == {
        "message": {
            "attributes": {"cluster": "l4"},
            "data": "aGVsbG8=",
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": "2027-01-15T08:00:00Z",
            "publish_time": "2027-01-15T08:00:00Z",
        },
        "subscription": PUSHER,
    }
    assert request.headers["content-type"] == "application/json"
    token = request.headers["authorization"]
    assert cloud.context.identity.verify(token, "https://audience") == "pusher@demo"
    cloud.wait_until(cloud.pubsub.is_idle)


@pytest.mark.parametrize("status", [200, 201, 202, 204], ids=str)
def test_a_success_acknowledges(cloud: Cloud, receiver: Receiver, status: int) -> None:
    with_push(cloud, receiver)
    receiver.answers = [status]
    publish(cloud, "a")

    cloud.wait_until(lambda: cloud.pubsub.backlog("pusher") == 0)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [203, 206, 302, 400, 404, 429, 500, 503], ids=str)
def test_any_other_answer_has_the_message_delivered_again(cloud: Cloud, receiver: Receiver, status: int) -> None:
    with_push(cloud, receiver)
    receiver.answers = [status]
    publish(cloud, "a")
    receiver.wait_for(1)
    wait_for_delays(cloud)

    cloud.advance(seconds=0.2)

    receiver.wait_for(2)
    cloud.wait_until(lambda: cloud.pubsub.backlog("pusher") == 0)


def test_failed_pushes_back_off_exponentially_from_100_ms_to_60_s(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver)
    receiver.answers = [500] * 12
    publish(cloud, "a")
    waits = []
    for number in range(1, 13):
        receiver.wait_for(number)
        wait_for_delays(cloud)
        waits.append(round(cloud.call(lambda: paused_until(cloud)) - cloud.clock.time(), 3))
        cloud.advance(seconds=waits[-1])

    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]


def test_while_a_refused_message_backs_off_the_others_wait_too(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver)
    receiver.answers = [500, 500]
    publish(cloud, "refused")
    receiver.wait_for(1)
    wait_for_delays(cloud)
    publish(cloud, "waits")

    assert len(receiver.requests) == 1
    cloud.advance(seconds=0.1)
    receiver.wait_for(3)
    wait_for_delays(cloud)
    assert sorted(payloads(receiver)[1:]) == ["refused", "waits"]


def test_each_success_makes_the_next_pause_shorter(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver)
    receiver.answers = [500, 500, 500]
    publish(cloud, "a")
    for number in range(1, 4):
        receiver.wait_for(number)
        wait_for_delays(cloud)
        cloud.advance(seconds=1)
    cloud.wait_until(cloud.pubsub.is_idle)
    receiver.answers = [204, 500]
    publish(cloud, "b")
    cloud.wait_until(cloud.pubsub.is_idle)
    publish(cloud, "c")
    receiver.wait_for(6)
    wait_for_delays(cloud)

    assert cloud.call(lambda: paused_until(cloud)) == pytest.approx(cloud.clock.time() + 0.2, abs=1e-3)


def test_a_seek_breaks_off_what_is_being_pushed_and_pushes_it_again_at_once(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver)
    receiver.answers = [threading.Event()]
    publish(cloud, "a")
    receiver.wait_for(1)

    cloud.subscriber().seek(request={"subscription": PUSHER, "time": cloud.clock.now()})

    receiver.wait_for(2)
    cloud.wait_until(cloud.pubsub.is_idle)
    assert payloads(receiver) == ["a", "a"]


def test_with_a_retry_policy_only_the_refused_message_waits(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver, backoff_s=(30.0, 60.0))
    receiver.answers = [500]
    publish(cloud, "refused")
    receiver.wait_for(1)
    wait_for_delays(cloud)
    publish(cloud, "goes on")

    receiver.wait_for(2)
    cloud.advance(seconds=30)
    receiver.wait_for(3)
    assert payloads(receiver) == ["refused", "goes on", "refused"]


def test_a_message_without_attributes_is_pushed_without_them(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver)
    publish(cloud, "plain")

    [request] = receiver.wait_for(1)

    assert sorted(request.json["message"]) == ["data", "messageId", "message_id", "publishTime", "publish_time"]


def test_the_delivery_attempt_is_told_and_the_last_one_ends_in_the_dead_letter_topic(
    cloud: Cloud, receiver: Receiver
) -> None:
    with_push(cloud, receiver, dead_letter_topic="dead", max_delivery_attempts=5)
    receiver.answers = [500] * 5
    publish(cloud, "poison")
    for number in range(1, 6):
        receiver.wait_for(number)
        wait_for_delays(cloud)
        cloud.advance(seconds=5)

    cloud.wait_until(lambda: cloud.pubsub.backlog("dead") == 1)
    assert [each.json["deliveryAttempt"] for each in receiver.requests] == [1, 2, 3, 4, 5]
    assert cloud.call(cloud.pubsub.is_idle)


def test_a_push_that_is_not_answered_within_the_ack_deadline_is_made_again(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver, ack_deadline_s=20)
    hanging = threading.Event()
    receiver.answers = [hanging]
    publish(cloud, "a")
    receiver.wait_for(1)

    cloud.advance(seconds=20)
    wait_for_delays(cloud)
    cloud.advance(seconds=0.2)

    receiver.wait_for(2)
    cloud.wait_until(lambda: cloud.pubsub.backlog("pusher") == 0)


def test_pushes_of_a_subscription_run_at_the_same_time(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver)
    release = threading.Event()
    receiver.answers = [release] * 30

    publish(cloud, *(str(number) for number in range(30)))

    receiver.wait_for(30)
    release.set()
    cloud.wait_until(cloud.pubsub.is_idle)


def test_no_more_than_the_limit_is_in_flight(cloud: Cloud, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localcloud.pubsub.push.MAX_IN_FLIGHT", 4)
    with_push(cloud, receiver)
    release = threading.Event()
    receiver.answers = [release] * 10
    publish(cloud, *(str(number) for number in range(10)))

    receiver.wait_for(4)
    assert cloud.call(lambda: cloud.pubsub.subscription(PUSHER).queue.leased) == 4
    release.set()

    receiver.wait_for(10)
    cloud.wait_until(cloud.pubsub.is_idle)


@pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")
def test_nothing_of_the_backlog_is_pushed_once_pushing_stops(
    cloud: Cloud, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localcloud.pubsub.push.MAX_IN_FLIGHT", 2)
    with_push(cloud, receiver)
    receiver.answers = [threading.Event() for _ in range(6)]
    publish(cloud, *(str(number) for number in range(6)))
    receiver.wait_for(2)

    cloud.subscriber().modify_push_config(subscription=PUSHER, push_config={})
    cloud.wait_until(lambda: cloud.pubsub.pushers.is_settled)

    request = {"subscription": PUSHER, "max_messages": 10, "return_immediately": True}
    assert len(cloud.subscriber().pull(request).received_messages) == 4
    assert len(receiver.requests) == 2


def test_an_endpoint_that_is_not_there_is_tried_again(cloud: Cloud) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    cloud.call(lambda: cloud.pubsub.create_subscription(SubscriptionSpec("pusher", "jobs", push_endpoint=nowhere)))
    publish(cloud, "a")
    queue = cloud.call(lambda: cloud.pubsub.subscription(PUSHER).queue)

    cloud.wait_until(lambda: [entry.attempts for entry in queue.entries()] == [1])
    wait_for_delays(cloud)
    cloud.advance(seconds=0.2)

    cloud.wait_until(lambda: [entry.attempts for entry in queue.entries()] == [2])


def test_a_kept_connection_that_the_receiver_closes_is_no_failed_attempt(cloud: Cloud) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}/"
        cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
        cloud.call(lambda: cloud.pubsub.create_subscription(SubscriptionSpec("pusher", "jobs", push_endpoint=endpoint)))
        publish(cloud, "first")
        first, _ = server.accept()
        with first:
            first.recv(65536)
            first.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            cloud.wait_until(cloud.pubsub.is_idle)
            publish(cloud, "second")
            first.recv(65536)  # and closes without an answer
        second, _ = server.accept()
        with second:
            second.recv(65536)
            attempts = cloud.call(lambda: [each.attempts for each in cloud.pubsub.subscription(PUSHER).queue.entries()])
            second.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            cloud.wait_until(cloud.pubsub.is_idle)

    assert attempts == [1]


def test_an_ordered_push_waits_for_the_message_that_fails(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver, ordered=True)
    receiver.answers = [204, 500]
    keyed = [PublishedMessage(str(number).encode(), ordering_key="k") for number in range(4)]
    cloud.call(lambda: cloud.pubsub.publish("jobs", keyed))
    receiver.wait_for(2)
    cloud.wait_until(lambda: cloud.pubsub.subscription(PUSHER).queue.leased == 0)
    cloud.advance(seconds=1)

    receiver.wait_for(5)
    assert payloads(receiver) == ["0", "1", "1", "2", "3"]
    assert receiver.requests[0].json["message"]["orderingKey"] == "k"


def test_a_push_without_wrapper_is_the_payload_with_the_metadata_as_headers(cloud: Cloud, receiver: Receiver) -> None:
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    push_config = {"push_endpoint": f"{receiver.url}/raw", "no_wrapper": {"write_metadata": True}}
    name = f"projects/{cloud.context.project}/topics/jobs"
    cloud.subscriber().create_subscription(request={"name": PUSHER, "topic": name, "push_config": push_config})
    [message_id] = publish(cloud, '{"a": 1}', cluster="l4", bad="über\n", **{"Content-Length": "1", "a: b": "c"})

    [request] = receiver.wait_for(1)

    assert request.json == {"a": 1}
    assert request.headers["x-goog-pubsub-message-id"] == message_id
    assert request.headers["cluster"] == "l4"
    assert not {"bad", "a", "a: b"} & set(request.headers)


def test_a_duplicate_fault_pushes_twice(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver)
    cloud.context.faults.add(Fault("pubsub.messages.deliver", "pusher", action="duplicate"))
    publish(cloud, "a")

    receiver.wait_for(2)

    assert payloads(receiver) == ["a", "a"]
    cloud.wait_until(cloud.pubsub.is_idle)


def test_a_dropped_push_comes_after_the_ack_deadline_and_a_failed_one_after_the_backoff(
    cloud: Cloud, receiver: Receiver
) -> None:
    with_push(cloud, receiver)
    cloud.context.faults.add(Fault("pubsub.messages.deliver", "pusher", action="drop"))
    cloud.context.faults.add(Fault("pubsub.messages.deliver", "pusher", action="fail"))
    publish(cloud, "dropped", "failed")
    cloud.wait_until(lambda: not cloud.context.faults.standing())

    cloud.advance(seconds=0.1)
    receiver.wait_for(1)
    cloud.advance(seconds=10)
    wait_for_delays(cloud)
    cloud.advance(seconds=1)

    receiver.wait_for(2)
    assert payloads(receiver) == ["failed", "dropped"]


def test_a_lost_answer_has_the_message_pushed_again(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver)
    cloud.context.faults.add(Fault("pubsub.messages.deliver", "pusher", action="fail_after"))
    publish(cloud, "a")
    receiver.wait_for(1)
    wait_for_delays(cloud)
    cloud.advance(seconds=0.2)

    receiver.wait_for(2)
    assert payloads(receiver) == ["a", "a"]


def test_a_delayed_push_is_overtaken(cloud: Cloud, receiver: Receiver) -> None:
    with_push(cloud, receiver)
    cloud.context.faults.add(Fault("pubsub.messages.deliver", "pusher", action="delay", delay_s=3))
    publish(cloud, "a", "b")
    receiver.wait_for(1)
    cloud.advance(seconds=3)

    receiver.wait_for(2)
    assert payloads(receiver) == ["b", "a"]


def test_push_begins_when_a_pull_subscription_gets_an_endpoint(cloud: Cloud, receiver: Receiver) -> None:
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    cloud.call(lambda: cloud.pubsub.create_subscription(SubscriptionSpec("pusher", "jobs")))
    publish(cloud, "a")

    cloud.subscriber().modify_push_config(subscription=PUSHER, push_config={"push_endpoint": f"{receiver.url}/"})

    receiver.wait_for(1)
    wait_until(lambda: payloads(receiver) == ["a"])
