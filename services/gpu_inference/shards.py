"""How is one shard predicted? Read Arrow, predict in batches, write Arrow; the same request again does it only once."""

from __future__ import annotations

import hashlib
import io
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import anyio
import pyarrow as pa

from services.gpu_inference.batching import Device, Work
from services.gpu_inference.metrics import Metrics
from services.gpu_inference.model import Encoded, Model, Output, Prediction
from services.gpu_inference.registry import Registry
from zeroidle.contracts import codec
from zeroidle.contracts.services import InferRequest, InferResponse, ObjectRef
from zeroidle.contracts.shards import (
    EMBEDDING,
    ENTITIES,
    ID,
    LABEL,
    LINE,
    PREDICTION_METADATA,
    ROW,
    SCORE,
    SCORES,
    TEXT,
    PredictionMetadata,
)
from zeroidle.errors import Conflict, MissingObject, PermanentError, TemporaryError, printable
from zeroidle.ports import ABSENT, ObjectInfo, Objects

# Object metadata of predictions: what they were made of, and the answer that was given.
SOURCE, ANSWER = "zeroidle-source", "zeroidle-answer"
CONTENT_TYPE = "application/vnd.apache.arrow.file"
# Texts sorted by length together: more gives batches of more equal length, fewer stops sooner when the caller is gone.
WINDOW = 4096
IN_FLIGHT = 2  # batches queued on the device, so that it never waits for us
ATTEMPTS = 3  # of compare-and-set against a writer that does the same

_ENTITY = pa.struct(
    [
        ("label", pa.string()),
        ("score", pa.float32()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("text", pa.string()),
    ]
)
_COLUMNS: dict[str, dict[str, pa.DataType]] = {
    "text-classification": {LABEL: pa.string(), SCORE: pa.float32(), SCORES: pa.list_(pa.float32())},
    "token-classification": {ENTITIES: pa.list_(_ENTITY)},
    "feature-extraction": {EMBEDDING: pa.list_(pa.float32())},
}
_INPUT = {ROW: pa.int64(), ID: pa.string(), LINE: pa.int64(), TEXT: pa.string()}

Stopped = Callable[[], None]  # raises when the work should end


@dataclass(frozen=True, slots=True)
class Shards:
    """Answers InferRequests. `clock` is in seconds and only measures."""

    objects: Objects
    registry: Registry
    device: Device
    metrics: Metrics
    token_budget: int
    threads: anyio.CapacityLimiter
    clock: Callable[[], float] = time.monotonic

    def infer(self, request: InferRequest, check: Stopped = lambda: None) -> InferResponse:
        """Predict a shard. `check` is called between batches and raises to stop.

        Raises MissingObject, PermanentError, TemporaryError.
        """
        started = self.clock()
        shard = self._pinned(request.shard)
        existing = self.objects.stat(request.predictions)
        if existing is not None:
            # A repeated request needs no model.
            source = _source(shard, self.registry.sha256(request.model))
            if (answer := _answer(existing, source)) is not None:
                return answer
        with self.registry.use(request.model) as model:
            source = _source(shard, model.index.sha256)
            data, _ = self.objects.read(shard)
            table = read_shard(data, shard.name)
            encoded, predictions = self._predict(model, table.column(TEXT).to_pylist(), check)
            metadata = _metadata(model, encoded, self.clock() - started)
            content = write_predictions(table, predictions, metadata)
        check()
        return self._publish(request.predictions, content, existing, source, _response(metadata))

    def _pinned(self, shard: ObjectRef) -> ObjectRef:
        """The shard at a generation."""
        if shard.generation is not None:
            return shard
        info = self.objects.stat(shard)
        if info is None:
            raise MissingObject(f"shard {printable(shard.name)!r} is not in bucket {shard.bucket!r}")
        return info.ref

    def _predict(
        self, model: Model, texts: Sequence[str | None], check: Stopped
    ) -> tuple[list[Encoded], list[Prediction]]:
        encoded: list[Encoded] = []
        predictions: list[Prediction] = []
        windows = [[text or "" for text in texts[at : at + WINDOW]] for at in range(0, len(texts), WINDOW)]
        # The next window is tokenized while the device is busy with this one.
        with ThreadPoolExecutor(1, "decode") as ahead:
            following = [ahead.submit(model.decode, window) for window in windows[:1]]
            for window in [*windows[1:], None]:
                check()
                decoded = following.pop().result() if following else []
                if window is not None:
                    following.append(ahead.submit(model.decode, window))
                predictions += model.encode(decoded, self._outputs(model, decoded, check))
                encoded += decoded
        self.metrics.truncated.inc(sum(text.truncated for text in encoded))
        return encoded, predictions

    def _outputs(self, model: Model, texts: Sequence[Encoded], check: Stopped) -> list[Output]:
        """All outputs of a window, in order, a few batches ahead of the device."""
        outputs: dict[int, Output] = {}
        waiting: deque[tuple[list[int], Work]] = deque()
        try:
            for batch in batches([len(text.ids) for text in texts], self.token_budget):
                check()
                (work,) = self.device.submit("shard", model, [[texts[index] for index in batch]])
                waiting.append((batch, work))
                if len(waiting) > IN_FLIGHT:
                    done, work = waiting.popleft()
                    outputs.update(zip(done, work.done.result(), strict=True))
            for done, work in waiting:
                check()
                outputs.update(zip(done, work.done.result(), strict=True))
        except BaseException:
            self.device.withdraw([work for _, work in waiting])
            raise
        return [outputs[index] for index in range(len(texts))]

    def _publish(
        self, target: ObjectRef, content: bytes, existing: ObjectInfo | None, source: str, response: InferResponse
    ) -> InferResponse:
        """Write the predictions, unless somebody else has written the same meanwhile."""
        metadata = {SOURCE: source, ANSWER: codec.encode(response).decode()}
        for _ in range(ATTEMPTS):
            try:
                self.objects.write(
                    target,
                    content,
                    content_type=CONTENT_TYPE,
                    metadata=metadata,
                    if_generation=ABSENT if existing is None else existing.generation,
                )
            except Conflict:
                existing = self.objects.stat(target)
                if (answer := _answer(existing, source)) is not None:
                    return answer
            else:
                return response
        raise TemporaryError(f"{printable(target.name)} is being written by others")


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of texts, sorted by length, in batches of up to `budget` tokens (one text may exceed it)."""
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and tokens + lengths[index] > budget:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += lengths[index]
    if batch:
        yield batch


def read_shard(data: bytes, name: str) -> pa.Table:
    """The records of a shard. Raises PermanentError if it is not one."""
    try:
        table = pa.ipc.open_file(pa.BufferReader(data)).read_all()
    except pa.ArrowInvalid as error:
        raise PermanentError(
            f"shard {printable(name)!r} is not an Arrow file: {printable(str(error))}", code="INVALID_SHARD"
        ) from error
    for column, kind in _INPUT.items():
        found = table.schema.field(column).type if column in table.schema.names else None
        if found != kind:
            raise PermanentError(
                f"shard {printable(name)!r}: column {column} must be {kind} (it is {found or 'missing'})",
                code="INVALID_SHARD",
            )
    return table


def write_predictions(table: pa.Table, predictions: Sequence[Prediction], metadata: PredictionMetadata) -> bytes:
    """The predictions of a shard as an Arrow file."""
    columns = {name: table.column(name) for name in (ROW, ID, LINE)}
    for name, kind in _COLUMNS[metadata.task].items():
        columns[name] = pa.array([prediction[name] for prediction in predictions], kind)
    result = pa.table(columns).replace_schema_metadata({PREDICTION_METADATA: codec.encode(metadata)})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, result.schema) as writer:
        writer.write_table(result)
    return sink.getvalue()


def _source(shard: ObjectRef, model_sha256: str) -> str:
    """Names what predictions were made of: this version of the shard, this content of the model."""
    text = f"{shard.bucket}/{shard.name}#{shard.generation} {model_sha256}"
    return hashlib.sha256(text.encode()).hexdigest()


def _answer(existing: ObjectInfo | None, source: str) -> InferResponse | None:
    """The answer of an earlier request for the same, if these are its predictions."""
    if existing is None or existing.metadata.get(SOURCE) != source:
        return None
    return codec.decode(existing.metadata[ANSWER], InferResponse, what=f"metadata {ANSWER}")


def _metadata(model: Model, encoded: Sequence[Encoded], elapsed_s: float) -> PredictionMetadata:
    return PredictionMetadata(
        task=model.task,
        labels=model.labels,
        model=model.name,
        model_sha256=model.index.sha256,
        device=model.runtime.device,
        dtype=model.runtime.dtype,
        records=len(encoded),
        tokens=sum(len(text.ids) for text in encoded),
        truncated=sum(text.truncated for text in encoded),
        elapsed_s=elapsed_s,
    )


def _response(metadata: PredictionMetadata) -> InferResponse:
    return InferResponse(
        records=metadata.records,
        tokens=metadata.tokens,
        truncated=metadata.truncated,
        model=metadata.model,
        device=metadata.device,
        dtype=metadata.dtype,
        elapsed_s=metadata.elapsed_s,
    )
