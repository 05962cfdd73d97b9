"""What is in a shard? Column names and metadata keys of the Arrow files that the services hand on, and of the manifest.

<work>/manifest.json             Manifest
<work>/rejected.jsonl            one Rejected a line; absent when nothing was rejected
<work>/shards/00000.arrow        Arrow IPC file: row int64, id string, line int64, text string, label string
<work>/predictions/00000.arrow   Arrow IPC file: row int64, id string, line int64, then by task
                                   text-classification   label string, score float32, scores list<float32>
                                   token-classification  entities list<struct<label, score, start, end, text>>
                                   feature-extraction    embedding list<float32>
                                 schema metadata: PREDICTION_METADATA -> PredictionMetadata as JSON
"""

from __future__ import annotations

from typing import Literal

from msgspec import field

from zeroidle.contracts.codec import Contract
from zeroidle.contracts.services import Count, InputOptions, ObjectRef, Seconds

MANIFEST = "manifest.json"
REJECTED = "rejected.jsonl"
ROW, ID, LINE, TEXT, LABEL = "row", "id", "line", "text", "label"
SCORE, SCORES, ENTITIES, EMBEDDING = "score", "scores", "entities", "embedding"
PREDICTION_METADATA = b"zeroidle"

Task = Literal["text-classification", "token-classification", "feature-extraction"]


def shard_name(index: int) -> str:
    """Of an input shard, below the work folder."""
    return f"shards/{index:05d}.arrow"


def predictions_name(index: int) -> str:
    """Of the predictions of a shard, below the work folder."""
    return f"predictions/{index:05d}.arrow"


class Rejected(Contract, frozen=True, kw_only=True):
    """A record set aside: where, why, and how it begins. `line` counts from 1; rows where there are no lines."""

    line: int
    code: str
    message: str
    excerpt: str = ""


class Manifest(Contract, frozen=True, kw_only=True):
    """What preprocess found in the input and what it wrote."""

    job_id: str
    input: ObjectRef
    input_bytes: Count
    format: str  # txt, json, jsonl, csv, parquet, image
    compression: Literal["gzip"] | None = None
    encoding: str | None = None
    text_field: str | None = None
    text_field_guessed: bool = False
    text_field_reason: str = ""  # in words: why this field, or how a .txt was split
    fields: list[str] = field(default_factory=list)
    id_field: str | None = None
    label_field: str | None = None
    options: InputOptions
    records: Count
    rejected: Count
    shards: Count
    elapsed_s: Seconds


class PredictionMetadata(Contract, frozen=True, kw_only=True):
    """How the predictions of one shard came about."""

    task: Task
    labels: list[str] = field(default_factory=list)  # order of `scores`
    model: str  # name@version
    model_sha256: str
    device: str
    dtype: str
    records: Count
    tokens: Count
    truncated: Count
    elapsed_s: Seconds
