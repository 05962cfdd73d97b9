"""How are records cut into shards and written?

The cut depends on the records alone, so the same input gives the same bytes, however often it is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.preprocess.records import SCHEMA, Batch
from zeroidle.contracts.services import Folder
from zeroidle.contracts.shards import TEXT, shard_name
from zeroidle.ports import Objects

# One inference request should take seconds: long enough that its overhead vanishes, short enough to be repeated for
# little and to spread over instances. A 22 M parameter encoder reads some 250 mixed records a CPU second: 2,048 are
# 8 s. Whole reviews, ten times as long as sentences, are bounded by bytes (512 KiB are about 130,000 tokens).
MAX_SHARD_RECORDS = 2048
MAX_SHARD_BYTES = 512 * 2**10
# A write is a round trip of some 50 ms: one after the other would be slower than reading.
PARALLEL_WRITES = 8
Sizes = np.ndarray[Any, np.dtype[np.int32]]
ARROW_TYPE = "application/vnd.apache.arrow.file"


class ShardWriter:
    """Gathers batches, writes every full shard in the background. As a context manager it waits for the writes."""

    def __init__(self, objects: Objects, work: Folder) -> None:
        self.shards = 0
        self.records = 0
        self._objects = objects
        self._work = work
        self._pending: list[pa.RecordBatch] = []
        self._pending_records = 0
        self._pending_bytes = 0  # of text
        self._writes: deque[Future[int]] = deque()
        self._pool = ThreadPoolExecutor(PARALLEL_WRITES, thread_name_prefix="shard")

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, batch: Batch) -> None:
        """Take a batch's valid records. Raises what an earlier write raised."""
        self.records += batch.records.num_rows
        self._keep(batch.records)
        if self._pending_records < MAX_SHARD_RECORDS and self._pending_bytes <= MAX_SHARD_BYTES:
            return
        records = pa.concat_batches(self._pending)
        written = 0
        for start, end in full_shards(text_bytes(records)):
            self._write(records.slice(start, end - start))
            written = end
        self._pending, self._pending_records, self._pending_bytes = [], 0, 0
        self._keep(records.slice(written))

    def finish(self) -> None:
        """Write what is left and wait until all is stored."""
        if self._pending_records:
            self._write(pa.concat_batches(self._pending))
        while self._writes:
            self._writes.popleft().result()

    def _keep(self, records: pa.RecordBatch) -> None:
        if records.num_rows:
            self._pending.append(records)
            self._pending_records += records.num_rows
            self._pending_bytes += int(text_bytes(records).sum())

    def _write(self, records: pa.RecordBatch) -> None:
        data = encode(records)
        ref = self._work.child(shard_name(self.shards))
        self.shards += 1
        if len(self._writes) >= 2 * PARALLEL_WRITES:  # bounds what waits in memory
            self._writes.popleft().result()
        self._writes.append(self._pool.submit(self._objects.write, ref, data, content_type=ARROW_TYPE))


def text_bytes(records: pa.RecordBatch) -> Sizes:
    """The size of every text, in bytes of UTF-8."""
    sizes: Sizes = pc.binary_length(records.column(TEXT)).to_numpy()
    return sizes


def full_shards(sizes: Sizes) -> Iterator[tuple[int, int]]:
    """The ranges of records that fill a shard each; what is left at the end may still grow.

    A shard is full at MAX_SHARD_RECORDS, or when the next record would take it beyond MAX_SHARD_BYTES.
    """
    start = 0
    while start < len(sizes):
        sums = np.cumsum(sizes[start : start + MAX_SHARD_RECORDS], dtype=np.int64)
        if sums[-1] > MAX_SHARD_BYTES:
            end = start + max(1, int(np.searchsorted(sums, MAX_SHARD_BYTES, side="right")))
        elif len(sums) == MAX_SHARD_RECORDS:
            end = start + MAX_SHARD_RECORDS
        else:
            return
        yield start, end
        start = end


def encode(records: pa.RecordBatch) -> bytes:
    """Records as an Arrow IPC file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_batch(records)
    data: bytes = sink.getvalue().to_pybytes()
    return data
