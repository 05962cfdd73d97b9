"""`events`: callbacks. https://cloud.google.com/workflows/docs/creating-callback-endpoints"""

from __future__ import annotations

from localcloud.workflows.errors import runtime_error, value_error
from localcloud.workflows.functions import blocking, expect, local
from localcloud.workflows.http import timeout_of
from localcloud.workflows.thread import Thread
from localcloud.workflows.values import Value

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
_MAX_TIMEOUT_S = 31_536_000.0


@local("events.create_callback_endpoint")
def _create_callback_endpoint(thread: Thread, http_callback_method: Value = "POST") -> Value:
    method = expect(http_callback_method, str, "http_callback_method")
    if method not in _METHODS:
        raise value_error(f"http_callback_method {method!r} is not one of {', '.join(_METHODS)}")
    return {"url": thread.once("callback", lambda: thread.run.callbacks.create(method))}


@blocking("events.await_callback")
async def _await_callback(thread: Thread, callback: Value, timeout_: Value = 43200.0) -> Value:
    url = expect(expect(callback, dict, "callback").get("url"), str, "callback.url")
    seconds = timeout_of(timeout_, _MAX_TIMEOUT_S)
    clock = thread.run.clock
    deadline = thread.once("await_callback", lambda: clock.time() + seconds)

    async def received() -> Value:
        try:
            return await clock.timeout(thread.run.callbacks.wait(url), deadline - clock.time())
        except TimeoutError as error:
            raise runtime_error("TimeoutError", f"no callback within {seconds:g} s") from error

    request = await thread.effect("callback received", received)
    thread.run.callbacks.taken(url)
    return request
