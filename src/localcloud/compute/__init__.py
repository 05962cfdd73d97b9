"""Compute Engine: regional managed instance groups, their VMs as processes of this machine, templates and operations.

Covered: instance templates (insert, get, list, delete); regional instance groups (insert, get, list, delete, resize,
createInstances, deleteInstances, abandonInstances, listManagedInstances, listErrors) and their resize requests (insert,
get, list, cancel, delete); instances (insert, get, list, aggregatedList, delete, stop, start,
simulateMaintenanceEvent); operations (get, list, wait) of zones, regions and the project, with errors. Lists are
filtered, ordered and paged. Any other method answers 501 `notImplemented`; a body that does not fit is refused with its
field named.

A VM is a process: the `startup-script` of its template's metadata, run by the shell it names once the VM has booted
(`Compute.boot_s` of virtual time), in a folder that is gone with the VM. A metadata server of its own
(`GCE_METADATA_HOST`) knows its name, zone, attributes, service account, preemption and maintenance. Deleting a VM sends
SIGTERM, and SIGKILL half a minute later; `maxRunDuration` ends it by itself. What a process does when it ends is its
own business: the VM stays, as a real one.

Capacity is unlimited until `localcloud.faults` says otherwise: a fault `compute.machines.provision` on
`<zone>/<accelerator>/<name>` with a `reason` (`ZONE_RESOURCE_POOL_EXHAUSTED`, `QUOTA_EXCEEDED`) keeps VMs from coming
up there; a group tries its other zones, then shows the error and tries again. `compute.machines.run` on
`<zone>/<name>` ends a VM: `kill` at once, `preempt` after a notice of `delay_s`.

Differs from the service: sizes, disks, networks and images are kept and shown without effect; a group starts one VM a
name and never repairs it (`DO_NOTHING`); a VM doesn't survive the end of the local cloud, as after a host error.
Not covered: zones, regions, machine and accelerator types, labels and metadata of a VM that exists, zonal groups,
autoscalers, health checks, stateful policies, update policies, IAM.

https://cloud.google.com/compute/docs/reference/rest/v1
"""
