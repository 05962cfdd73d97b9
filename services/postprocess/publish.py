"""How is a result published once and whole, whatever crashes in between?

    1. stage    all files are written below the attempt's work folder
    2. claim    `claims/<job_id>-result` in the ledger names that folder, if nobody's stands there yet
    3. copy     the claimed files go to the output folder, summary.json last

Whoever finds a claim copies what it names, so a crash after step 2 is finished by the next request, and two racing
attempts publish the files of one of them, never a mixture.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import field

from zeroidle.contracts import codec, names, shards
from zeroidle.contracts.codec import Contract
from zeroidle.contracts.services import Folder, ObjectRef, PostprocessRequest
from zeroidle.errors import Conflict, MissingObject, PermanentError
from zeroidle.ports import ABSENT, Objects

STAGED = "result"
WRITERS = 4  # a write takes tens of milliseconds, nearly all of it waiting
CONTENT_TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".jsonl": "application/jsonl",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
}


class Claim(Contract, frozen=True, kw_only=True):
    """Which staged files are the result: name in the output folder -> name below `work`, in copying order."""

    attempt: int
    work: Folder
    files: dict[str, str] = field(default_factory=dict)


class _Record(Contract, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What matters here of a job's record."""

    attempt: int
    state: str


def require_current(request: PostprocessRequest, objects: Objects) -> None:
    """Raises PermanentError (SUPERSEDED) when the ledger has moved on from this attempt."""
    ref = ObjectRef(bucket=request.jobs_bucket, name=names.job_record(request.job_id))
    record = codec.decode(objects.read(ref)[0], _Record, what="job record")
    if record.attempt != request.attempt or record.state in ("FAILED", "STOPPED"):
        raise PermanentError(
            f"attempt {request.attempt} is not current: the job is {record.state} in attempt {record.attempt}",
            code="SUPERSEDED",
            hint="Nothing to do: the current attempt publishes the result.",
        )


def claimed(request: PostprocessRequest, objects: Objects) -> Claim | None:
    """The claim that stands, or None."""
    try:
        return codec.decode(objects.read(_claim_ref(request))[0], Claim, what="result claim")
    except MissingObject:
        return None


def stage_and_claim(request: PostprocessRequest, objects: Objects, files: list[Path], *, rejected: bool) -> Claim:
    """Stage `files` and claim them as the result, with the `rejected` records of preprocess if there are any.

    Returns the claim that stands afterwards: ours or an earlier one.
    """

    def stage(path: Path) -> None:
        objects.write(request.work.child(f"{STAGED}/{path.name}"), path, content_type=CONTENT_TYPES[path.suffix])

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(stage, files))
    named = {shards.REJECTED: shards.REJECTED} if rejected else {}
    named |= {path.name: f"{STAGED}/{path.name}" for path in files}
    claim = Claim(attempt=request.attempt, work=request.work, files=named)
    try:
        objects.write(_claim_ref(request), codec.encode(claim), content_type="application/json", if_generation=ABSENT)
    except Conflict:
        standing = claimed(request, objects)
        if standing is None:
            raise
        return standing
    return claim


def publish(request: PostprocessRequest, objects: Objects, claim: Claim) -> None:
    """Copy the claimed files to the output folder, the last one once the others stand; those already there stay."""

    def copy(name: str) -> None:
        try:
            objects.copy(claim.work.child(claim.files[name]), request.output.child(name), if_generation=ABSENT)
        except Conflict:
            return

    *others, last = claim.files
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(copy, others))
    copy(last)


def _claim_ref(request: PostprocessRequest) -> ObjectRef:
    return ObjectRef(bucket=request.jobs_bucket, name=names.result_claim(request.job_id))
