"""Which workflows are deployed, in which revisions? Every change is written before it is answered."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import msgspec

from localcloud.context import Context
from localcloud.workflows import choices
from localcloud.workflows.errors import ApiError, DeploymentError, invalid, not_found

if TYPE_CHECKING:
    from localcloud.workflows.program import Program

MAX_ENV, MAX_ENV_BYTES = 20, 4 * 1024
MAX_SOURCE_BYTES = 128 * 1024
MAX_DESCRIPTION = 1000
MAX_LABELS, MAX_LABEL = 64, 63
MAX_REVISIONS = choices.revisions()
_RESERVED_ENV = ("GOOGLE", "WORKFLOWS")
_NAME = re.compile(r"[A-Za-z]([-\w]{0,62}[A-Za-z0-9])?", re.ASCII)
_PARENT = re.compile(r"projects/([^/]+)/locations/([^/]+)/workflows/([^/]+)")
_LABEL_KEY, _LABEL_VALUE = re.compile(r"[^\W\d_A-Z][-\w]{0,62}"), re.compile(r"[-\w]{0,63}")
_ACCOUNT = re.compile(r"(?:projects/[^/]+/serviceAccounts/)?([^/]+)")

_WORKFLOWS, _REVISIONS = "workflows.workflows", "workflows.revisions"


@dataclass(frozen=True)
class WorkflowSpec:
    """What is deployed: `source` is YAML or JSON, `env` the user environment variables."""

    name: str
    source: str
    env: Mapping[str, str] = field(default_factory=dict)
    service_account: str = "workflows"  # an email, or what stands before the @ of one of this project
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    call_log_level: int = 0
    history_level: int = 0
    crypto_key_name: str = ""


# A change of these makes a revision; the others belong to the workflow as a whole.
_REVISED = ("source", "env", "service_account", "crypto_key_name", "call_log_level", "history_level")
SPEC_FIELDS = tuple(each.name for each in fields(WorkflowSpec) if each.name != "name")


class Workflow(msgspec.Struct, frozen=True):
    """A deployed workflow and one of its revisions. Times are in seconds since the epoch."""

    name: str
    revision: str
    spec: WorkflowSpec
    create_time: float
    update_time: float
    revision_time: float = 0.0

    @property
    def revision_create_time(self) -> float:
        """When the revision was made; a state from before there was the field has only the update."""
        return self.revision_time or self.update_time


class Definitions:
    """The workflows of one project and location."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._programs: dict[str, Program] = {}  # by workflow/revision

    def deploy(self, spec: WorkflowSpec, is_used: Callable[[str, str], bool]) -> Workflow:
        """Make `spec` what its workflow is; the same spec again changes nothing.

        `is_used` tells whether an execution still needs a revision, which is then kept.

        Raises:
            DeploymentError: the source or a setting cannot be deployed.
        """
        check(spec)
        current = self.find(spec.name)
        if current is not None and _same(current.spec, spec, SPEC_FIELDS):
            return current  # it is compiled when it is executed
        program = _compiled(spec.source)
        now = self._context.clock.time()
        if current is not None and _same(current.spec, spec, _REVISED):
            deployed = msgspec.structs.replace(current, spec=spec, update_time=now)
        else:
            number = 1 if current is None else int(current.revision.partition("-")[0]) + 1
            revision = f"{number:06d}-{hashlib.sha256(spec.source.encode()).hexdigest()[:3]}"
            deployed = Workflow(spec.name, revision, spec, current.create_time if current else now, now, now)
        store = self._context.store
        with store.transaction():
            row = msgspec.msgpack.encode(deployed)
            store.put(_WORKFLOWS, spec.name, row)
            store.put(_REVISIONS, f"{spec.name}/{deployed.revision}", row)
            self._prune(deployed, is_used)
        self._programs[f"{spec.name}/{deployed.revision}"] = program
        return deployed

    def _prune(self, current: Workflow, is_used: Callable[[str, str], bool]) -> None:
        for old in self.revisions(current.name)[MAX_REVISIONS:]:
            if old.revision != current.revision and not is_used(old.name, old.revision):
                self._context.store.delete(_REVISIONS, f"{old.name}/{old.revision}")
                self._programs.pop(f"{old.name}/{old.revision}", None)

    def delete(self, name: str) -> None:
        """Forget a workflow with all its revisions; the caller holds the transaction."""
        self._context.store.delete(_WORKFLOWS, name)
        self._context.store.delete_all(_REVISIONS, f"{name}/")
        for key in [key for key in self._programs if key.startswith(f"{name}/")]:
            del self._programs[key]

    def find(self, name: str, revision: str = "") -> Workflow | None:
        """A workflow by its short name, in its latest or the given revision."""
        store = self._context.store
        row = store.get(_REVISIONS, f"{name}/{revision}") if revision else store.get(_WORKFLOWS, name)
        return None if row is None else msgspec.msgpack.decode(row, type=Workflow)

    def get(self, resource: str, revision: str = "") -> Workflow:
        """A workflow by its resource name. Raises ApiError NOT_FOUND."""
        found = self.find(self.short_name(resource), revision)
        if found is None:
            raise not_found(f"workflow {resource}" + (f", revision {revision}" if revision else ""))
        return found

    def all(self) -> list[Workflow]:
        """All workflows in their latest revisions, by name."""
        return [msgspec.msgpack.decode(row, type=Workflow) for _, row in self._context.store.items(_WORKFLOWS)]

    def revisions(self, name: str) -> list[Workflow]:
        """The revisions of a workflow, the latest first."""
        rows = [row for _, row in self._context.store.items(_REVISIONS, prefix=f"{name}/")]
        return [msgspec.msgpack.decode(row, type=Workflow) for row in reversed(rows)]

    def program(self, workflow: Workflow) -> Program:
        """The compiled revision. Raises DeploymentError for a source that an older version let through."""
        key = f"{workflow.name}/{workflow.revision}"
        if key not in self._programs:
            self._programs[key] = _compiled(workflow.spec.source)
        return self._programs[key]

    def resource_name(self, workflow: str) -> str:
        """The resource name of a workflow."""
        return f"{self.parent}/workflows/{workflow}"

    @property
    def parent(self) -> str:
        """The resource name of the location."""
        return f"projects/{self._context.project}/locations/{self._context.location}"

    def short_name(self, resource: str) -> str:
        """What is behind the last slash of a workflow's resource name. Raises ApiError."""
        match = _PARENT.fullmatch(resource)
        if match is None:
            raise invalid(f"{resource[:200]!r} is not a workflow; expected projects/*/locations/*/workflows/*")
        project, location, workflow = match.groups()
        if (project, location) != (self._context.project, self._context.location):
            raise not_found(f"workflow {resource}")
        return workflow

    def account(self, workflow: Workflow) -> str:
        """The email of the service account it runs as."""
        given = workflow.spec.service_account
        return given if "@" in given else self._context.service_account(given)

    # What the API asks for

    def created(self, workflow_id: str, wanted: Mapping[str, Any]) -> WorkflowSpec:
        """The spec of a workflow that is to be. Raises ApiError INVALID_ARGUMENT, ALREADY_EXISTS."""
        if self.find(workflow_id) is not None:
            raise ApiError("ALREADY_EXISTS", f"workflow {self.resource_name(workflow_id)} already exists")
        return _accepted(_applied(WorkflowSpec(workflow_id, ""), wanted))

    def updated(self, resource: str, wanted: Mapping[str, Any], changes: Sequence[str]) -> WorkflowSpec:
        """The spec of a workflow with the named fields changed. Raises ApiError."""
        current = self.get(resource)
        return _accepted(_applied(current.spec, {name: wanted[name] for name in changes}))


def _compiled(source: str) -> Program:
    from localcloud.workflows.compiler import compile_source  # a fifth of a start-up, once there is a source

    return compile_source(source)


def _applied(spec: WorkflowSpec, wanted: Mapping[str, Any]) -> WorkflowSpec:
    account = wanted.get("service_account")
    if account is not None:
        match = _ACCOUNT.fullmatch(account or "workflows")
        if match is None:
            raise invalid(f"service_account {account[:200]!r} is not [projects/*/serviceAccounts/]ACCOUNT")
        wanted = {**wanted, "service_account": match[1]}
    return replace(spec, **wanted)


def _accepted(spec: WorkflowSpec) -> WorkflowSpec:
    """The spec, if its settings are right; its source is judged later, by the operation."""
    try:
        check(spec)
    except DeploymentError as error:
        raise invalid(str(error)) from error
    return spec


def check(spec: WorkflowSpec) -> None:
    """Judge everything but the program. Raises DeploymentError."""
    if not _NAME.fullmatch(spec.name):
        raise DeploymentError(
            f"workflow name {spec.name[:200]!r} must start with a letter, end with a letter or digit,"
            " and have at most 64 letters, digits, '-' and '_'"
        )
    if not spec.source:
        raise DeploymentError("source_contents is empty; expected YAML or JSON")
    if len(spec.source.encode(errors="surrogatepass")) > MAX_SOURCE_BYTES:
        raise DeploymentError(f"source_contents is larger than {MAX_SOURCE_BYTES} bytes")
    if len(spec.description) > MAX_DESCRIPTION:
        raise DeploymentError(f"description is longer than {MAX_DESCRIPTION} characters")
    if len(spec.env) > MAX_ENV:
        raise DeploymentError(f"{len(spec.env)} user environment variables; at most {MAX_ENV} are allowed")
    for name, value in spec.env.items():
        if not name or name.startswith(_RESERVED_ENV) or len(value.encode()) > MAX_ENV_BYTES:
            raise DeploymentError(
                f"user environment variable {name[:80]!r} must not be empty, not start with"
                f" {' or '.join(_RESERVED_ENV)} and not be longer than {MAX_ENV_BYTES} bytes"
            )
    if problem := labels_problem(spec.labels):
        raise DeploymentError(problem)


def labels_problem(labels: Mapping[str, str]) -> str:
    """What is wrong with labels; empty if nothing is."""
    if len(labels) > MAX_LABELS:
        return f"{len(labels)} labels; at most {MAX_LABELS} are allowed"
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value) or key + value != (key + value).lower():
            return (
                f"label {key[:80]!r}: {value[:80]!r} must have lower-case letters, digits, '_' and '-',"
                f" at most {MAX_LABEL} each, and its key must start with a letter"
            )
    return ""


def _same(one: WorkflowSpec, other: WorkflowSpec, names: Sequence[str]) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in names)
