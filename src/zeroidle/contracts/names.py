"""What is everything called? Names of objects, jobs and deployed things, each rule written once.

ledger bucket   jobs/<job_id>.json                  the record
                active/<shard>/<job_id>             marker: this job may need looking after
                claims/<job_id>-a<attempt>          who runs the attempt
                claims/<job_id>-a<attempt>-end      the last beat of the worker that ran it
                claims/<job_id>-result              which staged files are the result
                meta/<job_id>/<message_id>.json     one report each
                vms/<region>/<vm>                   a VM that is live or asked for, and what its worker does
                gone/<region>/<vm>                  one that was there lately
                capacity/<cluster>/<region>         a refusal that keeps others from asking there
work bucket     jobs/<job_id>/a<attempt>/...        shards, predictions and staged results of an attempt
output bucket   <name>/<generation>/...             the result of an upload
                jobs/<job_id>/a<attempt>/...        what a job on a machine left in its output folder
"""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode

APPLICATION = "zeroidle"
ACTIVE_PREFIX = "active/"
VMS_PREFIX = "vms/"
GONE_PREFIX = "gone/"
CAPACITY_PREFIX = "capacity/"
ERROR_FILE = "error.json"

# Limit of Cloud Storage: https://cloud.google.com/storage/docs/objects#naming
MAX_OBJECT_NAME_BYTES = 1024
# What may follow a result prefix: a job id (55) and the longest file name written there, each with a slash.
_MAX_SUFFIX_BYTES = 1 + 55 + len("/predictions.parquet")
_MAX_GENERATION_DIGITS = 20
_MAX_SAFE_NAME_BYTES = MAX_OBJECT_NAME_BYTES - _MAX_SUFFIX_BYTES - 1 - _MAX_GENERATION_DIGITS

_UPLOAD_CHARS = 20
_UPLOAD_JOB = re.compile(rf"u-[a-z2-7]{{{_UPLOAD_CHARS}}}")
_HASH_CHARS = 16
# C0, DEL, C1, line and paragraph separators, and the marks that turn the direction of text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_HASHED = re.compile(rf"~[a-z2-7]{{{_HASH_CHARS}}}\Z")
_HARMLESS = {"": "_", ".": "_", "..": "__"}


def job_id_for_upload(bucket: str, name: str, generation: str) -> str:
    """The job of one version of an object: the same event again is the same job, an overwrite a new one."""
    return "u-" + _digest(f"{bucket}\n{generation}\n{name}", _UPLOAD_CHARS)


def is_upload_job(job_id: str) -> bool:
    """Does the id look as if `job_id_for_upload` had made it?"""
    return _UPLOAD_JOB.fullmatch(job_id) is not None


def result_prefix(name: str, generation: str) -> str:
    """Where the result of one version of an input goes in the output bucket.

    `<name>/<generation>` as far as the name is safe. Control characters are percent-encoded, path segments that mean
    something to a file system are replaced and long names cut; a name that had to change ends in `~` and a hash of the
    original, so two inputs never share a prefix.
    """
    return f"{_safe(name)}/{generation}"


def work_prefix(job_id: str, attempt: int) -> str:
    """Where an attempt keeps its intermediate files in the work bucket."""
    return f"jobs/{job_id}/a{attempt}"


def job_record(job_id: str) -> str:
    """Of the job's record in the ledger."""
    return f"jobs/{job_id}.json"


def marker_name(job_id: str) -> str:
    """Of the marker of a job that may need looking after; sharded, so that names do not grow into one hot range."""
    return f"{ACTIVE_PREFIX}{hashlib.sha256(job_id.encode()).hexdigest()[:2]}/{job_id}"


def claim_name(job_id: str, attempt: int) -> str:
    """Of the claim on an attempt: whoever creates it runs the attempt."""
    return f"claims/{job_id}-a{attempt}"


def last_word(job_id: str, attempt: int) -> str:
    """Of the last beat of an attempt's worker, which it writes before it sends it."""
    return f"{claim_name(job_id, attempt)}-end"


def result_claim(job_id: str) -> str:
    """Of the claim on a job's result: which staged files are published."""
    return f"claims/{job_id}-result"


def vm_name(job_id: str, attempt: int, number: int = 0) -> str:
    """Of a VM that is asked for an attempt: `job-a2`, then `job-a2b`, ..., `job-a2z`, `job-a2aa`.

    No two have one name, wherever they are: what a slow handler still does to one of them is not done to the next.
    """
    number %= 26 * 27  # two letters fit; by then the first ones are long gone
    first, second = divmod(number, 26)
    letters = (chr(ord("a") + first - 1) if first else "") + (chr(ord("a") + second) if number else "")
    return f"{job_id}-a{attempt}{letters}"


def vm_entry(region: str, vm: str) -> str:
    """Of a VM's entry in the ledger: there is one from before it is asked for until it is gone."""
    return f"{VMS_PREFIX}{region}/{vm}"


def vm_gone(region: str, vm: str) -> str:
    """Of what is left of a VM's entry for a while after it is gone."""
    return f"{GONE_PREFIX}{region}/{vm}"


def capacity_block(cluster: str, region: str) -> str:
    """Of the refusal that stands at a place; `*` as cluster or region stands for all of them."""
    return f"{CAPACITY_PREFIX}{cluster}/{region}"


def meta_name(job_id: str, message_id: str) -> str:
    """Of one meta report; the message id makes a redelivery the same object."""
    return f"meta/{job_id}/{_safe(message_id).replace('/', '_')}.json"


def group_name(cluster: str, provisioning: str) -> str:
    """Of the instance group of a cluster in each of its regions, and of its template."""
    return f"{APPLICATION}-{cluster_label(cluster)}-{provisioning}"


def cluster_label(cluster: str) -> str:
    """A cluster in the name of a resource, which must begin with a letter: `1xl4` is `l4x1`."""
    count, _, gpu = cluster.partition("x")
    return f"{gpu}x{count}"


def cluster_of_label(label: str) -> str:
    """The cluster that `cluster_label` made this of."""
    gpu, _, count = label.rpartition("x")
    return f"{count}x{gpu}"


def assignments_subscription(cluster: str, provisioning: str) -> str:
    """Of the subscription by which the workers of a cluster are told of attempts."""
    return f"jobs-assigned-{cluster_label(cluster)}-{provisioning}"


def bucket_name(project: str, key: str) -> str:
    """A bucket of the bundle by its key (`input`, `jobs`); bucket names are global, so the project is in them."""
    return f"{project}-{APPLICATION}-{key}"


def resource_name(key: str) -> str:
    """A service, function or workflow of the bundle by its key: `on_upload` is deployed as `zeroidle-on-upload`."""
    return f"{APPLICATION}-{key.replace('_', '-')}"


def topic_path(project: str, topic: str) -> str:
    """The full name of a Pub/Sub topic."""
    return f"projects/{project}/topics/{topic}"


def workflow_path(project: str, region: str, workflow: str) -> str:
    """The full name of a deployed workflow, parent of its executions."""
    return f"projects/{project}/locations/{region}/workflows/{workflow}"


def execution_path(workflow: str, execution: str) -> str:
    """The full name of an execution of the workflow with the full name `workflow`; a full name stays as it is."""
    return execution if "/" in execution else f"{workflow}/executions/{execution}"


def _safe(name: str) -> str:
    encoded = _CONTROL.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)
    safe = "/".join(_HARMLESS.get(segment, segment) for segment in encoded.split("/"))
    if safe == name and not _HASHED.search(name) and len(name.encode()) <= _MAX_SAFE_NAME_BYTES:
        return name
    return f"{_cut(safe, _MAX_SAFE_NAME_BYTES - 1 - _HASH_CHARS)}~{_digest(name, _HASH_CHARS)}"


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, never half a character."""
    return text.encode()[:limit].decode(errors="ignore")


def _digest(text: str, chars: int) -> str:
    return b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:chars]
