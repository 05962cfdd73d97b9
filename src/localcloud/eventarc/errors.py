"""What does Eventarc refuse?"""

from __future__ import annotations


class EventarcError(Exception):
    """Base of all refusals, with the canonical status and its HTTP number."""

    status = "INTERNAL"
    http_status = 500


class InvalidTrigger(EventarcError):
    """A field of a trigger is wrong; the message names it, its value and what would be right."""

    status = "INVALID_ARGUMENT"
    http_status = 400


class TriggerNotFound(EventarcError):
    """There is no such trigger."""

    status = "NOT_FOUND"
    http_status = 404
