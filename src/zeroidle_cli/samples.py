"""What do a few of the predictions look like, beside their texts?"""

from __future__ import annotations

from zeroidle.contracts import names, shards
from zeroidle.contracts.records import Job
from zeroidle.contracts.services import Folder
from zeroidle.errors import MissingObject, printable
from zeroidle_cli.connection import Connection


def sample(connection: Connection, job: Job, rows: int) -> list[dict[str, str]]:
    """The first `rows` records as printable cells: line, prediction, text. Empty when the shards are gone by now."""
    import pyarrow as pa  # takes a tenth of a second to import

    work = Folder(bucket=connection.bucket("work"), prefix=names.work_prefix(job.job_id, job.attempt))

    def table(name: str) -> pa.Table:
        data, _ = connection.objects.read(work.child(name))
        with pa.ipc.open_file(pa.BufferReader(data)) as reader:
            return reader.read_all().slice(0, rows)

    try:
        inputs, predictions = table(shards.shard_name(0)), table(shards.predictions_name(0))
    except MissingObject:
        return []
    texts, lines = inputs[shards.TEXT].to_pylist(), inputs[shards.LINE].to_pylist()
    cells = []
    for text, line, prediction in zip(texts, lines, predictions.to_pylist(), strict=True):
        cells.append({"line": str(line), **_told(prediction), "text": printable(" ".join(text[:1000].split()), 200)})
    return cells


def _told(prediction: dict[str, object]) -> dict[str, str]:
    match prediction:
        case {shards.LABEL: str(label), shards.SCORE: float(score)}:
            return {"label": label, "score": f"{score:.3f}"}
        case {shards.ENTITIES: list(entities)}:
            return {"entities": ", ".join(f"{e['text']} ({e['label']})" for e in entities) or "none"}
        case {shards.EMBEDDING: list(values)}:
            return {"embedding": f"{len(values)} numbers, {values[0]:.3f} {values[1]:.3f} …"}
        case _:
            return {}
