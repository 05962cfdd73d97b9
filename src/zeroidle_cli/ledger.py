"""What does the ledger say? Job records, their reports and their results, as the command line reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from zeroidle.contracts import codec, names
from zeroidle.contracts.records import Job, State
from zeroidle.contracts.services import Folder, ObjectRef
from zeroidle.core.pipeline import output_folder
from zeroidle.errors import MissingObject, PermanentError
from zeroidle_cli.connection import Connection

READERS = 8
SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The jobs of a project."""

    connection: Connection

    def find(self, job_id: str) -> Job | None:
        """The record of a job, or None while there is none."""
        try:
            data, _ = self.connection.objects.read(self._ref(names.job_record(job_id)))
        except MissingObject:
            return None
        return codec.decode(data, Job, what=f"record of {job_id}")

    def get(self, text: str) -> Job:
        """The job with this id, or the only one whose id begins so; `last` is the newest.

        Raises:
            PermanentError: NO_SUCH_JOB, or several begin so.
        """
        if text == "last":
            jobs = self.all()
            if not jobs:
                raise PermanentError("there are no jobs yet", code="NO_SUCH_JOB", hint="zeroidle run FILE starts one.")
            return jobs[0]
        job = self.find(text)
        if job is not None:
            return job
        matches = [job for job in self.all() if job.job_id.startswith(text)]
        if len(matches) == 1:
            return matches[0]
        told = "no job has" if not matches else f"{len(matches)} jobs have"
        raise PermanentError(
            f"{told} an id that begins with {text!r}", code="NO_SUCH_JOB", hint="zeroidle jobs lists them."
        )

    def all(self) -> list[Job]:
        """Every job, newest first."""
        bucket = self.connection.bucket("jobs")
        refs = [info.ref for info in self.connection.objects.list(bucket, "jobs/")]
        with ThreadPoolExecutor(READERS) as pool:
            records = list(pool.map(lambda ref: self.connection.objects.read(ref)[0], refs))
        jobs = [codec.decode(record, Job, what="job record") for record in records]
        return sorted(jobs, key=lambda job: -job.created_at)

    def reports(self, job_id: str) -> Iterator[dict[str, Any]]:
        """What the job's services reported on jobs-meta, oldest first."""
        objects = self.connection.objects
        found = [json.loads(objects.read(info.ref)[0]) for info in objects.list(self._bucket, f"meta/{job_id}/")]
        yield from sorted(found, key=lambda report: report["created_at"])

    def is_active(self, job_id: str) -> bool:
        """Something of the job may still be running."""
        return self.connection.objects.stat(self._ref(names.marker_name(job_id))) is not None

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

    @property
    def _bucket(self) -> str:
        return self.connection.bucket("jobs")

    def _ref(self, name: str) -> ObjectRef:
        return ObjectRef(bucket=self._bucket, name=name)
