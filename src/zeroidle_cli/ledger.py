"""What does the ledger say? Job records, their reports and their results, as the command line reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from zeroidle.contracts import codec, names
from zeroidle.contracts.records import Job, State
from zeroidle.contracts.services import Folder, ObjectRef
from zeroidle.core.pipeline import output_folder
from zeroidle.errors import InvalidMessage, MissingObject, PermanentError
from zeroidle.ports import ObjectInfo
from zeroidle_cli.connection import Connection
from zeroidle_cli.exits import NO_SUCH_JOB

READERS = 8
RECORDS = "jobs/"
SUMMARY = "summary.json"
OUTPUT = "output"  # below the folder of an attempt on a machine, beside its logs


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A job whose record this version cannot read, and why."""

    job_id: str
    problem: str


@dataclass(frozen=True, slots=True)
class Survey:
    """Jobs, newest first; those met on the way that cannot be read; and how many there are in the ledger."""

    jobs: list[Job]
    unreadable: list[Unreadable]
    total: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The jobs of a project."""

    connection: Connection

    def find(self, job_id: str) -> Job | None:
        """The record of a job, or None while there is none. Raises InvalidMessage if it cannot be read."""
        record = self.load(job_id)
        return None if record is None else self.decode(job_id, record[0])

    def load(self, job_id: str) -> tuple[bytes, int] | None:
        """The record of a job as it is stored, and its generation."""
        try:
            return self.connection.objects.read(self._ref(names.job_record(job_id)))
        except MissingObject:
            return None

    def decode(self, job_id: str, record: bytes) -> Job:
        """Raises InvalidMessage naming what is wrong."""
        return codec.decode(record, Job, what=f"record of {job_id}")

    def get(self, text: str) -> Job:
        """The job with this id, or the only one whose id begins so; `last` is the newest.

        Raises:
            PermanentError: NO_SUCH_JOB, or several begin so.
        """
        if text == "last":
            jobs = self.survey(1).jobs
            if not jobs:
                hint = "`zeroidle run FILE` starts one; `zeroidle submit`, one on a machine."
                raise PermanentError("there are no jobs yet", code=NO_SUCH_JOB, hint=hint)
            return jobs[0]
        job = self.find(only(text, self.generations(text)))
        if job is None:
            raise PermanentError(f"{text} was deleted just now", code=NO_SUCH_JOB)
        return job

    def all(self) -> list[Job]:
        """Every job whose record can be read, newest first."""
        return self.survey().jobs

    def survey(self, limit: int | None = None) -> Survey:
        """The newest `limit` jobs, or all."""
        found = sorted(self._records(), key=lambda info: -info.created)
        jobs: list[Job] = []
        unreadable: list[Unreadable] = []
        page = max(READERS, limit or len(found))
        for start in range(0, len(found), page):
            # A job is not younger than its record: once those left were written before the last one wanted began,
            # none of them can come before it.
            if limit is not None and len(jobs) >= limit and jobs[limit - 1].created_at > found[start].created:
                break
            for job_id, (record, _) in self.load_many(map(_job_id, found[start : start + page])).items():
                try:
                    jobs.append(self.decode(job_id, record))
                except InvalidMessage as error:
                    unreadable.append(Unreadable(job_id, error.message))
            jobs.sort(key=lambda job: -job.created_at)
        return Survey(jobs[:limit], unreadable, len(found))

    def generations(self, prefix: str = "") -> dict[str, int]:
        """The generation of each record, by job id, of the jobs whose id begins with `prefix`."""
        return {_job_id(info): info.generation for info in self._records(prefix)}

    def load_many(self, job_ids: Iterable[str]) -> dict[str, tuple[bytes, int]]:
        """The records that are there, as they are stored, with their generations."""
        wanted = list(job_ids)
        with ThreadPoolExecutor(READERS) as pool:
            records = zip(wanted, pool.map(self.load, wanted), strict=True)
            return {job_id: record for job_id, record in records if record is not None}

    def reports(self, job_id: str) -> Iterator[dict[str, Any]]:
        """What the job's services reported on jobs-meta, oldest first."""
        objects = self.connection.objects
        found = [json.loads(objects.read(info.ref)[0]) for info in objects.list(self._bucket, f"meta/{job_id}/")]
        yield from sorted(found, key=lambda report: report["created_at"])

    def is_active(self, job_id: str) -> bool:
        """Something of the job may still be running."""
        return self.connection.objects.stat(self._ref(names.marker_name(job_id))) is not None

    def active(self) -> set[str]:
        """The ids of all jobs of which something may still be running."""
        found = self.connection.objects.list(self._bucket, names.ACTIVE_PREFIX)
        return {info.ref.name.rpartition("/")[2] for info in found}

    def result_folder(self, job: Job) -> Folder | None:
        """Where the job's result or error.json is; None while there is neither."""
        return output_folder(job, self.connection.deployment) if job.result or job.state is State.FAILED else None

    def summary(self, job: Job) -> dict[str, Any] | None:
        """The published summary.json, or None."""
        folder = self.result_folder(job)
        if folder is None or job.result is None:
            return None
        try:
            return dict(json.loads(self.connection.objects.read(folder.child(SUMMARY))[0]))
        except MissingObject:
            return None

    def _records(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self.connection.objects.list(self._bucket, RECORDS + prefix)

    @property
    def _bucket(self) -> str:
        return self.connection.bucket("jobs")

    def _ref(self, name: str) -> ObjectRef:
        return ObjectRef(bucket=self._bucket, name=name)


def _job_id(info: ObjectInfo) -> str:
    return info.ref.name.removeprefix(RECORDS).removesuffix(".json")


def only(text: str, job_ids: Iterable[str]) -> str:
    """The id that is `text`, or the only one that begins so.

    Raises:
        PermanentError: NO_SUCH_JOB, there is none or more than one.
    """
    matches = [job_id for job_id in job_ids if job_id.startswith(text)]
    if text in matches:
        return text
    if len(matches) == 1:
        return matches[0]
    told = f"{len(matches)} jobs have" if matches else "no job has"
    raise PermanentError(
        f"{told} an id that begins with {text!r}", code=NO_SUCH_JOB, hint="`zeroidle jobs` lists them."
    )
