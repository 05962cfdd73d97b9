"""A job as preprocess and gpu-inference leave it: factories."""

from __future__ import annotations

import pyarrow as pa

from tests.services.postprocess.crashing_objects import CrashingObjects
from zeroidle.contracts import codec, names, shards
from zeroidle.contracts.services import Folder, InputOptions, ObjectRef, PostprocessRequest, Stage

JOB, JOBS, WORK, OUTPUT = "u-abc", "jobs-bucket", "work-bucket", "output-bucket"
PER_SHARD = 120
MODEL = "sentiment-minilm@1"
TEXTS = [f"Sentence number {n} is {'lovely' if n % 3 else 'awful'}." for n in range(300)]


def a_request(attempt: int, name: str = "reviews.jsonl") -> PostprocessRequest:
    return PostprocessRequest(
        job_id=JOB,
        attempt=attempt,
        input=ObjectRef(bucket="input-bucket", name=name, generation="17"),
        work=Folder(bucket=WORK, prefix=names.work_prefix(JOB, attempt)),
        output=Folder(bucket=OUTPUT, prefix=names.result_prefix(name, "17")),
        jobs_bucket=JOBS,
        stages=[
            Stage(name="preprocess", started_at=100.0, finished_at=101.0, busy_s=0.5),
            Stage(name="inference", started_at=101.0, finished_at=104.0, busy_s=5.0),
        ],
        usd_per_second={"preprocess": 0.0001, "inference": 0.001, "postprocess": 0.0001},
    )


def put_record(store: CrashingObjects, attempt: int, state: str = "RUNNING") -> None:
    record = codec.encode({"job_id": JOB, "attempt": attempt, "state": state, "more": 1})
    store.write(ObjectRef(bucket=JOBS, name=names.job_record(JOB)), record)


def fill(
    store: CrashingObjects, attempt: int, *, rejected: int = 2, score_shift: float = 0.0, last_model: str = MODEL
) -> None:
    """Write record, manifest, shards, predictions and rejected records of one attempt."""
    put_record(store, attempt)
    request = a_request(attempt)
    pieces = [list(range(start, min(start + PER_SHARD, len(TEXTS)))) for start in range(0, len(TEXTS), PER_SHARD)]
    for index, rows in enumerate(pieces):
        store.write(request.work.child(shards.shard_name(index)), _ipc(_inputs(rows)))
        predictions = _predictions(rows, score_shift, last_model if rows is pieces[-1] else MODEL)
        store.write(request.work.child(shards.predictions_name(index)), _ipc(predictions))
    lines = [
        shards.Rejected(line=400 + n, code="BAD_JSON", message="not JSON", excerpt="<b>{oops") for n in range(rejected)
    ]
    if rejected:
        store.write(request.work.child(shards.REJECTED), b"\n".join(map(codec.encode, lines)) + b"\n")
    manifest = shards.Manifest(
        job_id=JOB,
        input=request.input,
        input_bytes=12345,
        format="jsonl",
        encoding="utf-8",
        text_field="text",
        options=InputOptions(),
        records=len(TEXTS),
        rejected=rejected,
        shards=len(pieces),
        elapsed_s=0.5,
    )
    store.write(request.work.child(shards.MANIFEST), codec.encode(manifest))
    store.writes = 0


def _inputs(rows: list[int]) -> pa.Table:
    return pa.table(
        {
            shards.ROW: pa.array(rows, pa.int64()),
            shards.ID: [str(n) for n in rows],
            shards.LINE: pa.array([n + 1 for n in rows], pa.int64()),
            shards.TEXT: [TEXTS[n] for n in rows],
            shards.LABEL: ["POSITIVE" if n % 4 else "0" for n in rows],
        }
    )


def _predictions(rows: list[int], shift: float, model: str) -> pa.Table:
    positive = [min(0.999, 0.55 + n % 40 / 100 + shift) if n % 3 else 0.2 for n in rows]
    table = pa.table(
        {
            shards.ROW: pa.array(rows, pa.int64()),
            shards.ID: [str(n) for n in rows],
            shards.LINE: pa.array([n + 1 for n in rows], pa.int64()),
            shards.LABEL: ["positive" if p > 0.5 else "negative" for p in positive],
            shards.SCORE: pa.array([max(p, 1 - p) for p in positive], pa.float32()),
            shards.SCORES: pa.array([[1 - p, p] for p in positive], pa.list_(pa.float32())),
        }
    )
    told = shards.PredictionMetadata(
        task="text-classification",
        labels=["negative", "positive"],
        model=model,
        model_sha256="ab" * 32,
        device="cpu",
        dtype="float32",
        records=len(rows),
        tokens=10 * len(rows),
        truncated=1,
        elapsed_s=1.0,
    )
    return table.replace_schema_metadata({shards.PREDICTION_METADATA: codec.encode(told)})


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
