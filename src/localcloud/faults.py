"""What goes wrong next? Faults are an API: tests and people order them, and every call of every service asks.

    cloud.faults.add(Fault("storage.objects.insert", resource="b/claims/*", action="fail_after", status=503))

makes the next matching call commit and then answer 503, as a load balancer that loses the response would.

Calls are named `<service>.<resources>.<verb>`: `storage.objects.insert`, `pubsub.topics.publish`,
`workflows.executions.create`, `run.services.invoke`; deliveries `pubsub.messages.deliver`, `eventarc.events.deliver`.
`localcloud.interruptions` says how a call that comes over the wire gets its name.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from types import TracebackType
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from localcloud.activity import Activity
    from localcloud.clock import Clock

Action = Literal["fail", "fail_after", "delay", "drop", "disconnect", "duplicate", "reorder", "kill", "preempt"]

# What can be done to a call of an API, to the delivery of a message, to a request to an instance of a service.
CALL = frozenset[Action](("fail", "fail_after", "delay", "drop", "disconnect"))
DELIVERY = frozenset[Action](("fail", "fail_after", "delay", "drop", "duplicate", "reorder"))
# To the coming up of a VM, and to one that runs.
PROVISION = frozenset[Action](("fail",))
MACHINE = frozenset[Action](("kill", "preempt"))
INVOCATION = frozenset[Action](("fail", "fail_after", "delay", "drop", "disconnect", "kill"))

# https://cloud.google.com/apis/design/errors#handling_errors Of several codes with one HTTP status the first is meant.
CODES = {
    "INVALID_ARGUMENT": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "FAILED_PRECONDITION": 412,  # over REST 400; storage answers 412
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_OF_STATUS = {status: code for code, status in reversed(CODES.items())} | {408: "DEADLINE_EXCEEDED", 502: "UNAVAILABLE"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One order. `call` and `resource` are shell-style patterns.

    Actions:
        fail        answers `status` (or the gRPC `code`) without acting
        fail_after  acts, then answers `status`
        delay       waits `delay_s` seconds of virtual time, then acts; with `delay_max_s` a random time between the two
        drop        does not act, and closes the connection; a delivery is lost, and repeated like any unanswered one
        disconnect  acts, and closes the connection before the answer, or once `after_bytes` of its body have been sent
        duplicate   delivers a message twice
        reorder     delivers a message after the next one, or after `delay_s` (60 by default) if none comes
        kill        sends SIGKILL to the instance once the request has reached it; a VM is gone at once
        preempt     takes a VM back, `delay_s` after it has been told

    It hits `times` matching calls (None: all of them) after letting `skip` pass; with a `probability`, of each that
    matches so many on average, the same ones for the same `seed`. With `for_s` it stands for so many seconds of virtual
    time: a stockout in a region, for an hour.
    """

    call: str
    resource: str = "*"
    action: Action = "fail"
    status: int = 503
    delay_s: float = 0.0
    times: int | None = 1
    skip: int = 0
    code: str = ""  # canonical name of a gRPC code; instead of `status`
    delay_max_s: float = 0.0
    after_bytes: int | None = None
    probability: float = 1.0
    seed: int = 0
    reason: str = ""  # error code of a service that has its own, such as ZONE_RESOURCE_POOL_EXHAUSTED
    for_s: float | None = None

    def __post_init__(self) -> None:
        if self.action not in get_args(Action):
            raise ValueError(f"action is {self.action!r}; expected one of {', '.join(get_args(Action))}")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times is {self.times}; expected at least 1, or null for no end")
        if self.skip < 0:
            raise ValueError(f"skip is {self.skip}; expected 0 or more")
        if not 400 <= self.status <= 599:
            raise ValueError(f"status is {self.status}; expected an HTTP error, 400 to 599")
        if self.code and self.code not in CODES:
            raise ValueError(f"code is {self.code!r:.80}; expected one of {', '.join(CODES)}")
        if not 0 <= self.delay_s < float("inf"):
            raise ValueError(f"delay_s is {self.delay_s}; expected a number of seconds, 0 or more")
        if self.delay_max_s and not self.delay_s <= self.delay_max_s < float("inf"):
            raise ValueError(f"delay_max_s is {self.delay_max_s}; expected at least delay_s, which is {self.delay_s}")
        if self.after_bytes is not None and self.after_bytes < 0:
            raise ValueError(f"after_bytes is {self.after_bytes}; expected 0 or more")
        if self.for_s is not None and not 0 < self.for_s < float("inf"):
            raise ValueError(f"for_s is {self.for_s}; expected a number of seconds above 0, or null for no end")
        if not 0 < self.probability <= 1:
            raise ValueError(f"probability is {self.probability}; expected more than 0 and at most 1")

    @property
    def http_status(self) -> int:
        """What a call over HTTP answers."""
        return CODES[self.code] if self.code else self.status

    @property
    def grpc_code(self) -> str:
        """What a call over gRPC answers: the canonical name of a code."""
        return self.code or _OF_STATUS.get(self.status, "INTERNAL" if self.status >= 500 else "FAILED_PRECONDITION")


class Injected(Exception):
    """The call fails as ordered; whoever answers it turns this into an error of its service."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"Fault ordered for {fault.call}.")
        self.http_status = fault.http_status
        self.grpc_code = fault.grpc_code


class ConnectionLost(Exception):
    """The connection closes without an answer, as ordered."""


@dataclass(slots=True)
class Cut:
    """Where the answer under way ends: after so many bytes of its body; None: at its end."""

    after_bytes: int | None = None


CUT: ContextVar[Cut | None] = ContextVar("cut", default=None)  # of the answer to the call that is being served


@dataclass(slots=True)
class _Order:
    """A fault with what is left of it; `fault.delay_s` is drawn anew for each hit."""

    fault: Fault
    until: float = float("inf")  # it stands no longer
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.fault.seed)  # noqa: S311  # the same hits for the same seed

    def hit(self) -> Fault | None:
        """The fault as it hits a matching call, or None if it lets that pass."""
        fault = self.fault
        if fault.skip:
            self.fault = replace(fault, skip=fault.skip - 1)
            return None
        if fault.probability < 1 and self.random.random() >= fault.probability:
            return None
        if fault.times is not None and fault.times > 1:
            self.fault = replace(fault, times=fault.times - 1)
        if fault.delay_max_s:
            return replace(fault, delay_s=self.random.uniform(fault.delay_s, fault.delay_max_s))
        return fault


class Faults:
    """The orders that stand, oldest first. May be used from any thread.

    `on_hit`, if set, is called with each fault as it hits, before it acts: the moment to kill whoever is calling.
    """

    def __init__(self) -> None:
        self.on_hit: Callable[[Fault], None] | None = None
        self.activity: Activity | None = None  # where hits are noted
        self.clock: Clock | None = None  # by which calls are late
        self._standing: list[_Order] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Order a fault."""
        until = float("inf") if fault.for_s is None else self._now() + fault.for_s
        with self._lock:
            self._standing.append(_Order(fault, until))

    def withdraw(self, fault: Fault) -> None:
        """Withdraw the oldest order like this one, `times` and `skip` being what is left. Raises ValueError."""
        with self._lock:
            for index, order in enumerate(self._standing):
                if order.fault == fault:
                    del self._standing[index]
                    return
        raise ValueError("no such order stands (any more)")

    def clear(self) -> None:
        """Withdraw all orders."""
        with self._lock:
            self._standing.clear()

    @property
    def any_standing(self) -> bool:
        """Whether anything is ordered: what every call asks first."""
        return bool(self._standing)

    def standing(self) -> list[Fault]:
        """The orders not yet used up or over; `times` and `skip` are what is left of them."""
        with self._lock:
            self._end_those_that_are_over()
            return [order.fault for order in self._standing]

    def take(
        self, call: str, resource: str = "", actions: frozenset[Action] = frozenset(get_args(Action))
    ) -> Fault | None:
        """The fault that hits this call, which uses up one of its times; None lets the call through.

        Only orders of these `actions` are looked at: one that means nothing to the call stands on.
        """
        fault = self._next(call, resource, actions) if self._standing else None
        if fault is not None:
            if self.activity is not None:
                self.activity.emit("faults", call, fault.action, "%s", resource, level="warning")
            if self.on_hit is not None:
                self.on_hit(fault)
        return fault

    def around(self, call: str, resource: str = "") -> Around:
        """A context in which a call acts: `async with faults.around("storage.objects.get", "bucket/name"): ...`"""
        return Around(self, call, resource)

    def _next(self, call: str, resource: str, actions: frozenset[Action]) -> Fault | None:
        with self._lock:
            self._end_those_that_are_over()
            for index, order in enumerate(self._standing):
                fault = order.fault
                if fault.action not in actions:
                    continue
                if not (fnmatchcase(call, fault.call) and fnmatchcase(resource, fault.resource)):
                    continue
                hit = order.hit()
                if hit is None:
                    continue
                if hit.times == 1:  # this was the last one
                    del self._standing[index]
                return hit
        return None

    def _end_those_that_are_over(self) -> None:
        if any(order.until != float("inf") for order in self._standing):
            now = self._now()
            self._standing = [order for order in self._standing if now < order.until]

    def _now(self) -> float:
        return 0.0 if self.clock is None else self.clock.time()


class Around:
    """Applies the fault ordered for a call: before it acts, and after.

    Raises:
        Injected: to be answered as an error, before or instead of the answer.
        ConnectionLost: there is to be no answer.
    """

    __slots__ = ("_call", "_fault", "_faults", "_resource")

    def __init__(self, faults: Faults, call: str, resource: str) -> None:
        self._faults, self._call, self._resource = faults, call, resource
        self._fault: Fault | None = None

    async def __aenter__(self) -> Fault | None:
        fault = self._fault = self._faults.take(self._call, self._resource, CALL)
        if fault is None:
            return None
        if fault.action == "fail":
            raise Injected(fault)
        if fault.action == "drop":
            raise ConnectionLost
        if fault.action == "delay" and self._faults.clock is not None:
            await self._faults.clock.sleep(fault.delay_s)
        if fault.action == "disconnect" and fault.after_bytes is not None:
            cut = CUT.get()
            if cut is not None:
                cut.after_bytes = fault.after_bytes
        return fault

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fault = self._fault
        if fault is None or kind is not None:
            return
        if fault.action == "fail_after":
            raise Injected(fault)
        if fault.action == "disconnect" and (fault.after_bytes is None or CUT.get() is None):
            raise ConnectionLost
