"""What does the VM know of itself? Its metadata server, and the group through which it ends itself.

https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys
"""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from zeroidle.contracts.machines import Provisioning, VmRef, Worker
from zeroidle.errors import PermanentError, TemporaryError
from zeroidle.ports import Fleet

GOOGLES = "metadata.google.internal"
TIMEOUT_S = 2.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Set by the instance template of each group.
CLUSTER, PROVISIONING = "zeroidle-cluster", "zeroidle-provisioning"


class Metadata:
    """The metadata server at `host` (host or host:port)."""

    def __init__(self, host: str) -> None:
        self._base = f"http://{host}/computeMetadata/v1/"

    def get(self, path: str) -> str:
        """A value, such as `instance/name`. Raises TemporaryError; PermanentError where there is no such value."""
        request = urllib.request.Request(self._base + path, headers={"Metadata-Flavor": "Google"})  # noqa: S310  # http
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310  # see above
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise PermanentError(f"the metadata server has no {path}", code="NO_METADATA") from error
            raise TemporaryError(f"the metadata server answers {error.code} for {path}") from error
        except OSError as error:
            raise TemporaryError(f"the metadata server does not answer: {error}") from error


def identify(metadata: Metadata, boot_id: str) -> Worker:
    """Who this agent is; the price is looked up in the ledger by the caller."""
    zone = metadata.get("instance/zone").rpartition("/")[2]
    vm = VmRef(
        name=metadata.get("instance/name"),
        cluster=metadata.get(f"instance/attributes/{CLUSTER}"),
        region=zone.rpartition("-")[0],
        provisioning=Provisioning(metadata.get(f"instance/attributes/{PROVISIONING}")),
    )
    return Worker(vm=vm, zone=zone, boot_id=f"{metadata.get('instance/id')}-{boot_id[:8]}")


class Vm:
    """`worker.ports.Host` of the VM that this process runs on."""

    def __init__(self, metadata: Metadata, fleet: Fleet, ref: VmRef) -> None:
        self._metadata, self._fleet, self._ref = metadata, fleet, ref

    def is_preempted(self) -> bool:
        """Has the VM been told that it will be taken back, or stopped for maintenance? No answer is no."""
        try:
            if self._metadata.get("instance/preempted") == "TRUE":
                return True
            return self._metadata.get("instance/maintenance-event") == "TERMINATE_ON_HOST_MAINTENANCE"
        except (TemporaryError, PermanentError):
            return False

    def delete(self) -> None:
        """Have this VM deleted, through its group."""
        self._fleet.delete(self._ref)
