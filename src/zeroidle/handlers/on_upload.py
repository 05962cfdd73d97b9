"""A file landed in the input bucket: make it a job.

The uploader's wishes are in the object's custom metadata:

    zeroidle-text-field, zeroidle-id-field, zeroidle-label-field, zeroidle-text-mode    how to read the file
    zeroidle-model    `name` or `name@version`
    zeroidle-user     whose job it is
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from zeroidle.contracts import codec
from zeroidle.contracts.events import Upload
from zeroidle.contracts.messages import UserId, WorkflowRun
from zeroidle.contracts.records import Reason
from zeroidle.contracts.services import ErrorBody, InputOptions, ModelRef
from zeroidle.core.events import StartRefused, Submitted
from zeroidle.errors import InvalidMessage, PermanentError
from zeroidle.handlers.context import Context, Outcome
from zeroidle.handlers.converge import submit

METADATA_PREFIX = "zeroidle-"
# Written by our own storage adapter; it says which call wrote the object.
_NOT_A_WISH = frozenset({"zeroidle-write"})
NOBODY = "upload"


class _Wishes(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename=lambda name: METADATA_PREFIX + name.replace("_", "-"),
):
    text_field: str | None = None
    id_field: str | None = None
    label_field: str | None = None
    text_mode: Literal["auto", "document", "lines"] = "auto"
    model: str | None = None
    user: UserId = NOBODY


def on_upload(context: Context, upload: Upload) -> Outcome:
    """One version of an object is one job, however often it is told. Raises PermanentError, TemporaryError."""
    if _is_nobodys(upload, context.deployment.ignore_prefix):
        return Outcome.IGNORED
    if upload.ref.bucket != context.deployment.input_bucket:
        expected = context.deployment.input_bucket
        raise PermanentError(f"an upload to bucket {upload.ref.bucket!r}; jobs are made of uploads to {expected!r}")
    try:
        wishes, model = _wishes(upload.metadata)
        refusal = None
    except InvalidMessage as error:
        wishes, model = _Wishes(), None
        failure = ErrorBody(code=error.code, message=error.message, hint="Correct the metadata and upload it again.")
        refusal = StartRefused(1, Reason.USER_ERROR, failure, upload.created)
    return submit(context, _submitted(context, upload, wishes, model), refusal)


def _is_nobodys(upload: Upload, ignore_prefix: str | None) -> bool:
    """Folders are objects whose name ends in a slash; below the ignored prefix people may keep what they like."""
    name = upload.ref.name
    return name.endswith("/") or (ignore_prefix is not None and name.startswith(ignore_prefix))


def _wishes(metadata: Mapping[str, str]) -> tuple[_Wishes, ModelRef | None]:
    ours = {key: value for key, value in metadata.items() if key.startswith(METADATA_PREFIX) and key not in _NOT_A_WISH}
    wishes = codec.convert(ours, _Wishes, what="object metadata")
    if wishes.model is None:
        return wishes, None
    try:
        return wishes, ModelRef.parse(wishes.model)
    except InvalidMessage as error:
        raise InvalidMessage(f"object metadata: field zeroidle-model: {error.message}") from error


def _submitted(context: Context, upload: Upload, wishes: _Wishes, model: ModelRef | None) -> Submitted:
    options = InputOptions(
        text_field=wishes.text_field,
        id_field=wishes.id_field,
        label_field=wishes.label_field,
        text_mode=wishes.text_mode,
    )
    workflow = context.deployment.upload_workflow
    return Submitted(
        job_id=upload.job_id,
        user_id=wishes.user,
        run=WorkflowRun(workflow=workflow, input=upload.ref, model=model, options=options),
        limits=context.deployment.limits,
        labels={},
        usd_per_second=dict(context.deployment.usd_per_second),
        at=upload.created,
    )
