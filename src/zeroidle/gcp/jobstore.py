"""The ledger in a bucket: records, markers, claims and meta reports, each one object.

Written over the `Objects` port, so it holds for any object storage with compare-and-set on a generation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from zeroidle.contracts import codec, names
from zeroidle.contracts.codec import Contract
from zeroidle.contracts.machines import Worker
from zeroidle.contracts.messages import Heartbeat, Meta
from zeroidle.contracts.records import Job
from zeroidle.contracts.services import ObjectRef
from zeroidle.core.claims import Claim
from zeroidle.errors import Conflict, InvalidMessage, MissingObject, ZeroidleError
from zeroidle.ports import ABSENT, Marker, Objects, Stored

JSON = "application/json"
T = TypeVar("T")


class _Claim(Contract, frozen=True, forbid_unknown_fields=False):
    execution: str | None = None
    worker: Worker | None = None  # neither: closed


class BucketJobStore:
    """`zeroidle.ports.JobStore` in the bucket `bucket`."""

    def __init__(self, objects: Objects, bucket: str) -> None:
        self._objects = objects
        self._bucket = bucket

    def load(self, job_id: str) -> Stored | None:
        """The job's record, or None."""
        try:
            data, generation = self._objects.read(self._ref(names.job_record(job_id)))
        except MissingObject:
            return None
        return Stored(_decoded(data, Job, f"the record of job {job_id}"), generation)

    def create(self, job: Job) -> Stored:
        """Store a first record."""
        return self._write(job, ABSENT)

    def replace(self, stored: Stored, job: Job) -> Stored:
        """Put `job` in place of what was read."""
        return self._write(job, stored.generation)

    def mark(self, job_id: str) -> None:
        """Have the job looked after from now on."""
        try:
            self._objects.write(self._ref(names.marker_name(job_id)), b"", if_generation=ABSENT)
        except Conflict:
            return  # marked already; its age counts from the first time

    def unmark(self, job_id: str) -> None:
        """Nothing of the job is left."""
        self._objects.delete(self._ref(names.marker_name(job_id)))

    def marked(self, shard: str = "") -> Iterator[Marker]:
        """All jobs that may need looking after, or those of a shard."""
        for info in self._objects.list(self._bucket, names.ACTIVE_PREFIX + shard):
            yield Marker(info.ref.name.rpartition("/")[2], info.created)

    def claim(self, job_id: str, attempt: int) -> Claim | None:
        """Who runs the attempt, if somebody claimed it."""
        name = names.claim_name(job_id, attempt)
        try:
            data, _ = self._objects.read(self._ref(name))
        except MissingObject:
            return None
        claim = _decoded(data, _Claim, name)
        return Claim(claim.execution, claim.worker)

    def take(self, job_id: str, attempt: int, worker: Worker) -> None:
        """Claim the attempt for a worker; again by the same worker is no error."""
        ref = self._ref(names.claim_name(job_id, attempt))
        try:
            self._objects.write(ref, codec.encode(_Claim(worker=worker)), content_type=JSON, if_generation=ABSENT)
        except Conflict:
            claim = self.claim(job_id, attempt)
            if claim is None or claim.worker != worker:
                raise

    def close(self, job_id: str, attempt: int) -> None:
        """Take the attempt's claim without running it."""
        ref = self._ref(names.claim_name(job_id, attempt))
        self._objects.write(ref, codec.encode(_Claim()), content_type=JSON, if_generation=ABSENT)

    def say_last(self, beat: Heartbeat) -> None:
        """Leave the last beat of an attempt; again changes nothing."""
        ref = self._ref(names.last_word(beat.job_id, beat.attempt))
        try:
            self._objects.write(ref, codec.encode(beat), content_type=JSON, if_generation=ABSENT)
        except Conflict:
            return

    def last_word(self, job_id: str, attempt: int) -> Heartbeat | None:
        """The last beat of an attempt, if its worker left one."""
        name = names.last_word(job_id, attempt)
        try:
            data, _ = self._objects.read(self._ref(name))
        except MissingObject:
            return None
        return _decoded(data, Heartbeat, name)

    def add_meta(self, meta: Meta, message_id: str) -> None:
        """Keep a report; the same message again changes nothing."""
        ref = self._ref(names.meta_name(meta.job_id, message_id))
        try:
            self._objects.write(ref, codec.encode(meta), content_type=JSON, if_generation=ABSENT)
        except Conflict:
            return

    def _write(self, job: Job, generation: int) -> Stored:
        ref = self._ref(names.job_record(job.job_id))
        return Stored(job, self._objects.write(ref, codec.encode(job), content_type=JSON, if_generation=generation))

    def _ref(self, name: str) -> ObjectRef:
        return ObjectRef(bucket=self._bucket, name=name)


def _decoded(data: bytes, kind: type[T], what: str) -> T:
    """What we wrote ourselves. When it is broken the message at hand is not to blame, so it must not be rejected."""
    try:
        return codec.decode(data, kind, what=what)
    except InvalidMessage as error:
        raise ZeroidleError(error.message, code="BROKEN_LEDGER") from error
