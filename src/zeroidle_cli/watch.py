"""Which of these jobs have changed? Asked again and again, at a cost that does not grow with their number."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from zeroidle.contracts.records import Job
from zeroidle_cli.ledger import Ledger

FEW = 4  # so many records are read at each look; of more, one listing tells which ones changed
POLL_S = 0.15
REST = 4  # a look that takes long is followed by a rest so many times as long


class Watch:
    """The records of some jobs until all are over."""

    def __init__(self, ledger: Ledger, job_ids: Iterable[str]) -> None:
        self._ledger = ledger
        self._open = set(job_ids)
        self._seen: dict[str, int] = {}

    def changes(self) -> Iterator[dict[str, Job]]:
        """After each look the records that are new since the one before, perhaps none; ends with the last job."""
        while self._open:
            begun = time.monotonic()
            yield self._look()
            if self._open:
                time.sleep(max(POLL_S, REST * (time.monotonic() - begun)))

    def _look(self) -> dict[str, Job]:
        changed = {}
        for job_id, (record, generation) in self._ledger.load_many(sorted(self._candidates())).items():
            if self._seen.get(job_id) == generation:
                continue
            self._seen[job_id] = generation
            job = changed[job_id] = self._ledger.decode(job_id, record)
            if job.state.is_terminal:
                self._open.discard(job_id)
        return changed

    def _candidates(self) -> set[str]:
        if len(self._open) <= FEW:
            return self._open
        generations = self._ledger.generations()
        return {job_id for job_id in self._open if generations.get(job_id) != self._seen.get(job_id)}
