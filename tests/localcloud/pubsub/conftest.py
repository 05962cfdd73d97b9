"""Fixtures of the Pub/Sub tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.localcloud.pubsub.pubsub_cloud import Cloud, Receiver


@pytest.fixture(scope="session")
def shared_receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def receiver(shared_receiver: Receiver) -> Iterator[Receiver]:
    """Where pushes go."""
    yield shared_receiver
    shared_receiver.reset()


@pytest.fixture
def cloud(receiver: Receiver) -> Iterator[Cloud]:
    """Pub/Sub and Eventarc on a stopped clock, with all services at the receiver; gone before the receiver forgets."""
    cloud = Cloud(service_base=receiver.url)
    yield cloud
    cloud.close()
