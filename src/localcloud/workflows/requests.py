"""What do the requests hold that Google's client library has no messages for?"""

from __future__ import annotations

from typing import Any

import msgspec


class NameRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request that only names a resource."""

    name: str


class ListCallbacksRequest(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Which callbacks are wanted."""

    parent: str
    page_size: int = 0
    page_token: str = ""


class StepEntryRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which step entry is wanted; the view is deprecated."""

    name: str
    view: str = ""


class ListStepEntriesRequest(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Which step entries are wanted; the view is deprecated."""

    parent: str
    page_size: int = 0
    page_token: str = ""
    skip: int = 0
    filter: str = ""
    order_by: str = ""
    view: str = ""


class PubsubMessage(msgspec.Struct, rename="camel"):
    """A message as a push subscription sends it; fields that are not needed are let through."""

    data: str = ""
    attributes: dict[str, str] = {}
    message_id: str = ""
    publish_time: str = ""


class TriggerRequest(msgspec.Struct):
    """A push request that starts an execution; fields that are not needed are let through."""

    workflow: str
    message: PubsubMessage
    subscription: str = ""


class Extras(msgspec.Struct, rename="camel"):
    """Fields of an Execution that the client library's message lacks."""

    execution_history_level: str = "EXECUTION_HISTORY_LEVEL_UNSPECIFIED"
    disable_concurrency_quota_overflow_buffering: bool = False  # there is no such quota here
    create_time: Any = None  # output only
