"""Does the engine stay within its bounds, whatever a source or a program asks for, and keep serving?"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from localcloud.workflows import choices
from localcloud.workflows.compiler import compile_source
from localcloud.workflows.errors import DeploymentError
from localcloud.workflows.memory import MAX_MEMORY_BYTES, Memory
from tests.localcloud.workflows.workflows_cloud import Cloud, on_cloud

SIZE = 128 * 1024
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)
SOURCES = {
    "10 MB": ("- a:\n    return: '" + "x" * 10_000_000 + "'", "larger than 131072 bytes"),
    "aliases that multiply": (BOMB, "nested too deeply or repeats itself"),
    "lists in lists": ("[" * SIZE, "nested too deeply"),
    "maps in maps": ("{" * SIZE, "nested too deeply"),
    "items in items": ("- " * (SIZE // 2), "nested too deeply"),
    "keys in keys": ("? " * (SIZE // 2), "nested too deeply"),
    "steps in steps": ("- s: " + "{steps: [{s: " * 40 + "1" + "}]}" * 40, "nested too deeply"),
    "60,000 numbers": ("- a:\n    return: [" + ",".join("1" * 60_000) + "]", "repeats itself"),
    "100,000 digits": ("- a:\n    return: " + "9" * 100_000, "does not fit in 64 bits"),
    "a double beyond doubles": ("- a:\n    return: 1e99999", "does not fit in a double"),
    "parentheses": ("- a:\n    return: ${" + "(" * 190 + "1" + ")" * 190 + "}", "nested too deeply"),
    "a null byte": ("- a:\n    return: \0", "parse error"),
    "half a surrogate pair": ("- a:\n    return: \ud800", "parse error"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "message"), SOURCES.values(), ids=SOURCES)
def test_a_source_without_measure_is_refused(source: str, message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        compile_source(source)


def long_text(expression: str) -> str:
    """The length of what an expression gives of `s`, some 20,000 letters and quotes."""
    return (
        '- i:\n    assign: [{s: \'a"a"a"a"a"a"a"a"a"a"\'}]\n'
        "- l:\n    for: {value: v, range: [1, 10], steps: [{d: {assign: [{s: '${s + s}'}]}}]}\n"
        f"- o:\n    return: {json.dumps(f'${{len({expression})}}')}\n"
    )


PROGRAMS = {
    "endless steps": ("- a:\n    next: a\n", "ResourceLimitError"),
    "endless loops": (
        "- a:\n    for:\n      value: v\n      range: [1, 9000000000000000000]\n      steps:\n        - b:\n"
        "            next: continue\n",
        "ResourceLimitError",
    ),
    "endless recursion": (
        "main:\n  steps:\n    - a:\n        return: ${f()}\nf:\n  steps:\n    - b:\n        return: ${[f()]}\n",
        "RecursionError",
    ),
    "a value that contains itself many times": (
        "- i:\n    assign: [{l: [1]}]\n- f:\n    for:\n      value: v\n      range: [1, 60]\n      steps:\n"
        "        - a:\n            assign: [{l: ['${l}', '${l}']}]\n",
        "MemoryLimitExceededError",
    ),
    "text that multiplies by replacing": (long_text('text.replace_all(s, "a", s)'), "MemoryLimitExceededError"),
    "text between each two characters": (long_text('text.replace_all(s, "", s)'), "MemoryLimitExceededError"),
    "text that multiplies by a pattern": (long_text('text.replace_all_regex(s, "a", s)'), "MemoryLimitExceededError"),
    "text that indents": (
        long_text('json.encode([1, [2, [3, [4, [5, [6, [7, [8, [9]]]]]]]]], {"prefix": s, "indent": s})'),
        "MemoryLimitExceededError",
    ),
    "text that is quoted again and again": (
        long_text("json.encode_to_string(" * 8 + "json.encode_to_string(s)" + ")" * 8),
        "MemoryLimitExceededError",
    ),
    "bytes that are quoted again and again": (
        long_text("text.decode(json.encode(" * 8 + "text.decode(json.encode(s))" + "))" * 8),
        "MemoryLimitExceededError",
    ),
    "text that is four times as long": (
        long_text("text.decode(text.encode(" * 4 + "s" + ', "UTF-32"), "ISO-8859-1")' * 4),
        "MemoryLimitExceededError",
    ),
    "an integer overflow": ("- a:\n    return: ${9223372036854775807 + 1}\n", "ValueError"),
    "a division by zero": ("- a:\n    return: ${1 // 0}\n", "ZeroDivisionError"),
}


@pytest.mark.parametrize(("source", "tag"), PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_without_measure_fails_and_the_engine_serves_on(source: str, tag: str) -> None:
    async def scenario(cloud: Cloud) -> Any:
        waiting = cloud.workflows.create_execution(cloud.deploy("- out:\n    return: 1\n", name="other"))
        payload = await cloud.error(source)
        assert (await cloud.finished(waiting.name)).result == "1"
        return payload

    assert tag in on_cloud(scenario)["tags"]


def test_a_busy_execution_lets_others_run() -> None:
    async def scenario(cloud: Cloud) -> None:
        busy = cloud.workflows.create_execution(cloud.deploy("- a:\n    next: a\n"))
        quick = cloud.workflows.create_execution(cloud.deploy("- out:\n    return: 1\n", name="other"))
        await cloud.workflows.finished(quick.name)
        assert cloud.workflows.get(busy.name).state == "ACTIVE"
        await cloud.finished(busy.name)

    on_cloud(scenario)


def test_a_sleep_of_30_days_takes_30_days_of_virtual_time() -> None:
    async def scenario(cloud: Cloud) -> float:
        execution = await cloud.run("- nap:\n    call: sys.sleep\n    args: {seconds: 2592000}\n")
        assert execution.end_time is not None
        return execution.end_time - execution.create_time

    assert on_cloud(scenario) == pytest.approx(2_592_000, abs=1e-3)


RETRIES = {
    "http.default_retry": ("${http.default_retry}", [1, 1.25, 1.5625, 1.953125, 2.44140625]),
    "a cap": (
        {"predicate": "${retry.always}", "max_retries": 4,
         "backoff": {"initial_delay": 2, "max_delay": 10, "multiplier": 3}},
        [2, 6, 10, 10],
    ),
    "a first delay beyond the cap": (
        {"predicate": "${retry.always}", "max_retries": 2,
         "backoff": {"initial_delay": 9, "max_delay": 5, "multiplier": 2}},
        [5, 5],
    ),
    "a multiplier below one": (
        {"predicate": "${retry.always}", "max_retries": 3,
         "backoff": {"initial_delay": 4, "max_delay": 60, "multiplier": 0.5}},
        [4, 2, 1],
    ),
    "expressions": (
        {"predicate": "${retry.always}", "max_retries": "${1 + 1}",
         "backoff": {"initial_delay": "${0.5 * 2}", "max_delay": 60, "multiplier": 2}},
        [1, 2],
    ),
    "retry.default_backoff": (
        {"predicate": "${retry.always}", "max_retries": 2, "backoff": "${retry.default_backoff}"}, [1, 1.25],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("policy", "delays"), RETRIES.values(), ids=RETRIES)
def test_attempts_follow_each_other_after_the_documented_delays(policy: Any, delays: list[float]) -> None:
    steps = [
        {"init": {"assign": [{"times": []}]}},
        {
            "t": {
                "try": {
                    "steps": [
                        {"note": {"assign": [{"times": "${list.concat(times, sys.now())}"}]}},
                        {"fail": {"raise": {"code": 503, "tags": ["HttpError"]}}},
                    ]
                },
                "retry": policy,
                "except": {"as": "e", "steps": [{"out": {"return": "${times}"}}]},
            }
        },
    ]

    times = on_cloud(lambda cloud: cloud.result(json.dumps(steps)))

    waited = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert waited == pytest.approx(delays, abs=1e-4)


def test_500_is_never_retried_by_default() -> None:
    source = """
- t:
    try:
      raise: {code: 500, tags: [HttpError]}
    retry: ${http.default_retry}
"""

    async def scenario(cloud: Cloud) -> float:
        execution = await cloud.run(source)
        assert execution.end_time is not None
        return execution.end_time - execution.create_time

    assert on_cloud(scenario) == 0


def test_memory_is_counted_as_documented() -> None:
    # The sizes of https://cloud.google.com/workflows/docs/reference/syntax/variables#memory_usage
    memory = Memory()
    text = "This is a string of 28 bytes"

    memory.hold(text)
    memory.hold(text)
    assert memory.used == 72
    shared = [1, {"k": 2.5}, None]
    memory.hold(shared)
    memory.hold(shared)
    assert memory.used == 72 + 2 * (8 + 8 + (8 + (8 + 1) + 8) + 8)
    for value in (text, text, shared, shared):
        memory.drop(value)
    assert memory.used == 0


def test_memory_that_is_refused_is_not_counted() -> None:
    memory, big = Memory(), ["x" * 1000] * 400
    memory.hold(1)

    with pytest.raises(Exception, match="ResourceLimitError"):
        memory.exchange(1, [big, big])
    memory.exchange(1, big)

    assert 400_000 < memory.used < MAX_MEMORY_BYTES
    memory.drop(big)
    assert memory.used == 0


def test_every_choice_is_made_somewhere() -> None:
    package = Path(choices.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    decided = [name for name, value in vars(choices).items() if getattr(value, "__module__", "") == choices.__name__]

    assert decided
    assert [name for name in decided if f"choices.{name}" not in text] == []
