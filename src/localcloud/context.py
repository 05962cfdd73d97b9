"""What does every emulated service get to stand on?"""

from __future__ import annotations

from dataclasses import dataclass, field

from localcloud.activity import Activity
from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.identity import Identity
from localcloud.store import Store


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
    activity: Activity = field(init=False)  # what the services say they do

    def __post_init__(self) -> None:
        object.__setattr__(self, "activity", Activity(self.clock))
        self.faults.activity = self.activity

    def service_account(self, name: str) -> str:
        """The email of a service account of this project."""
        return f"{name}@{self.project}.iam.gserviceaccount.com"

    def service_url(self, service: str) -> str:
        """The address, and so the token audience, of a Cloud Run service."""
        return f"{self.http_url}/run/{service}"
