"""What does `summary.json` say? Counts, confidence, accuracy, timings and cost of one job, for programs."""

from __future__ import annotations

from typing import Literal

from services.postprocess.tally import BINS, Tally
from zeroidle.contracts.codec import Contract
from zeroidle.contracts.services import Count, ObjectRef, PostprocessRequest, Seconds, Stage
from zeroidle.contracts.shards import Manifest, PredictionMetadata, Task


class InputSummary(Contract, frozen=True, kw_only=True):
    """The file, and how it was read."""

    object: ObjectRef
    bytes: Count
    format: str
    compression: str | None
    encoding: str | None
    text_field: str | None
    text_field_guessed: bool
    text_field_reason: str
    id_field: str | None
    label_field: str | None


class ModelSummary(Contract, frozen=True, kw_only=True):
    """The model, and what it ran on. `name` is name@version."""

    name: str
    sha256: str
    task: Task
    labels: list[str]
    device: str
    dtype: str
    tokens: Count
    truncated: Count


class Confidence(Contract, frozen=True, kw_only=True):
    """Scores of the predicted labels; `histogram` counts them by label in equal bins over [0, 1]."""

    mean: float
    bin_width: float
    histogram: dict[str, list[int]]


class Accuracy(Contract, frozen=True, kw_only=True):
    """Against the input's own labels; `confusion` is expected -> predicted -> records."""

    accuracy: float
    labelled: Count
    confusion: dict[str, dict[str, int]]


class StageTiming(Contract, frozen=True, kw_only=True):
    """`elapsed_s` from the stage's start to its end; `busy_s` its services' own work; `usd` what that work costs."""

    name: str
    elapsed_s: Seconds
    busy_s: Seconds
    usd: float


class Summary(Contract, frozen=True, kw_only=True):
    """All of it. `usd` is an estimate: instances at work, without start and idle time."""

    schema: Literal[1] = 1
    job_id: str
    attempt: int
    created_at: float  # seconds since the epoch
    input: InputSummary
    model: ModelSummary
    records: Count
    rejected: Count
    labels: dict[str, int]
    confidence: Confidence | None
    accuracy: Accuracy | None
    stages: list[StageTiming]
    elapsed_s: Seconds
    usd: float


def build(
    request: PostprocessRequest,
    manifest: Manifest,
    metadata: list[PredictionMetadata],
    tally: Tally,
    *,
    started: float,
    now: float,
) -> Summary:
    """The summary; `started` and `now` bound what postprocess itself took so far, in epoch seconds."""
    stages = [_timing(stage, request.usd_per_second, now) for stage in request.stages if stage.name != "postprocess"]
    own = Stage(name="postprocess", started_at=started, finished_at=now, busy_s=now - started)
    stages.append(_timing(own, request.usd_per_second, now))
    begun = min((stage.started_at for stage in request.stages), default=started)
    return Summary(
        job_id=request.job_id,
        attempt=request.attempt,
        created_at=now,
        input=_input(manifest),
        model=_model(metadata),
        records=tally.records,
        rejected=manifest.rejected,
        labels=dict(sorted(tally.labels.items(), key=lambda item: (-item[1], item[0]))),
        confidence=_confidence(tally),
        accuracy=_accuracy(tally),
        stages=stages,
        elapsed_s=max(0.0, now - begun),
        usd=sum(stage.usd for stage in stages),
    )


def _timing(stage: Stage, usd_per_second: dict[str, float], now: float) -> StageTiming:
    elapsed = max(0.0, (stage.finished_at or now) - stage.started_at)
    busy = elapsed if stage.busy_s is None else stage.busy_s
    return StageTiming(name=stage.name, elapsed_s=elapsed, busy_s=busy, usd=busy * usd_per_second.get(stage.name, 0.0))


def _input(manifest: Manifest) -> InputSummary:
    return InputSummary(
        object=manifest.input,
        bytes=manifest.input_bytes,
        format=manifest.format,
        compression=manifest.compression,
        encoding=manifest.encoding,
        text_field=manifest.text_field,
        text_field_guessed=manifest.text_field_guessed,
        text_field_reason=manifest.text_field_reason,
        id_field=manifest.id_field,
        label_field=manifest.label_field,
    )


def _model(metadata: list[PredictionMetadata]) -> ModelSummary:
    first = metadata[0]
    return ModelSummary(
        name=first.model,
        sha256=first.model_sha256,
        task=first.task,
        labels=first.labels,
        device=", ".join(sorted({told.device for told in metadata})),
        dtype=", ".join(sorted({told.dtype for told in metadata})),
        tokens=sum(told.tokens for told in metadata),
        truncated=sum(told.truncated for told in metadata),
    )


def _confidence(tally: Tally) -> Confidence | None:
    if tally.mean_confidence is None:
        return None
    histogram = {label: counts.tolist() for label, counts in sorted(tally.histogram.items())}
    return Confidence(mean=tally.mean_confidence, bin_width=1 / BINS, histogram=histogram)


def _accuracy(tally: Tally) -> Accuracy | None:
    if tally.accuracy is None:
        return None
    confusion: dict[str, dict[str, int]] = {}
    for (expected, got), count in sorted(tally.confusion.items()):
        confusion.setdefault(expected, {})[got] = count
    return Accuracy(accuracy=tally.accuracy, labelled=tally.confusion.total(), confusion=confusion)
