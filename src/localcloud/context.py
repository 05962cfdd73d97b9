"""What does every emulated service get to stand on?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from localcloud.activity import Activity
from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.store import Store

if TYPE_CHECKING:  # it signs, and what signs takes a while to import
    from localcloud.identity import Identity


@dataclass(frozen=True, slots=True)
class Context:
    """One project in one location, on one clock, one store and one set of faults."""

    project: str
    location: str
    clock: Clock
    store: Store
    faults: Faults
    identity: Identity
    http_url: str  # base URL of the gateway, e.g. http://127.0.0.1:9000, without a trailing slash
    grpc_address: str  # host:port of the gRPC server
    endpoints: Mapping[str, str] = field(default_factory=dict)  # base URLs of Google APIs served elsewhere, by service
    allowed_hosts: tuple[str, ...] = ()  # patterns of hosts outside this machine that workflows may call
    activity: Activity = field(init=False)  # what the services say they do

    def __post_init__(self) -> None:
        object.__setattr__(self, "activity", Activity(self.clock))
        self.faults.activity = self.activity
        self.faults.clock = self.clock

    def service_account(self, name: str) -> str:
        """The email of a service account, by its name in this project or by its email."""
        return name if "@" in name else f"{name}@{self.project}.iam.gserviceaccount.com"

    @property
    def project_number(self) -> int:
        """Of the project; here it follows from its id."""
        return 10**11 + int.from_bytes(hashlib.sha256(self.project.encode()).digest()[:8], "big") % (9 * 10**11)

    def account_of(self, name: str) -> str:
        """The email of the service account that something runs as; without one it is the default of the project."""
        return self.service_account(name) if name else f"{self.project_number}-compute@developer.gserviceaccount.com"

    def service_url(self, service: str) -> str:
        """The address, and so the token audience, of a Cloud Run service."""
        return f"{self.http_url}/run/{service}"
