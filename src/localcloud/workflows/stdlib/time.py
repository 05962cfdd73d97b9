"""`time`. https://cloud.google.com/workflows/docs/reference/stdlib/time/format"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from localcloud.workflows import choices
from localcloud.workflows.errors import value_error
from localcloud.workflows.functions import expect, pure
from localcloud.workflows.values import Value

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pure("time.format")
def _format(seconds: Value, timezone: Value = "UTC") -> Value:
    moment = expect(seconds, (int, float), "seconds")
    import zoneinfo  # which looks through the system when it is imported

    try:
        zone = zoneinfo.ZoneInfo(expect(timezone, str, "timezone"))
        local = _in_whole_minutes((_EPOCH + timedelta(microseconds=round(moment * 1_000_000))).astimezone(zone))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise value_error(f"unknown time zone {timezone!r}") from error
    except OverflowError as error:
        raise value_error(f"seconds {moment} is out of range") from error
    zone_text = "Z" if local.utcoffset() == timedelta(0) else local.isoformat()[-6:]
    return f"{local.isoformat()[:19]}{choices.time_fraction(local.microsecond)}{zone_text}"


def _in_whole_minutes(local: datetime) -> datetime:
    """The same moment at an offset that RFC 3339 can write: offsets from before standard time have seconds."""
    offset = local.utcoffset() or timedelta(0)
    return local.astimezone(timezone(timedelta(minutes=round(offset / timedelta(minutes=1)))))


@pure("time.parse")
def _parse(value: Value) -> Value:
    return parse_time(expect(value, str, "value"))


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 text, to the microsecond. Raises ValueError as a workflow sees it."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise value_error(f"{text!r} is not an RFC 3339 time")
    day, time, fraction, zone = match.groups()
    offset = "+00:00" if zone in "Zz" else zone
    try:
        whole = datetime.fromisoformat(f"{day}T{time}{offset}")
    except ValueError as error:
        raise value_error(f"{text!r} is not an RFC 3339 time: {error}") from error
    micros = int((fraction or ".0")[1:7].ljust(6, "0"))
    return ((whole - _EPOCH) // timedelta(microseconds=1) + micros) / 1_000_000
