"""Which uploads did nobody tell us of? Events get lost; objects don't."""

from __future__ import annotations

import logging
from itertools import islice

from zeroidle.contracts import codec, names
from zeroidle.contracts.codec import Contract
from zeroidle.contracts.events import Upload
from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import InvalidMessage, MissingObject, TemporaryError, ZeroidleError, printable
from zeroidle.handlers.context import Context, Outcome
from zeroidle.handlers.on_upload import on_upload
from zeroidle.ports import ObjectInfo

EVERY_MINUTES = 10
# Objects listed by one sweep: one call of the list API. A larger bucket is swept in turns.
PAGE = 1000
# Records looked up by one sweep.
MAX_CHECKS = 200
# Younger ones are still being told of; older ones were swept often enough.
MIN_AGE_S, MAX_AGE_S = 60.0, 86400.0
CURSOR = "sweep/cursor.json"

log = logging.getLogger(__name__)


class _Cursor(Contract, frozen=True):
    start: str


def is_due(now: float) -> bool:
    """Every tenth minute; listing a bucket each minute would cost money while nothing happens."""
    return int(now // 60) % EVERY_MINUTES == 0


def sweep(context: Context) -> int:
    """Make jobs of the uploads of the last day that have none, a page of the bucket at a time; how many.

    Raises:
        TemporaryError: storage does not answer; the next sweep begins where this one did.
    """
    start, now = _read_cursor(context), context.clock.now()
    found, checks, last, whole = 0, 0, "", True
    listing = context.objects.list(context.deployment.input_bucket, "", start)
    for seen, info in enumerate(islice(listing, PAGE)):
        last = info.ref.name
        if MIN_AGE_S <= now - info.created <= MAX_AGE_S:
            checks += 1
            found += _adopt(context, info)
        if seen + 1 == PAGE or checks == MAX_CHECKS:
            whole = False
            break
    following = "" if whole else last + "\0"  # the next possible name
    if following != start:
        _write_cursor(context, following)
    return found


def _adopt(context: Context, info: ObjectInfo) -> bool:
    """Make a job of the object unless there is one; whether it did. Raises TemporaryError."""
    ref = info.ref
    try:
        if context.jobs.load(names.job_id_for_upload(ref.bucket, ref.name, ref.generation or "")) is not None:
            return False
        outcome = on_upload(context, Upload(ref, info.size, info.content_type, info.metadata, info.created))
    except TemporaryError:
        raise
    except ZeroidleError as error:
        log.error("object %s is no job: %s", printable(ref.name), error.message)
        return False
    if outcome is Outcome.IGNORED:
        return False
    log.warning("nobody told us of object %s: %s", printable(ref.name), outcome)
    return True


def _read_cursor(context: Context) -> str:
    try:
        data, _ = context.objects.read(_cursor(context))
        return codec.decode(data, _Cursor, what="sweep cursor").start
    except (MissingObject, InvalidMessage):
        return ""


def _write_cursor(context: Context, start: str) -> None:
    context.objects.write(_cursor(context), codec.encode(_Cursor(start)), content_type="application/json")


def _cursor(context: Context) -> ObjectRef:
    return ObjectRef(bucket=context.deployment.jobs_bucket, name=CURSOR)
