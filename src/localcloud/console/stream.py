"""How does the page hear what happens? Server-sent events of the activity log.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from localcloud.activity import Activity
from localcloud.endpoints import HEADERS
from localcloud.gateway import error

FIRST = 500  # events that a new reader gets of what was before
BATCH = 2000  # events in one frame
COLLECT_S = 0.1  # of real time between two frames: what a reader costs is bounded, however much happens
RETRY_MS = 1000  # until a browser that lost the connection comes back
MAX_READERS = 64


class Stream:
    """Where pages read the activity log on. An id is `<this process>-<number of the event>`."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._process = secrets.token_hex(4)
        self._readers = 0

    async def endpoint(self, request: Request) -> Response:
        """The events after `Last-Event-ID` or `?after=<id>`; without one, the latest and what comes."""
        if self._readers >= MAX_READERS:
            return error(429, f"{MAX_READERS} pages read along already; close some.")
        last = request.headers.get("last-event-id") or request.query_params.get("after", "")
        return StreamingResponse(self._frames(self._position(last)), media_type="text/event-stream", headers=HEADERS)

    def _position(self, last: str) -> int:
        """The number to go on after; an id of another process is none, as the numbers began anew."""
        process, _, number = last.partition("-")
        if process == self._process and number.isascii() and number.isdecimal() and len(number) < 20:
            return min(int(number), self._activity.latest)
        return max(0, self._activity.latest - FIRST)

    async def _frames(self, number: int) -> AsyncIterator[bytes]:
        activity = self._activity
        self._readers += 1
        try:
            yield b'retry: %d\nevent: hello\ndata: "%s"\n\n' % (RETRY_MS, self._process.encode())
            while not activity.closed:
                # Sending waits for the reader: while it is slow the log moves on, and this catches up or has a gap.
                if missed := activity.missed(number):
                    number += missed
                    yield self._frame("gap", number, {"missed": missed})
                events = activity.after(number, BATCH)
                if events:
                    number = events[-1].number
                    yield self._frame("activity", number, events)
                await asyncio.sleep(COLLECT_S)
                await activity.follow(number)
        finally:
            self._readers -= 1

    def _frame(self, kind: str, number: int, value: object) -> bytes:
        head = f"id: {self._process}-{number}\nevent: {kind}\ndata: ".encode()
        return head + msgspec.json.encode(value) + b"\n\n"  # JSON has no line breaks of its own
