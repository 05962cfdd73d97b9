"""`sys`. https://cloud.google.com/workflows/docs/reference/stdlib/sys/log"""

from __future__ import annotations

from localcloud.workflows import choices
from localcloud.workflows.errors import value_error
from localcloud.workflows.functions import blocking, expect, local
from localcloud.workflows.stdlib.time import parse_time
from localcloud.workflows.thread import Thread
from localcloud.workflows.values import Value

MAX_SLEEP_S = 31_536_000
_SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
_ABSENT = object()  # null is something to log


@local("sys.now")
def _now(thread: Thread) -> Value:
    return thread.once("sys.now", lambda: float(thread.run.clock.time()))


@local("sys.get_env")
def _get_env(thread: Thread, name: Value, default_value: Value = None) -> Value:
    found = thread.run.environment.get(expect(name, str, "name"), default_value)
    if found is None:
        raise choices.unknown_environment_variable(name)
    return found


@blocking("sys.sleep")
async def _sleep(thread: Thread, seconds: Value) -> Value:
    duration = expect(seconds, (int, float), "seconds")
    if not 0 <= duration <= MAX_SLEEP_S:
        raise value_error(f"seconds {duration} is not in [0, {MAX_SLEEP_S}]")
    await thread.sleep(duration)


@blocking("sys.sleep_until")
async def _sleep_until(thread: Thread, time: Value) -> Value:
    until = parse_time(expect(time, str, "time"))
    await thread.sleep(until - _now(thread))


@blocking("sys.log")
async def _log(
    thread: Thread,
    data: Value = _ABSENT,
    text: Value = _ABSENT,
    json: Value = _ABSENT,
    severity: Value = "DEFAULT",
    timeout_: Value = None,
) -> Value:
    given = [value for value in (data, text, json) if value is not _ABSENT]
    if len(given) != 1:
        raise value_error("exactly one of data, text and json must be given")
    if expect(severity, str, "severity") not in _SEVERITIES:
        raise value_error(f"severity {severity!r} is not one of {', '.join(_SEVERITIES)}")
    if text is not _ABSENT:
        expect(text, str, "text")
    if json is not _ABSENT:
        expect(json, dict, "json")
    thread.once("sys.log", lambda: thread.run.log(given[0], severity))
