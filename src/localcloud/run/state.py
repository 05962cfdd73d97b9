"""Which instance takes a request, when does another one start, and when does one stop? Rules without processes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from localcloud.run.traffic import Target

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
ROUNDING_S = 1e-3  # epoch seconds as floats are good to a microsecond
# https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services/create
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?")


@dataclass(frozen=True)
class Probe:
    """How an instance is asked whether it is still well: GET `path` answers 200 to 399; without one, it accepts.

    The first time after `initial_delay_s`, then every `period_s`, both of virtual time; an answer may take `timeout_s`
    of real time. After `failure_threshold` failures in a row the instance is killed.
    https://cloud.google.com/run/docs/configuring/healthchecks
    """

    path: str | None = None
    initial_delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    failure_threshold: int = 3

    def __post_init__(self) -> None:
        if self.path is not None and not self.path.startswith("/"):
            raise ValueError(f"probe: path is {self.path!r:.80}; expected it to start with /")
        if self.period_s < 1 or self.failure_threshold < 1 or self.timeout_s <= 0 or self.initial_delay_s < 0:
            raise ValueError("probe: period_s and failure_threshold must be at least 1, timeout_s more than 0")


@dataclass(frozen=True)
class ServiceSpec:
    """What is deployed: a command that serves HTTP on `$PORT`, and how far it scales.

    `timeout_s` (of a request, waiting included) and `idle_s` are virtual time; `startup_timeout_s` is real time, as a
    process takes real time to start. Without `health_path` an instance is ready once it accepts connections, with it
    once that path answers 200. `max_queue` is how many requests may wait for an instance.
    `service_account` is who it is, by email or by name in this project; if empty, the project's default account.
    An instance that fails its `liveness` probe is killed.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = field(default_factory=Path.cwd)
    concurrency: int = 80
    max_instances: int = 1
    min_instances: int = 0
    timeout_s: float = 300.0
    startup_timeout_s: float = 240.0
    idle_s: float = 900.0
    public: bool = False
    health_path: str | None = None
    max_queue: int = 1000
    service_account: str = ""
    liveness: Probe | None = None

    def __post_init__(self) -> None:
        checked_name("service", self.name)
        if not self.command:
            raise ValueError(f"service {self.name}: command is empty")
        if self.concurrency < 1 or self.max_instances < 1:
            raise ValueError(f"service {self.name}: concurrency and max_instances must be at least 1")
        if not 0 <= self.min_instances <= self.max_instances:
            raise ValueError(
                f"service {self.name}: min_instances is {self.min_instances};"
                f" expected 0 to max_instances ({self.max_instances})"
            )
        if self.health_path is not None and not self.health_path.startswith("/"):
            raise ValueError(f"service {self.name}: health_path is {self.health_path!r}; expected it to start with /")


def checked_name(kind: str, name: str) -> None:
    """Raises ValueError where a resource cannot be called so."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{kind} name is {name!r:.80}; expected {_NAME.pattern}")


class Revision(msgspec.Struct):
    """A service as it was deployed at one time."""

    name: str
    uid: str
    spec: ServiceSpec
    created: float
    is_named: bool = False  # by its deployer


class Deployed(msgspec.Struct):
    """What is stored of a service; the last revision is the current one. Times are virtual.

    `fixed` is how many words of the command are no arguments. `by_api` says that it was deployed through the Run API:
    then it is there again after a restart, and its callers may see the values of its variables. Without `traffic` the
    last revision takes all requests.
    """

    uid: str
    created: float
    updated: float
    generation: int = 0
    revisions: list[Revision] = []
    fixed: int = 1
    image: str = ""
    by_api: bool = False
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    traffic: list[Target] = []


class Slot(Protocol):
    """What the rules see of an instance."""

    @property
    def is_open(self) -> bool:
        """Ready, of the current revision and not stopping: it may take requests."""

    @property
    def active(self) -> int:
        """Requests it works on."""


S = TypeVar("S", bound=Slot)


def choose(instances: Iterable[S], concurrency: int) -> S | None:
    """The instance that takes the next request, or None if none has room.

    The least busy one; of equals the oldest, so that the younger ones fall idle when there is little to do.
    """
    with_room = [instance for instance in instances if instance.is_open and instance.active < concurrency]
    return min(with_room, key=lambda instance: instance.active, default=None)


def instances_to_start(spec: ServiceSpec, *, live: int, starting: int, waiting: int) -> int:
    """How many instances to start now, when `live` ones (of them `starting`) exist and `waiting` requests queue.

    Those that start already will take `concurrency` requests each; every further request adds to the demand.
    """
    unserved = max(0, waiting - starting * spec.concurrency)
    wanted = max(live + math.ceil(unserved / spec.concurrency), spec.min_instances)
    return max(0, min(wanted, spec.max_instances) - live)


def may_stop(spec: ServiceSpec, *, live: int, active: int, idle_for_s: float) -> bool:
    """Whether an instance that has had `active` requests and nothing to do for `idle_for_s` seconds may be stopped."""
    return active == 0 and idle_for_s >= spec.idle_s - ROUNDING_S and live > spec.min_instances


def start_backoff(failures: int) -> float:
    """Seconds until the next attempt after this many failed starts in a row."""
    return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 30))
