"""What does a machine know of itself, and who waits for it to change? A tree of values, as its paths spell it.

A value is a string, a number or a tuple of strings (text: a line each; JSON: a list); a directory is a dict of these.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from localcloud.clock import Clock
from localcloud.context import Context
from localcloud.identity import CLOUD_PLATFORM

Value: TypeAlias = "str | int | tuple[str, ...]"
Node: TypeAlias = "Value | dict[str, Any]"

ACCOUNTS = "service-accounts"
# Keys below these are the user's own, and stay as they are in JSON.
_OWN_NAMES = ("attributes",)


class Metadata:
    """The values of one machine; belongs to one event loop."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._root: dict[str, Any] = dict(values)
        self._waiting: set[asyncio.Future[None]] = set()

    def find(self, path: str) -> Node | None:
        """The value or directory at `path` (`instance/zone`), if there is one."""
        node: Any = self._root
        for name in _names(path):
            if not isinstance(node, dict) or name not in node:
                return None
            node = node[name]
        return node  # type: ignore[no-any-return]  # a tree of Any

    def set(self, path: str, value: Value | None) -> None:
        """Change a value, or with None remove it: `set("instance/preempted", "TRUE")`. Wakes those who wait for it."""
        *above, last = _names(path)
        node = self._root
        for name in above:
            node = node.setdefault(name, {})
        if value is None:
            node.pop(last, None)
        else:
            node[last] = value
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def changed(self, path: str, etag: str | None, clock: Clock, timeout_s: float | None) -> None:
        """Return when the ETag of what is at `path` is another than `etag` (None: than now), or after `timeout_s`."""
        seen = etag or etag_of(self.find(path))
        waiting = self._until_changed(path, seen)
        if timeout_s is None:
            await waiting
            return
        try:
            await clock.timeout(waiting, timeout_s)
        except TimeoutError:
            return  # then the answer is what there is

    async def _until_changed(self, path: str, seen: str) -> None:
        while etag_of(self.find(path)) == seen:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                await future
            finally:
                self._waiting.discard(future)


def etag_of(node: Node | None) -> str:
    """It changes when anything at or below `node` does."""
    return hashlib.sha256(msgspec.json.encode(node)).hexdigest()[:16]


def as_json(node: Node, name: str = "") -> Any:
    """What `recursive=true` shows: names in camel case, but for those that users gave."""
    if not isinstance(node, dict):
        return node
    below = {key: as_json(value, key) for key, value in node.items()}
    return below if name in (*_OWN_NAMES, ACCOUNTS) else {_camel(key): value for key, value in below.items()}


def as_text(node: Node) -> str:
    """What is shown without `alt=json`: the value, or what is in the directory."""
    if isinstance(node, dict):
        return "".join(f"{name}/\n" if isinstance(value, dict) else f"{name}\n" for name, value in sorted(node.items()))
    return "".join(f"{line}\n" for line in node) if isinstance(node, tuple) else str(node)


def flattened(node: Node, path: str = "") -> Iterable[tuple[str, str]]:
    """What `recursive=true&alt=text` shows: path and text of every value."""
    if isinstance(node, dict):
        for name, value in sorted(node.items()):
            yield from flattened(value, f"{path}/{name}" if path else name)
    else:
        yield path, as_text(node).rstrip("\n")


def account(email: str, scopes: tuple[str, ...] = (CLOUD_PLATFORM,)) -> dict[str, Any]:
    """The directory `service-accounts` of a machine that has this account."""
    known = {"aliases": ("default",), "email": email, "scopes": scopes}
    return {"default": known, email: known}


def of_container(context: Context, service_account: str, instance: str) -> Metadata:
    """What a container on Cloud Run sees. `instance` is its id, `service_account` as in a ServiceSpec."""
    number = context.project_number
    return Metadata(
        {
            "instance": {
                "id": instance,
                "region": f"projects/{number}/regions/{context.location}",
                "zone": f"projects/{number}/zones/{context.location}-1",
                ACCOUNTS: account(context.account_of(service_account)),
            },
            "project": {"numeric-project-id": number, "project-id": context.project},
            "universe": {"universe-domain": "googleapis.com"},
        }
    )


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


def _camel(name: str) -> str:
    return re.sub(r"-(.)", lambda match: match[1].upper(), name)
