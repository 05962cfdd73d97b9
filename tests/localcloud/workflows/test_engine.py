"""What do steps do beyond the documented cases? Scopes, jumps, retries, parallel branches, limits."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.localcloud.workflows.workflows_cloud import Cloud, error_of, on_cloud, result_of, steps

RESULTS = {
    "loop variables are gone after the loop and the outer ones changed": (
        """
        - init:
            assign: [{n: 0}]
        - loop:
            for:
              value: v
              index: i
              in: [5, 6]
              steps:
                - add:
                    assign:
                      - own: ${v * 10}
                      - n: ${n + own + i}
        - again:
            for:
              value: v
              range: [2, 1]
              steps:
                - add2:
                    assign: [{n: -1}]
        - out:
            return: ${n}
        """,
        111,
    ),
    "a range of doubles steps by one": (
        """
        - init:
            assign: [{l: []}]
        - loop:
            for:
              value: v
              range: [-1.5, 0.8]
              steps:
                - add:
                    assign: [{l: '${list.concat(l, v)}'}]
        - out:
            return: ${l}
        """,
        [-1.5, -0.5, 0.5],
    ),
    "a switch entry assigns and jumps": (
        """
        - init:
            assign: [{x: 1}]
        - s:
            switch:
              - condition: ${x == 1}
                assign: [{x: 2}]
                next: out
            next: never
        - never:
            assign: [{x: 3}]
        - out:
            return: ${x}
        """,
        2,
    ),
    "a jump leaves nested steps": (
        """
        - outer:
            steps:
              - a:
                  steps:
                    - b:
                        next: out
        - skipped:
            return: no
        - out:
            return: yes
        """,
        "yes",  # YAML 1.2: not a boolean
    ),
    "break from an except block ends the loop": (
        """
        - init:
            assign: [{n: 0}]
        - loop:
            for:
              value: v
              in: [1, 2, 3]
              steps:
                - t:
                    try:
                      steps:
                        - count:
                            assign: [{n: '${n + 1}'}]
                        - bad:
                            raise: x
                    except:
                      as: e
                      steps:
                        - stop:
                            next: break
        - out:
            return: ${n}
        """,
        1,
    ),
    "a raised string is bound as it is": (
        """
        - t:
            try:
              raise: "plain"
            except:
              as: e
              steps:
                - out:
                    return: ${e}
        """,
        "plain",
    ),
    "values are copied on assignment": (
        """
        - init:
            assign:
              - a: {list: [1, {x: 1}]}
              - b: ${a}
              - a.list[1].x: 2
              - c: [ '${a}', '${a}' ]
              - c[0].list[0]: 9
        - out:
            return: ['${a}', '${b}', '${c[1].list[0]}']
        """,
        [{"list": [1, {"x": 2}]}, {"list": [1, {"x": 1}]}, 1],
    ),
    "keys may be expressions": (
        """
        - init:
            assign:
              - k: key
              - m: {'${k}': 1, '${k + "2"}': 2, plain: 3}
        - out:
            return: ${m}
        """,
        {"key": 1, "key2": 2, "plain": 3},
    ),
    "text around an expression is not interpolated": ("- out:\n    return: hello-${world}", "hello-${world}"),
    "end returns nothing": ("- a:\n    next: end\n- b:\n    return: 1", None),
    "parallel branches accumulate in a shared variable": (
        """
        - init:
            assign: [{n: 0, }]
        - p:
            parallel:
              shared: [n]
              for:
                value: v
                range: [1, 50]
                steps:
                  - nap:
                      call: sys.sleep
                      args: {seconds: '${50 - v}'}
                  - add:
                      assign: [{n: '${n + v}'}]
        - out:
            return: ${n}
        """,
        1275,
    ),
    "a nested parallel step shares on": (
        """
        - init:
            assign: [{l: []}]
        - p:
            parallel:
              shared: [l]
              for:
                value: v
                in: [1, 2]
                steps:
                  - q:
                      parallel:
                        shared: [l]
                        branches:
                          - a:
                              steps:
                                - a1:
                                    assign: [{l: '${list.concat(l, v)}'}]
                          - b:
                              steps:
                                - b1:
                                    assign: [{l: '${list.concat(l, v * 10)}'}]
        - out:
            return: ${len(l)}
        """,
        4,
    ),
    "a loop in a branch may break": (
        """
        - init:
            assign: [{n: 0}]
        - p:
            parallel:
              shared: [n]
              for:
                value: v
                in: [1, 2]
                steps:
                  - l:
                      for:
                        value: w
                        in: [1, 2]
                        steps:
                          - add:
                              assign: [{n: '${n + 1}'}]
                              next: break
        - out:
            return: ${n}
        """,
        2,
    ),
    "an argument that is not given is null": ("- out:\n    return: ${args == null}", True),
    "the environment names the execution": (
        '- out:\n    return: ${sys.get_env("GOOGLE_CLOUD_PROJECT_ID") + sys.get_env("GOOGLE_CLOUD_WORKFLOW_ID")}',
        "demoflow",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), RESULTS.values(), ids=RESULTS)
def test_a_workflow_gives_its_result(text: str, expected: Any) -> None:
    assert result_of(text.replace("[{n: 0, }]", "[{n: 0}]")) == expected


ERRORS = {
    "a variable read before its assignment": (
        "- a:\n    switch:\n      - condition: ${args == 1}\n        assign: [{x: 1}]\n- b:\n    return: ${x}",
        "KeyError",
    ),
    "a condition that is no boolean": ("- a:\n    switch:\n      - condition: 1\n        return: 1", "TypeError"),
    "a condition that is null": ("- a:\n    switch:\n      - condition: ${args}\n        return: 1", "TypeError"),
    "a loop over a map": (
        "- a:\n    for:\n      value: v\n      in: {a: 1}\n      steps:\n        - b:\n            next: continue",
        "TypeError",
    ),
    "an index beyond the list": ("- a:\n    assign:\n      - l: [1]\n      - l[1]: 2", "IndexError"),
    "a missing map on the path": ("- a:\n    assign:\n      - m: {}\n      - m.a.b: 2", "KeyError"),
    "an element of a number": ("- a:\n    assign:\n      - m: 1\n      - m.a: 2", "TypeError"),
    "a raise of a number": ("- a:\n    raise: 5", "TypeError"),
    "endless steps": ("- a:\n    next: a", "ResourceLimitError"),
    "a string over 256 KB": (
        "- a:\n    assign: [{s: xxxxxxxxxx}]\n- l:\n    for:\n      value: v\n      range: [1, 15]\n      steps:\n"
        "        - b:\n            assign: [{s: '${s + s}'}]",
        "MemoryLimitExceededError",
    ),
    "an unknown environment variable": ('- a:\n    return: ${sys.get_env("NO_SUCH")}', "KeyError"),
    "a negative sleep": ("- a:\n    call: sys.sleep\n    args: {seconds: -1}", "ValueError"),
    "a bad concurrency limit": (
        "- p:\n    parallel:\n      concurrency_limit: ${1 - 1}\n      for:\n        value: v\n        in: [1]\n"
        "        steps:\n          - a:\n"
        "              assign: [{m: 1}]",
        "ValueError",
    ),
    "bytes as the result": ('- a:\n    return: ${text.encode("a")}', "TypeError"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "tag"), ERRORS.values(), ids=ERRORS)
def test_a_workflow_fails_with_its_tag(text: str, tag: str) -> None:
    assert tag in error_of(text)["tags"]


def test_a_retry_waits_the_documented_delays() -> None:
    async def scenario(cloud: Cloud) -> None:
        execution = await cloud.run(
            steps(
                """
                - t:
                    try:
                      raise: {code: 503, tags: [HttpError]}
                    retry: ${http.default_retry}
                """
            )
        )
        assert execution.state == "FAILED"
        assert execution.end_time is not None
        waited = execution.end_time - execution.create_time
        assert waited == pytest.approx(1 + 1.25 + 1.5625 + 1.953125 + 2.44140625, abs=1e-3)

    on_cloud(scenario)


def test_a_subworkflow_in_an_expression_waits_and_short_circuits() -> None:
    sub = """
    slow:
      params: [x, y: 5]
      steps:
        - nap:
            call: sys.sleep
            args: {seconds: 1}
        - out:
            return: ${x + y > 10}
    """
    assert result_of("- out:\n    return: ${[slow(6), not slow(1, 1), false and slow(1), true or slow(1)]}", sub) == [
        True, True, False, True,
    ]  # fmt: skip


def test_the_call_stack_is_bounded() -> None:
    sub = "deep:\n  params: [n]\n  steps:\n    - again:\n        return: ${if(n == 0, 0, 1) + deep(n - 1)}\n"
    assert "RecursionError" in error_of("- out:\n    return: ${deep(1)}", sub)["tags"]


def test_memory_is_given_back_when_a_scope_ends() -> None:
    text = """
    - init:
        assign: [{s: "0123456789"}]
    - grow:
        for:
          value: i
          range: [1, 10]
          steps:
            - double:
                assign: [{s: '${s + s}'}]
    - loop:
        for:
          value: i
          range: [1, 200]
          steps:
            - local:
                assign: [{copy: '${s + s}'}]
    - out:
        return: ${len(s)}
    """
    assert result_of(text) == 10240


def test_sys_log_reaches_the_log_with_its_execution(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="localcloud.workflows.log"):
        result_of("- a:\n    call: sys.log\n    args: {data: {n: 1}, severity: WARNING}")

    (record,) = [each for each in caplog.records if each.name == "localcloud.workflows.log"]
    assert record.levelno == logging.WARNING
    assert record.getMessage() == '{"n":1}'
    assert record.__dict__["workflow"] == "flow"
    assert "/executions/" in record.__dict__["execution"]


def test_sleep_until_waits_for_its_moment() -> None:
    async def scenario(cloud: Cloud) -> None:
        await cloud.run(steps('- a:\n    call: sys.sleep_until\n    args: {time: "2023-11-14T23:13:20Z"}'))
        assert cloud.clock.now().isoformat() == "2023-11-14T23:13:20+00:00"

    on_cloud(scenario)


def test_a_deployment_keeps_its_revision_until_something_changes() -> None:
    async def scenario(cloud: Cloud) -> None:
        source = steps("- out:\n    return: 1")
        name = cloud.deploy(source)
        first = cloud.workflows.workflow(name).revision
        cloud.deploy(source)
        assert cloud.workflows.workflow(name).revision == first
        cloud.deploy(source, env={"A": "b"})
        assert cloud.workflows.workflow(name).revision.startswith("000002-")

    on_cloud(scenario)
