"""Which request does what? The JSON API of Cloud Storage on the wire.

Every method is a row of a table, under the name that the API's discovery document gives it; a fault is ordered by that
name (`storage.objects.get`). https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import inspect
from typing import Any

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from localcloud.storage import api_access, api_buckets, api_objects, fields
from localcloud.storage.batch import run_batch
from localcloud.storage.errors import StorageError
from localcloud.storage.state import Storage
from localcloud.storage.uploading import Uploading
from localcloud.storage.wire import Call, Method, Reply, error_reply, json_reply, serve

_PREFIXES = (
    "/storage/v1/",
    "/upload/storage/v1/",
    "/resumable/upload/storage/v1/",  # as gcloud's library has it
    "/download/storage/v1/",
    "/batch/storage/v1",
)
METHODS = (*api_buckets.METHODS, *api_objects.METHODS, *api_access.METHODS)


def routes(storage: Storage) -> list[BaseRoute]:
    """Everything below the prefixes of Cloud Storage, for a Starlette application."""
    return [_StorageRoute(StorageApi(storage))]


class _StorageRoute(BaseRoute):
    """Takes whole prefixes: object names are matched in the raw path, which Starlette's patterns don't see."""

    def __init__(self, api: StorageApi) -> None:
        self._api = api

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path is one of ours."""
        ours = scope["type"] == "http" and scope["path"].startswith(_PREFIXES)
        return (Match.FULL if ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        await serve(self._api.handle, scope, receive, send, error_reply)


class StorageApi:
    """The calls, by method and path."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._uploading = Uploading(storage)
        self._methods: dict[tuple[str, int], list[Method]] = {}
        for method in METHODS:
            self._methods.setdefault((method.verb, len(method.path)), []).append(method)

    async def handle(self, call: Call) -> Reply:
        """Answer one call. Raises StorageError."""
        if call.service == "batch":
            return await run_batch(call, self.handle)
        if call.service == "upload":
            return await self._upload(call)
        method, names = self._find(call)
        if method.has_body:
            call.resource = await call.json()
        async with self._storage.context.faults.around(method.name, method.target(call, names)):
            answer: Any = method.answer(self._storage, call, *names)
            if inspect.isawaitable(answer):
                answer = await answer
        if isinstance(answer, Reply):
            return answer
        return json_reply(fields.select(answer, call.query.get("fields")))

    async def _upload(self, call: Call) -> Reply:
        match call.path:
            case ("b", bucket, "o"):
                return await self._uploading.handle(call, bucket)
            case _:
                raise StorageError(404, f"Not Found: {call.method} on this path is not emulated.")

    def _find(self, call: Call) -> tuple[Method, list[str]]:
        """The method for a call, and the names in its path."""
        for method in self._methods.get((call.method, len(call.path)), ()):
            names = method.match(call.path)
            if names is not None:
                return method, names
        if any(len(method.path) == len(call.path) and method.match(call.path) is not None for method in METHODS):
            raise StorageError(405, f"Method Not Allowed: {call.method}")
        raise StorageError(404, f"Not Found: {call.method} on this path is not emulated.")
