"""What does Eventarc refuse? Its triggers are made of Pub/Sub's topics and subscriptions, and refused like those."""

from __future__ import annotations

from localcloud.pubsub.errors import InvalidArgument, NotFound


class InvalidTrigger(InvalidArgument):
    """A field of a trigger is wrong; the message names it, its value and what would be right."""


class TriggerNotFound(NotFound):
    """There is no such trigger."""
