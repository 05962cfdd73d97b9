"""VMs on Compute Engine: one regional instance group a cluster, region and way of buying, at size zero until asked.

A VM is created by its name (`createInstances`; for flex-start a resize request of one, which waits in Google's queue)
and deleted through its group, which then wants one less. Creating is asked for, not waited for: what comes of it is
in the group's list of VMs, with the error of its last attempt.

google-cloud-compute takes 1.6 s of CPU and 148 MiB to import, so only a call that needs it does.
https://cloud.google.com/compute/docs/instance-groups/creating-groups-of-managed-instances
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from typing import Any

from zeroidle.contracts import names
from zeroidle.contracts.machines import Provisioning, VmRef
from zeroidle.core.machines import VmState, VmView
from zeroidle.errors import PermanentError, TemporaryError, printable

TIMEOUT_S = 20.0
# Labels of our VMs, set by their templates.
CLUSTER, PROVISIONING = "zeroidle-cluster", "zeroidle-provisioning"

_CREATING = ("CREATING", "CREATING_WITHOUT_RETRIES")
_ENDING_ACTIONS = ("ABANDONING", "DELETING", "STOPPING", "SUSPENDING")
_ENDING = ("STOPPING", "STOPPED", "SUSPENDING", "SUSPENDED", "TERMINATED", "DEPROVISIONING", "PENDING_STOP")
_STARTING = ("PROVISIONING", "STAGING", "PENDING")


class GoogleFleet:
    """`zeroidle.ports.Fleet`. `url` is the base URL of a local Compute Engine API; None: Google's."""

    def __init__(self, project: str, url: str | None = None) -> None:
        self._project = project
        self._url = url

    def create(self, ref: VmRef) -> None:
        """Ask for a VM; one that is there is no error."""
        if self._find(ref) is not None:
            return
        if ref.provisioning is Provisioning.FLEX_START:
            self._request_one(ref)
            return
        compute = self._compute
        resource = compute.RegionInstanceGroupManagersCreateInstancesRequest(
            instances=[compute.PerInstanceConfig(name=ref.name)]
        )
        request = compute.CreateInstancesRegionInstanceGroupManagerRequest(
            **self._group(ref),
            region_instance_group_managers_create_instances_request_resource=resource,
            # One call, however often the client sends it. A VM asked for again later is another call.
            request_id=str(uuid.uuid4()),
        )
        try:
            with self._translated(ref):
                self._groups.create_instances_unary(request, timeout=TIMEOUT_S)
        except PermanentError:
            if self._find(ref) is None:  # else it was asked for in between, and a name is given once
                raise

    def view(self, ref: VmRef) -> VmView:
        """How the VM is doing; GONE if there is none of that name."""
        found = self._find(ref)
        if found is None:
            return VmView(VmState.GONE)
        if found.current_action in _ENDING_ACTIONS or found.instance_status in _ENDING:
            return VmView(VmState.ENDING)
        if found.current_action in _CREATING or found.instance_status in _STARTING:
            errors = list(found.last_attempt.errors.errors)
            last = errors[-1] if errors else None
            return VmView(VmState.CREATING, last.code if last else "", last.message if last else "")
        return VmView(VmState.RUNNING)

    def delete(self, ref: VmRef) -> None:
        """Have the VM deleted, and its group one smaller; one that is gone is no error."""
        found = self._find(ref)
        if found is None or found.current_action == "DELETING":
            return
        compute = self._compute
        resource = compute.RegionInstanceGroupManagersDeleteInstancesRequest(
            instances=[_path(found.instance)], skip_instances_on_validation_error=True
        )
        request = compute.DeleteInstancesRegionInstanceGroupManagerRequest(
            **self._group(ref), region_instance_group_managers_delete_instances_request_resource=resource
        )
        with self._translated(ref):
            self._groups.delete_instances_unary(request, timeout=TIMEOUT_S)

    def all(self) -> Iterator[tuple[VmRef, float]]:
        """Every VM of ours that exists, and since when."""
        request = self._compute.AggregatedListInstancesRequest(project=self._project, filter=f"labels.{CLUSTER}:*")
        with self._translated(None):
            for zone, found in self._instances.aggregated_list(request, timeout=TIMEOUT_S):
                for instance in found.instances:
                    yield _ref(zone, instance), datetime.fromisoformat(instance.creation_timestamp).timestamp()

    def _request_one(self, ref: VmRef) -> None:
        """A resize request of one VM, named after it, so that asking twice is one request."""
        compute = self._compute
        resource = compute.InstanceGroupManagerResizeRequest(
            name=ref.name, instances=[compute.PerInstanceConfig(name=ref.name)]
        )
        request = compute.InsertRegionInstanceGroupManagerResizeRequestRequest(
            **self._group(ref), instance_group_manager_resize_request_resource=resource
        )
        from google.api_core.exceptions import Conflict

        with self._translated(ref), suppress(Conflict):  # it was asked for before
            self._resize_requests.insert_unary(request, timeout=TIMEOUT_S)

    def _find(self, ref: VmRef) -> Any:
        """The VM as its group sees it, or None. A group holds few: its cap is that of the cluster in a region."""
        request = self._compute.ListManagedInstancesRegionInstanceGroupManagersRequest(**self._group(ref))
        with self._translated(ref):
            for found in self._groups.list_managed_instances(request, timeout=TIMEOUT_S):
                if found.instance.rpartition("/")[2] == ref.name:
                    return found
        return None

    def _group(self, ref: VmRef) -> dict[str, str]:
        name = names.group_name(ref.cluster, ref.provisioning.value)
        return {"project": self._project, "region": ref.region, "instance_group_manager": name}

    @cached_property
    def _compute(self) -> Any:
        import google.cloud.compute_v1 as compute_v1

        return compute_v1

    @cached_property
    def _groups(self) -> Any:
        return self._client(self._compute.RegionInstanceGroupManagersClient)

    @cached_property
    def _resize_requests(self) -> Any:
        return self._client(self._compute.RegionInstanceGroupManagerResizeRequestsClient)

    @cached_property
    def _instances(self) -> Any:
        return self._client(self._compute.InstancesClient)

    def _client(self, kind: Any) -> Any:
        if self._url is None:
            return kind()
        from google.auth.credentials import AnonymousCredentials

        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return kind(credentials=credentials, client_options={"api_endpoint": self._url})

    @contextmanager
    def _translated(self, ref: VmRef | None) -> Iterator[None]:
        """The client's exceptions as ours; the `code` of a PermanentError is Compute Engine's own where it has one."""
        from google.api_core import exceptions as api
        from requests import exceptions as http

        what = "Compute Engine" if ref is None else f"the group of {ref.cluster} in {ref.region}"
        try:
            yield
        except (api.TooManyRequests, api.ServerError, api.RetryError, api.Aborted, http.RequestException) as error:
            raise TemporaryError(f"{what} did not answer: {printable(str(error), 300)}") from error
        except api.NotFound as error:
            raise PermanentError(
                f"{what} does not exist: {printable(error.message, 300)}",
                code="RESOURCE_NOT_FOUND",
                hint="Deploy it, or take it out of bundle.yaml.",
            ) from error
        except api.GoogleAPICallError as error:
            raise PermanentError(
                f"{what} refused the call: {printable(error.message, 300)}", code=_code(error)
            ) from error


def _code(error: Any) -> str:
    """What kind of refusal it is, as placement knows them."""
    reasons = {detail.get("reason", "") for detail in error.errors if isinstance(detail, dict)}
    if "quotaExceeded" in reasons or "QUOTA" in error.message:
        return "QUOTA_EXCEEDED"
    if error.code == 403:
        return "FORBIDDEN"
    if "resourceNotReady" in reasons:
        return "RESOURCE_NOT_READY"
    return "INVALID_FIELD_VALUE" if error.code == 400 else "REFUSED"


def _ref(zone: str, instance: Any) -> VmRef:
    return VmRef(
        name=instance.name,
        cluster=names.cluster_of_label(instance.labels[CLUSTER]),
        region=zone.rpartition("/")[2].rpartition("-")[0],
        provisioning=Provisioning(instance.labels.get(PROVISIONING, Provisioning.STANDARD.value)),
    )


def _path(url: str) -> str:
    """`zones/<zone>/instances/<name>` of a URL."""
    return "zones/" + url.partition("/zones/")[2]
