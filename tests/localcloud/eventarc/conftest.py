"""Fixtures of the Eventarc tests: the same local cloud as Pub/Sub's."""

from __future__ import annotations

from tests.localcloud.pubsub.conftest import cloud, receiver, shared_receiver

__all__ = ["cloud", "receiver", "shared_receiver"]
