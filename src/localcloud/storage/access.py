"""Who may do what? Access lists and policies are kept and shown; nobody is ever refused.

https://cloud.google.com/storage/docs/access-control/lists https://cloud.google.com/storage/docs/access-control/iam
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from localcloud.storage.buckets import PROJECT_NUMBER, Bucket
from localcloud.storage.errors import StorageError, condition_not_met, invalid, printable
from localcloud.storage.resources import StoredObject, etag

Entries = list[dict[str, Any]]  # entity and role of each
BUCKET, OBJECT = "bucketAccessControl", "objectAccessControl"  # the kinds of entries
_OWNERS, _EDITORS, _VIEWERS = (f"project-{team}-{PROJECT_NUMBER}" for team in ("owners", "editors", "viewers"))
_ROLES = frozenset({"OWNER", "WRITER", "READER"})
# https://cloud.google.com/storage/docs/access-control/lists#predefined-acl, each in addition to the owners
_PREDEFINED: dict[str, Entries] = {
    "authenticatedRead": [{"entity": "allAuthenticatedUsers", "role": "READER"}],
    "bucketOwnerFullControl": [],
    "bucketOwnerRead": [],
    "private": [],
    "projectPrivate": [{"entity": _EDITORS, "role": "OWNER"}, {"entity": _VIEWERS, "role": "READER"}],
    "publicRead": [{"entity": "allUsers", "role": "READER"}],
    "publicReadWrite": [{"entity": "allUsers", "role": "WRITER"}],
}


def bucket_entries(bucket: Bucket) -> Entries:
    """The bucket's own access list."""
    return predefined("projectPrivate") if bucket.acl is None else bucket.acl


def default_entries(bucket: Bucket) -> Entries:
    """The list that a new object gets."""
    return predefined("projectPrivate") if bucket.default_object_acl is None else bucket.default_object_acl


def object_entries(item: StoredObject) -> Entries:
    """The object's access list."""
    return predefined("projectPrivate") if item.acl is None else item.acl


def predefined(name: str) -> Entries:
    """A list by its name. Raises StorageError 400."""
    if name not in _PREDEFINED:
        raise invalid(f"Invalid predefined ACL: {printable(name)}, expected one of {', '.join(_PREDEFINED)}.")
    return [{"entity": _OWNERS, "role": "OWNER"}, *_PREDEFINED[name]]


def wanted(resource: Mapping[str, Any], field: str, query: Mapping[str, str], parameter: str) -> Entries | None:
    """The list that a request sets, by name or entry by entry; None if it sets none. Raises StorageError 400."""
    if parameter in query:
        return predefined(query[parameter])
    entries = resource.get(field)
    if entries is None:
        return None
    if not isinstance(entries, list):
        raise invalid(f"Invalid value for {field}: {entries!r:.40}, expected a list.")
    result: dict[str, dict[str, Any]] = {}
    for given in entries:
        checked = entry(given)
        result[checked["entity"]] = checked
    return list(result.values())


def entry(resource: Any) -> dict[str, Any]:
    """Entity and role of an entry. Raises StorageError 400."""
    entity = resource.get("entity") if isinstance(resource, dict) else None
    role = resource.get("role") if isinstance(resource, dict) else None
    if not isinstance(entity, str) or not entity:
        raise invalid(
            f"Invalid value for entity: {entity!r:.40}, expected for example allUsers or user-ada@example.com."
        )
    if role not in _ROLES:
        raise invalid(f"Invalid value for role: {role!r:.40}, expected OWNER, WRITER or READER.")
    return {"entity": entity, "role": role}


def with_entry(entries: Sequence[Mapping[str, Any]], added: dict[str, Any]) -> Entries:
    """The list with one entry added, or replaced where its entity has one."""
    return [*without(entries, added["entity"]), added]


def without(entries: Sequence[Mapping[str, Any]], entity: str) -> Entries:
    """The list without the entry of `entity`."""
    return [dict(known) for known in entries if known["entity"] != entity]


def find(entries: Sequence[Mapping[str, Any]], entity: str) -> dict[str, Any]:
    """The entry of `entity`. Raises StorageError 404."""
    for known in entries:
        if known["entity"] == entity:
            return dict(known)
    raise StorageError(404, f"The specified ACL entry does not exist: {printable(entity)}")


def refuse_uniform(bucket: Bucket) -> None:
    """ACLs are not to be used where IAM alone decides. Raises StorageError 400."""
    if bucket.has_uniform_access:
        raise invalid(
            "Cannot use ACL API to update or read access of a bucket or an object when uniform bucket-level access is"
            " enabled."
        )


def entry_resource(
    kind: str, base: str, bucket: Bucket, known: Mapping[str, Any], item: StoredObject | None = None
) -> dict[str, Any]:
    """An entry as JSON."""
    entity = known["entity"]
    shown: dict[str, Any] = {"kind": f"storage#{kind}", "entity": entity, "role": known["role"], "bucket": bucket.name}
    collection = {BUCKET: "acl", OBJECT: "defaultObjectAcl"}[kind]
    path, id_ = f"{bucket.name}/{collection}", f"{bucket.name}/{entity}"
    if item is None:
        shown["etag"] = etag(bucket.metageneration)
    else:
        path = f"{bucket.name}/o/{quote(item.name, safe='')}/acl"
        id_ = f"{bucket.name}/{item.name}/{item.generation}/{entity}"
        shown |= {"object": item.name, "generation": str(item.generation), "etag": item.etag}
    shown |= {"id": id_, "selfLink": f"{base}/storage/v1/b/{path}/{quote(entity, safe='')}"}
    scope, _, name = entity.partition("-")
    if scope in ("user", "group") and "@" in name:
        shown["email"] = name
    elif scope == "domain":
        shown["domain"] = name
    elif scope == "project":
        team, _, number = name.partition("-")
        shown["projectTeam"] = {"projectNumber": number, "team": team}
    return shown


# IAM


def policy_of(bucket: Bucket, item: StoredObject | None = None) -> dict[str, Any]:
    """The policy of a bucket or an object as JSON."""
    kept = bucket.policy if item is None else item.policy
    resource = f"projects/_/buckets/{bucket.name}" + ("" if item is None else f"/objects/{item.name}")
    bindings = _first_bindings(item) if kept is None else kept.get("bindings", [])
    version = 1 if kept is None else kept.get("version", 1)
    content = msgspec.json.encode([bindings, version])
    return {
        "kind": "storage#policy",
        "resourceId": resource,
        "version": version,
        "etag": base64.b64encode(hashlib.sha256(content).digest()[:8]).decode(),
        "bindings": bindings,
    }


def checked_policy(wanted: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a policy that is to replace `current`. Raises StorageError 400, 412."""
    bindings = wanted.get("bindings", [])
    if not isinstance(bindings, list) or not all(_is_binding(binding) for binding in bindings):
        raise invalid(f"Invalid value for bindings: {bindings!r:.60}, expected roles with their members.")
    if wanted.get("etag") not in (None, current["etag"]):
        raise condition_not_met("If-Match")
    version = wanted.get("version") or 1
    if version not in (1, 2, 3):
        raise invalid(f"Invalid value for version: {version!r:.40}, expected 1 or 3.")
    if version < 3 and any("condition" in binding for binding in bindings):
        raise invalid("A policy with conditions needs version 3.")
    return {"bindings": bindings, "version": version}


def _is_binding(binding: Any) -> bool:
    return (
        isinstance(binding, dict)
        and isinstance(binding.get("role"), str)
        and isinstance(binding.get("members", []), list)
        and all(isinstance(member, str) for member in binding.get("members", []))
    )


def _first_bindings(item: StoredObject | None) -> list[dict[str, Any]]:
    owners, viewers = (
        [f"project{team}:{PROJECT_NUMBER}" for team in ("Editor", "Owner")],
        [f"projectViewer:{PROJECT_NUMBER}"],
    )
    what = "Bucket" if item is None else "Object"
    return [
        {"role": f"roles/storage.legacy{what}Owner", "members": owners},
        {"role": f"roles/storage.legacy{what}Reader", "members": viewers},
    ]
