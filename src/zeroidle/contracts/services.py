"""What do the workflow and the three services of the file pipeline say to each other?

References travel, data doesn't: every request names objects, every response counts what was written to them.
Requests are idempotent: the same request again writes the same objects.

    POST preprocess     /v1/preprocess    PreprocessRequest  -> PreprocessResponse
    POST gpu-inference  /v1/infer         InferRequest       -> InferResponse       (once per shard)
    POST postprocess    /v1/postprocess   PostprocessRequest -> PostprocessResponse

An error is `{"error": {code, message, hint, details}}`. A 4xx will never succeed; 429, 502, 503 and 504 are worth a
retry.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from zeroidle.contracts import codec
from zeroidle.contracts.codec import Contract
from zeroidle.errors import printable

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
BucketName = Annotated[str, Meta(min_length=3, max_length=222)]
ObjectName = Annotated[str, Meta(min_length=1, max_length=1024)]


class ObjectRef(Contract, frozen=True, kw_only=True):
    """An object; with `generation` exactly that version of it."""

    bucket: BucketName
    name: ObjectName
    generation: Annotated[str, Meta(pattern=r"^\d{1,20}$")] | None = None


class Folder(Contract, frozen=True, kw_only=True):
    """All objects of `bucket` whose name begins with `prefix` and a slash."""

    bucket: BucketName
    prefix: ObjectName

    def child(self, name: str) -> ObjectRef:
        """The object `name` in this folder."""
        return ObjectRef(bucket=self.bucket, name=f"{self.prefix}/{name}")


class ModelRef(Contract, frozen=True, kw_only=True):
    """A model in the model bucket; without a version the newest one."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9]([-a-z0-9._]{0,62}[a-z0-9])?$")]
    version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][-A-Za-z0-9._]{0,63}$")] | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """`name` or `name@version`. Raises InvalidMessage."""
        name, at, version = text.partition("@")
        fields = {"name": name, "version": version} if at else {"name": name}
        return codec.convert(fields, cls, what=f"model {printable(text)!r}, expected name or name@version")


class InputOptions(Contract, frozen=True, kw_only=True):
    """How to read an input file; what is None is guessed, and the guess reported."""

    text_field: str | None = None  # column or JSON field that holds the text
    id_field: str | None = None
    label_field: str | None = None  # the expected label, if the input carries one: results then show the accuracy
    text_mode: Literal["auto", "document", "lines"] = "auto"  # of .txt: one document, or one a line
    max_input_bytes: Annotated[int, Meta(gt=0)] = 5 * 2**30
    max_expanded_bytes: Annotated[int, Meta(gt=0)] = 20 * 2**30  # after decompression


class PreprocessRequest(Contract, frozen=True, kw_only=True):
    """Read `input`, write Arrow shards, `manifest.json` and `rejected.jsonl` to `work`."""

    job_id: str
    attempt: Annotated[int, Meta(ge=1)]
    input: ObjectRef
    work: Folder
    options: InputOptions = field(default_factory=InputOptions)


class PreprocessResponse(Contract, frozen=True, kw_only=True):
    """What was found. Shards are `<work>/shards/<00000>.arrow`, numbered from 0."""

    shards: Count
    records: Count
    rejected: Count
    format: str
    text_field: str | None = None
    text_field_guessed: bool = False
    elapsed_s: Seconds


class InferRequest(Contract, frozen=True, kw_only=True):
    """Predict every record of one shard."""

    job_id: str
    attempt: Annotated[int, Meta(ge=1)]
    shard: ObjectRef
    predictions: ObjectRef
    model: ModelRef


class InferResponse(Contract, frozen=True, kw_only=True):
    """What one shard took."""

    records: Count
    tokens: Count
    truncated: Count  # records longer than the model reads
    model: str  # name@version
    device: str
    dtype: str
    elapsed_s: Seconds


class Stage(Contract, frozen=True, kw_only=True):
    """One stage of a job; times are seconds since the epoch, `finished_at` is None while it runs."""

    name: str
    started_at: float
    finished_at: float | None = None
    busy_s: Seconds | None = None  # time its services report as their own work, summed over instances


class PostprocessRequest(Contract, frozen=True, kw_only=True):
    """Merge the predictions of all shards under `work` and publish the result to `output`, once and whole."""

    job_id: str
    attempt: Annotated[int, Meta(ge=1)]
    input: ObjectRef
    work: Folder
    output: Folder
    jobs_bucket: BucketName  # the ledger: only the current attempt publishes
    stages: list[Stage] = field(default_factory=list)
    usd_per_second: dict[str, float] = field(default_factory=dict)  # price of one busy instance, by stage


class PostprocessResponse(Contract, frozen=True, kw_only=True):
    """What was published."""

    files: list[str]
    records: Count
    rejected: Count
    labels: dict[str, int]
    elapsed_s: Seconds


class ErrorBody(Contract, frozen=True, kw_only=True):
    """Why a request failed, and what to do about it."""

    code: str
    message: str
    hint: str = ""
    details: dict[str, object] = field(default_factory=dict)


class ErrorResponse(Contract, frozen=True, kw_only=True):
    """The body of every response that is not a 2xx."""

    error: ErrorBody
