"""What did a job on a machine write? Its log, from the parts that its workers left in the output bucket.

    jobs/<job_id>/a<attempt>/logs/<number>.txt

A part may end in the middle of a line, or of a character. They are there after the VM is gone.
"""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from zeroidle.contracts import names
from zeroidle.contracts.records import Job
from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import printable
from zeroidle_cli.connection import Connection
from zeroidle_cli.ledger import Ledger

FOLLOW_S = 1.0
MAX_SHOWN = 10_000
# Colours and the like, which a terminal obeys: https://ecma-international.org/publications-and-standards/standards/ecma-48/
_ANSI = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an attempt's log, without its end; or, with `marker`, that an attempt begins."""

    attempt: int
    text: str
    marker: bool = False


class Lines:
    """Puts parts together to lines."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are whole now."""
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        return lines

    def end(self) -> list[str]:
        """What is left, if anything."""
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        return [rest] if rest else []


class JobLog:
    """The log of a job, across its attempts."""

    def __init__(
        self,
        connection: Connection,
        job: Job,
        since: float = 0.0,
        pause: Callable[[], None] = lambda: time.sleep(FOLLOW_S),
    ) -> None:
        """Only parts that were written after `since`, in seconds since the epoch; `pause` is between two looks."""
        self.job = job
        self._connection = connection
        self._since = since
        self._pause = pause

    def read(self, *, follow: bool = False) -> Iterator[Line]:
        """All lines, oldest first; with `follow` those to come, until the job is over."""
        attempt = 1
        while attempt <= self.job.attempt:
            if attempt > 1:
                yield Line(attempt, marker(self.job, attempt), marker=True)
            yield from self._attempt(attempt, follow=follow)
            attempt += 1

    def _attempt(self, attempt: int, *, follow: bool) -> Iterator[Line]:
        lines, start = Lines(), ""
        while True:
            # What ends an attempt is recorded after its last part is written, so in this order none is missed.
            over = self._is_over(attempt)
            for part in self._parts(attempt, start):
                start = part.name + "\0"
                data, _ = self._connection.objects.read(part)
                yield from (Line(attempt, text) for text in lines.feed(data))
            if over or not follow:
                break
            self._pause()
            self.job = Ledger(self._connection).find(self.job.job_id) or self.job
        yield from (Line(attempt, text) for text in lines.end())

    def _is_over(self, attempt: int) -> bool:
        return attempt < self.job.attempt or self.job.state.is_terminal

    def _parts(self, attempt: int, start: str) -> list[ObjectRef]:
        prefix = f"{names.work_prefix(self.job.job_id, attempt)}/logs/"
        found = self._connection.objects.list(self._connection.bucket("output"), prefix, start)
        return [info.ref for info in found if info.created >= self._since]


def marker(job: Job, attempt: int) -> str:
    """Between two attempts: `--- attempt 2 (PREEMPTED in us-west1) ---`, why it follows the one before."""
    before = next((past for past in job.history if past.number == attempt - 1), None)
    if before is None:
        return f"--- attempt {attempt} ---"
    where = f" in {before.worker.vm.region}" if before.worker is not None else ""
    return f"--- attempt {attempt} ({before.reason.value}{where}) ---"


def shown(text: str) -> str:
    """A line as a terminal may get it: of a progress bar how it stood last, no colours, control characters escaped."""
    last = _ANSI.sub("", text).rstrip("\r").rpartition("\r")[2]
    return "\t".join(printable(part, MAX_SHOWN) for part in last.split("\t"))
