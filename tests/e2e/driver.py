"""What the end-to-end tests do to a local cloud: put a file in, wait for its job, look at what is there after."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localcloud.cloud import LocalCloud
from zeroidle.contracts import names
from zeroidle.contracts.records import Job
from zeroidle.contracts.services import ObjectRef
from zeroidle.gcp.objects import GoogleObjects
from zeroidle_cli.connection import Connection
from zeroidle_cli.ledger import Ledger

TIMEOUT_S = 240.0  # a cold start of everything on a machine that has much else to do


def records(count: int, start: int = 0) -> bytes:
    """JSON lines with `count` records, good and bad sentences in turn."""
    words = ("wonderful", "terrible")
    lines = (
        json.dumps({"id": f"r{n}", "text": f"Number {n} was {words[n % 2]}."}) for n in range(start, start + count)
    )
    return "".join(f"{line}\n" for line in lines).encode()


def eventually(claim: Callable[[], Any], what: str | Callable[[], str], timeout_s: float = TIMEOUT_S) -> Any:
    """What `claim` returns once it is true; `what` says what did not come about."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        value = claim()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s: {what if isinstance(what, str) else what()}")


@dataclass(frozen=True)
class Driver:
    """A connection, and the cloud behind it if that runs in this process."""

    connection: Connection

    @property
    def cloud(self) -> LocalCloud:
        assert self.connection.cloud is not None
        return self.connection.cloud

    @property
    def objects(self) -> GoogleObjects:
        return self.connection.objects

    def upload(self, name: str, data: bytes, **options: str) -> str:
        """The id of the job that the upload makes."""
        bucket = self.connection.bucket("input")
        metadata = {f"zeroidle-{key.replace('_', '-')}": value for key, value in options.items()}
        generation = self.objects.write(ObjectRef(bucket=bucket, name=name), data, metadata=metadata)
        return names.job_id_for_upload(bucket, name, str(generation))

    def job(self, job_id: str) -> Job | None:
        return Ledger(self.connection).find(job_id)

    def finished(self, job_id: str) -> Job:
        """The record once the job is over and nothing of it is left."""

        def over() -> Job | None:
            job = self.job(job_id)
            return job if job is not None and job.state.is_terminal else None

        job: Job = eventually(over, lambda: f"{job_id} is over: {self.job(job_id)}")
        if self.connection.cloud is not None:
            eventually(lambda: self._let_go(job_id), f"nothing of {job_id} is left")
        return job

    def run(self, name: str, data: bytes, **options: str) -> Job:
        return self.finished(self.upload(name, data, **options))

    def output(self, job: Job) -> dict[str, bytes]:
        """The files of the job's result folder."""
        folder = Ledger(self.connection).result_folder(job)
        assert folder is not None
        found = self.objects.list(folder.bucket, f"{folder.prefix}/")
        return {i.ref.name.removeprefix(f"{folder.prefix}/"): self.objects.read(i.ref)[0] for i in found}

    def predictions(self, job: Job) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output(job)["predictions.jsonl"].splitlines()]

    def error(self, job: Job) -> dict[str, Any]:
        return dict(json.loads(self.output(job)["error.json"]))

    def kill(self, service: str) -> int:
        """SIGKILL to every instance of a service that has a request in hand; how many that were.

        Not to one that ends by itself, being idle or dead already: it may be gone before the signal comes.
        """
        instances = [i for i in self.cloud.run.instances(names.resource_name(service)) if i.active and i.is_open]
        for instance in instances:
            os.killpg(instance.pid or 0, signal.SIGKILL)
        return len(instances)

    def _let_go(self, job_id: str) -> bool:
        """Wait for the job's marker to go, by itself or with the next tick."""
        ledger = Ledger(self.connection)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            if not ledger.is_active(job_id):
                return True
            time.sleep(0.05)
        self.cloud.clock.advance(seconds=61)
        return False
