"""What does Eventarc refuse? Its triggers are made of Pub/Sub's topics and subscriptions, and refused like those."""

from __future__ import annotations

from localcloud.pubsub.errors import AlreadyExists, InvalidArgument, NotFound, PubSubError


class InvalidTrigger(InvalidArgument):
    """A field of a trigger is wrong; the message names it, its value and what would be right."""


class TriggerNotFound(NotFound):
    """There is no such trigger."""


class TriggerExists(AlreadyExists):
    """There is a trigger of that name."""


class TriggerChanged(PubSubError):
    """The trigger isn't the one that the call is about."""

    status = "ABORTED"
    http_status = 409
