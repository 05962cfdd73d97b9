"""How do the predictions of all shards become one result?

load the manifest -> merge shard by shard -> summary and report -> stage -> publish
"""

from __future__ import annotations

import logging
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import pyarrow as pa

from services.postprocess import publish, report, summary
from services.postprocess.tables import PredictionFiles
from services.postprocess.tally import Tally
from zeroidle.contracts import codec, shards
from zeroidle.contracts.services import PostprocessRequest, PostprocessResponse
from zeroidle.contracts.shards import Manifest, PredictionMetadata
from zeroidle.errors import MissingObject, PermanentError
from zeroidle.ports import Objects

REJECTED_IN_REPORT = 20
READERS = 4  # shards read ahead: a read takes tens of milliseconds, nearly all of it waiting

log = logging.getLogger(__name__)


def postprocess(request: PostprocessRequest, objects: Objects, now: Callable[[], float]) -> PostprocessResponse:
    """Merge and publish; a repeated request answers from what is published.

    Raises:
        PermanentError: SUPERSEDED when another attempt is current, INCOMPLETE when predictions are missing.
        TemporaryError: storage does not answer.
    """
    started = now()
    publish.require_current(request, objects)
    claim = publish.claimed(request, objects)
    if claim is None:
        with tempfile.TemporaryDirectory() as folder:
            files, rejected = _build(request, objects, Path(folder), started, now)
            claim = publish.stage_and_claim(request, objects, files, rejected=rejected > 0)
    publish.publish(request, objects, claim)
    return _response(request, objects, claim, elapsed_s=now() - started)


def _build(
    request: PostprocessRequest, objects: Objects, folder: Path, started: float, now: Callable[[], float]
) -> tuple[list[Path], int]:
    """Write the result's files into `folder`, summary.json last; the files, and how many records were rejected."""
    manifest = codec.decode(objects.read(request.work.child(shards.MANIFEST))[0], Manifest, what="manifest.json")
    metadata: list[PredictionMetadata] = []
    tally = Tally()
    with PredictionFiles(folder, request.input) as files:
        for inputs, predictions in _loaded(request, objects, manifest.shards):
            told = codec.decode(predictions.schema.metadata[shards.PREDICTION_METADATA], PredictionMetadata)
            metadata.append(told)
            files.add(predictions, told.labels)
            tally.add(inputs, predictions, told.labels)
    if not metadata or tally.records != manifest.records:
        raise PermanentError(
            f"{tally.records} of {manifest.records} records have predictions",
            code="INCOMPLETE",
            hint="Run the job again; a shard was lost or changed while the job ran.",
        )
    models = sorted({told.model for told in metadata})
    if len(models) > 1:
        raise PermanentError(
            f"the model changed while the job ran: {', '.join(models)}",
            code="MIXED_MODELS",
            hint="Run the job again; name@version keeps to one version.",
        )
    result = summary.build(request, manifest, metadata, tally, started=started, now=now())
    rejected = _first_rejected(request, objects, manifest)
    page, text = folder / "report.html", folder / "summary.json"
    page.write_text(report.render(result, tally, rejected), encoding="utf-8")
    text.write_bytes(msgspec.json.format(codec.encode(result), indent=2) + b"\n")
    return [files.parquet, files.jsonl, page, text], manifest.rejected


def _loaded(request: PostprocessRequest, objects: Objects, count: int) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The input rows and the predictions of each shard, in order; a few are read ahead."""
    ahead: deque[Future[tuple[pa.Table, pa.Table]]] = deque()
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="shard")
    try:
        for index in range(count):
            ahead.append(pool.submit(_load, request, objects, index))
            if len(ahead) > READERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _load(request: PostprocessRequest, objects: Objects, index: int) -> tuple[pa.Table, pa.Table]:
    inputs = _table(objects.read(request.work.child(shards.shard_name(index)))[0])
    try:
        data, _ = objects.read(request.work.child(shards.predictions_name(index)))
    except MissingObject as error:
        raise PermanentError(
            f"shard {index} has no predictions",
            code="INCOMPLETE",
            hint="Run the job again; inference of this shard did not finish.",
        ) from error
    predictions = _table(data)
    if inputs[shards.ROW].combine_chunks() != predictions[shards.ROW].combine_chunks():
        raise PermanentError(f"the predictions of shard {index} are of other records than the shard", code="INCOMPLETE")
    return inputs, predictions


def _table(data: bytes) -> pa.Table:
    with pa.ipc.open_file(pa.BufferReader(data)) as reader:
        return reader.read_all()


def _first_rejected(request: PostprocessRequest, objects: Objects, manifest: Manifest) -> list[shards.Rejected]:
    if not manifest.rejected:
        return []
    with objects.open(request.work.child(shards.REJECTED)) as stream:
        lines = [line for line, _ in zip(stream, range(REJECTED_IN_REPORT), strict=False)]
    return [codec.decode(line, shards.Rejected, what=shards.REJECTED) for line in lines]


def _response(
    request: PostprocessRequest, objects: Objects, claim: publish.Claim, elapsed_s: float
) -> PostprocessResponse:
    data, _ = objects.read(request.output.child("summary.json"))
    result = codec.decode(data, summary.Summary, what="summary.json")
    return PostprocessResponse(
        files=[request.output.child(name).name for name in claim.files],
        records=result.records,
        rejected=result.rejected,
        labels=result.labels,
        elapsed_s=elapsed_s,
    )
