"""How does an input become shards? open -> detect -> read records -> set bad ones aside -> shards -> manifest.

The manifest is written last: where it stands, everything it counts stands too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from services.preprocess.detect import detect
from services.preprocess.readers import reader_of
from services.preprocess.readers.image import ReadImage
from services.preprocess.records import Reading
from services.preprocess.shards import ShardWriter
from services.preprocess.source import Source, opened
from zeroidle.contracts import codec
from zeroidle.contracts.services import PreprocessRequest, PreprocessResponse
from zeroidle.contracts.shards import MANIFEST, REJECTED, Manifest, Rejected
from zeroidle.errors import InvalidMessage, MissingObject, PermanentError, printable
from zeroidle.ports import ObjectInfo, Objects

MAX_LISTED_REJECTED = 10_000  # further ones are counted only: nobody reads them, and they would fill the memory
QUOTED_REASONS = 3


def preprocess(
    request: PreprocessRequest,
    objects: Objects,
    read_image: ReadImage,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> PreprocessResponse:
    """Write shards, rejected records and the manifest of `request.input` to `request.work`.

    The same request again is answered from the manifest; one that was cut short writes the same objects again.

    Raises:
        PermanentError: the input will never work; the code and the hint say why and what to do.
        MissingObject: the input is gone.
        TemporaryError: storage did not answer.
    """
    started = monotonic()
    info = _checked_input(request, objects)
    done = _existing_manifest(request, info, objects)
    if done is None:
        done = _read_all(request, info, objects, read_image, lambda: monotonic() - started)
        objects.write(request.work.child(MANIFEST), codec.encode(done), content_type="application/json")
    return PreprocessResponse(
        shards=done.shards,
        records=done.records,
        rejected=done.rejected,
        format=done.format,
        text_field=done.text_field,
        text_field_guessed=done.text_field_guessed,
        elapsed_s=monotonic() - started,
    )


def _checked_input(request: PreprocessRequest, objects: Objects) -> ObjectInfo:
    """The input's metadata, within limits before a byte of it is read."""
    info = objects.stat(request.input)
    if info is None:
        raise MissingObject(
            f"object {printable(request.input.name)!r} is not in bucket {request.input.bucket!r}",
            hint="It was deleted or overwritten since; upload it again.",
        )
    if info.size == 0:
        raise _empty("the file has 0 bytes")
    if info.size > request.options.max_input_bytes:
        raise PermanentError(
            f"the file has {info.size} bytes; at most {request.options.max_input_bytes} are read",
            code="TOO_LARGE",
            hint="Split it into several files, or raise options.max_input_bytes.",
        )
    return info


def _existing_manifest(request: PreprocessRequest, info: ObjectInfo, objects: Objects) -> Manifest | None:
    """What an earlier call for the same job, input and options found."""
    try:
        data, _ = objects.read(request.work.child(MANIFEST))
        manifest = codec.decode(data, Manifest, what=MANIFEST)
    except (MissingObject, InvalidMessage):
        return None
    asked = (request.job_id, info.ref, request.options)
    return manifest if (manifest.job_id, manifest.input, manifest.options) == asked else None


def _read_all(
    request: PreprocessRequest, info: ObjectInfo, objects: Objects, read_image: ReadImage, elapsed: Callable[[], float]
) -> Manifest:
    rejected: list[Rejected] = []
    rejected_count = 0
    with opened(objects, info, request.options) as source, ShardWriter(objects, request.work) as writer:
        reading = reader_of(detect(source), read_image)(source)
        for batch in reading.batches:
            writer.add(batch)
            rejected_count += len(batch.rejected)
            rejected += batch.rejected[: MAX_LISTED_REJECTED - len(rejected)]
        if writer.records == 0:
            raise _nothing_valid(rejected, rejected_count)
        writer.finish()
    if rejected:
        lines = b"".join(codec.encode(entry) + b"\n" for entry in rejected)
        objects.write(request.work.child(REJECTED), lines, content_type="application/jsonl")
    return _manifest(request, source, reading, (writer.shards, writer.records, rejected_count), elapsed())


def _manifest(
    request: PreprocessRequest, source: Source, reading: Reading, counts: tuple[int, int, int], elapsed_s: float
) -> Manifest:
    shards, records, rejected = counts
    fields = reading.fields
    return Manifest(
        job_id=request.job_id,
        input=source.info.ref,
        input_bytes=source.info.size,
        format=reading.format,
        compression=source.compression,
        encoding=reading.encoding,
        text_field=fields.text,
        text_field_guessed=fields.text_guessed,
        text_field_reason=fields.reason,
        fields=fields.names,
        id_field=fields.id,
        label_field=fields.label,
        options=request.options,
        records=records,
        rejected=rejected,
        shards=shards,
        elapsed_s=elapsed_s,
    )


def _nothing_valid(rejected: list[Rejected], count: int) -> PermanentError:
    if not rejected:
        return _empty("the file holds no records")
    if all(entry.code == "INVALID_UTF8" for entry in rejected):
        return PermanentError(
            f"none of the {count} records is valid UTF-8; line {rejected[0].line}: {rejected[0].message}",
            code="NOT_UTF8",
            hint="Convert it, for instance with `iconv -f WINDOWS-1252 -t UTF-8 in > out`, and upload it again.",
        )
    reasons = "; ".join(f"line {entry.line}: {entry.code}, {entry.message}" for entry in rejected[:QUOTED_REASONS])
    return PermanentError(
        f"none of the {count} records is valid: {reasons}",
        code="NO_VALID_RECORDS",
        hint="Every record needs a text. See options.text_field if it has another name.",
        details={"reasons": [codec.encode(entry).decode() for entry in rejected[:QUOTED_REASONS]]},
    )


def _empty(message: str) -> PermanentError:
    return PermanentError(message, code="EMPTY_INPUT", hint="Upload a file with at least one record.")
