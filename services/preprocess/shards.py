"""How are records cut into shards and written?

The cut depends on the records alone, so the same input gives the same bytes, however often it is read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from typing import Any

import pyarrow as pa

from services.preprocess.records import Batch
from zeroidle.contracts.services import Folder
from zeroidle.contracts.shards import ID, LABEL, LINE, ROW, TEXT, shard_name
from zeroidle.ports import Objects

# One inference request should take seconds: long enough that its overhead vanishes, short enough to be repeated for
# little and to spread over instances. A 22 M parameter encoder reads some 250 mixed records a CPU second: 2,048 are
# 8 s. Whole reviews, ten times as long as sentences, are bounded by characters (512 KiB are about 130,000 tokens).
MAX_SHARD_RECORDS = 2048
MAX_SHARD_CHARS = 512 * 2**10
# A write is a round trip of some 50 ms: one after the other would be slower than reading.
PARALLEL_WRITES = 8
ARROW_TYPE = "application/vnd.apache.arrow.file"

SCHEMA = pa.schema(
    [(ROW, pa.int64()), (ID, pa.string()), (LINE, pa.int64()), (TEXT, pa.string()), (LABEL, pa.string())]
)


class ShardWriter:
    """Gathers batches, writes every full shard in the background. As a context manager it waits for the writes."""

    def __init__(self, objects: Objects, work: Folder) -> None:
        self.shards = 0
        self.records = 0
        self._objects = objects
        self._work = work
        self._pending = Batch()
        self._chars: list[int] = []  # of each pending text
        self._writes: deque[Future[int]] = deque()
        self._pool = ThreadPoolExecutor(PARALLEL_WRITES, thread_name_prefix="shard")

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, batch: Batch) -> None:
        """Take a batch's valid records. Raises what an earlier write raised."""
        pending = self._pending
        pending.rows += batch.rows
        pending.ids += batch.ids
        pending.lines += batch.lines
        pending.texts += batch.texts
        pending.labels += batch.labels
        self._chars += map(len, batch.texts)
        self.records += len(batch.texts)
        written = 0
        for start, end in full_shards(self._chars):
            self._write(start, end)
            written = end
        for column in (pending.rows, pending.ids, pending.lines, pending.texts, pending.labels, self._chars):
            del column[:written]

    def finish(self) -> None:
        """Write what is left and wait until all is stored."""
        if self._chars:
            self._write(0, len(self._chars))
        while self._writes:
            self._writes.popleft().result()

    def _write(self, start: int, end: int) -> None:
        data = encode_shard(self._pending, start, end)
        ref = self._work.child(shard_name(self.shards))
        self.shards += 1
        if len(self._writes) >= 2 * PARALLEL_WRITES:  # bounds what waits in memory
            self._writes.popleft().result()
        self._writes.append(self._pool.submit(self._objects.write, ref, data, content_type=ARROW_TYPE))


def full_shards(chars: list[int]) -> Iterator[tuple[int, int]]:
    """The ranges of records that fill a shard each; what is left at the end may still grow.

    A shard is full at MAX_SHARD_RECORDS, or when the next record would take it beyond MAX_SHARD_CHARS.
    """
    start = 0
    while start < len(chars):
        sums = list(accumulate(chars[start : start + MAX_SHARD_RECORDS]))
        if sums[-1] > MAX_SHARD_CHARS:
            end = start + max(1, bisect_right(sums, MAX_SHARD_CHARS))
        elif len(sums) == MAX_SHARD_RECORDS:
            end = start + MAX_SHARD_RECORDS
        else:
            return
        yield start, end
        start = end


def encode_shard(batch: Batch, start: int, end: int) -> bytes:
    """Records `start` to `end` as an Arrow IPC file."""
    columns: list[list[Any]] = [batch.rows, batch.ids, batch.lines, batch.texts, batch.labels]
    arrays = [pa.array(column[start:end], kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
    data: bytes = sink.getvalue().to_pybytes()
    return data
