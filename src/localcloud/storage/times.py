"""How are moments written: RFC 3339 outside, microseconds since the epoch inside?"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache

from localcloud.storage.errors import invalid

DAY_US = 24 * 3600 * 1_000_000


def timestamp(microseconds: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return f"{_second(microseconds // 1_000_000)}.{microseconds // 1000 % 1000:03d}Z"


@lru_cache(maxsize=4096)  # a page of a listing has thousands of times, and few of them far apart
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def microseconds_of(text: object, field: str) -> int:
    """A moment in RFC 3339, in microseconds since the epoch. Raises StorageError 400, naming `field`."""
    try:
        moment = datetime.fromisoformat(text if isinstance(text, str) else "")
    except ValueError as error:
        raise invalid(f"Invalid value for {field}: {text!r:.40}, expected a time in RFC 3339.") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1_000_000)


def midnight_of(text: object, field: str) -> int:
    """The beginning of a date (2026-11-24) in UTC, in microseconds since the epoch. Raises StorageError 400."""
    try:
        day = date.fromisoformat(text if isinstance(text, str) else "")
    except ValueError as error:
        raise invalid(f"Invalid value for {field}: {text!r:.40}, expected a date such as 2026-11-24.") from error
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1_000_000)
