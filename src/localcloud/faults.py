"""What goes wrong next? Faults are an API: tests and people order them, each emulator asks before and after it acts.

    cloud.faults.add(Fault("storage.objects.insert", resource="b/claims/*", action="fail_after", status=503))

makes the next matching call commit and then answer 503, as a load balancer that loses the response would.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal, get_args

from localcloud.activity import Activity

Action = Literal["fail", "fail_after", "delay", "duplicate", "drop", "kill"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One order. `call` and `resource` are shell-style patterns; `times` is how many matching calls it hits.

    Actions: `fail` answers `status` without acting; `fail_after` acts, then answers `status`; `delay` waits `delay_s`
    seconds of virtual time, then acts; `duplicate` delivers a message twice; `drop` loses one delivery (it is
    redelivered like any unanswered one); `kill` sends SIGKILL to the instance once the request has reached it.
    """

    call: str
    resource: str = "*"
    action: Action = "fail"
    status: int = 503
    delay_s: float = 0.0
    times: int = 1
    skip: int = 0  # let this many matching calls pass first

    def __post_init__(self) -> None:
        if self.action not in get_args(Action):
            raise ValueError(f"action is {self.action!r}; expected one of {', '.join(get_args(Action))}")
        if self.times < 1:
            raise ValueError(f"times is {self.times}; expected at least 1")
        if self.skip < 0:
            raise ValueError(f"skip is {self.skip}; expected 0 or more")
        if not 400 <= self.status <= 599:
            raise ValueError(f"status is {self.status}; expected an HTTP error, 400 to 599")
        if not 0 <= self.delay_s < float("inf"):
            raise ValueError(f"delay_s is {self.delay_s}; expected a number of seconds, 0 or more")


class Faults:
    """The orders that stand, oldest first. May be used from any thread.

    `on_hit`, if set, is called with each fault as it hits, before it acts: the moment to kill whoever is calling.
    """

    def __init__(self) -> None:
        self.on_hit: Callable[[Fault], None] | None = None
        self.activity: Activity | None = None  # where hits are noted
        self._standing: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Order a fault."""
        with self._lock:
            self._standing.append(fault)

    def withdraw(self, fault: Fault) -> None:
        """Withdraw the oldest order like this one, `times` and `skip` being what is left. Raises ValueError."""
        with self._lock:
            if fault not in self._standing:
                raise ValueError("no such order stands (any more)")
            self._standing.remove(fault)

    def clear(self) -> None:
        """Withdraw all orders."""
        with self._lock:
            self._standing.clear()

    def standing(self) -> list[Fault]:
        """The orders not yet used up; `times` and `skip` are what is left of them."""
        with self._lock:
            return list(self._standing)

    def take(self, call: str, resource: str = "") -> Fault | None:
        """The fault that hits this call, which uses up one of its times; None lets the call through.

        Calls are named `<service>.<resource type>.<verb>` (`storage.objects.insert`, `pubsub.messages.deliver`,
        `eventarc.events.deliver`, `run.services.invoke`, `workflows.executions.create`).
        """
        fault = self._next(call, resource) if self._standing else None
        if fault is not None and self.activity is not None:
            self.activity.emit("faults", call, fault.action, "%s", resource, level="warning")
        if fault is not None and self.on_hit is not None:
            self.on_hit(fault)
        return fault

    def _next(self, call: str, resource: str) -> Fault | None:
        with self._lock:
            for index, fault in enumerate(self._standing):
                if not (fnmatchcase(call, fault.call) and fnmatchcase(resource, fault.resource)):
                    continue
                if fault.skip:
                    self._standing[index] = replace(fault, skip=fault.skip - 1)
                    continue
                if fault.times == 1:
                    del self._standing[index]
                else:
                    self._standing[index] = replace(fault, times=fault.times - 1)
                return fault
        return None
