"""Which sources are refused at deployment, and with which words?"""

from __future__ import annotations

import json
import textwrap

import pytest

from localcloud.workflows.compiler import compile_source
from localcloud.workflows.errors import DeploymentError


def source(steps: str) -> str:
    """A workflow of these steps."""
    return "main:\n  params: [args]\n  steps:\n" + textwrap.indent(textwrap.dedent(steps).strip("\n"), "    ") + "\n"


def many(count: int, line: str) -> str:
    return "\n".join(line.replace("#", str(number)) for number in range(count))


REFUSED = {
    "undefined variable": (
        "- step2:\n    return: ${varC + 1}",
        "failed to build: error in step step2: error evaluating return value: "
        "symbol 'varC' is neither a variable nor a sub-workflow name",
    ),
    "undefined step": ("- a:\n    next: nowhere", "next step 'nowhere' is not defined"),
    "break outside a loop": ("- a:\n    next: break", "'break' is only allowed in a for loop"),
    "step name twice": ("- a:\n    return: 1\n- a:\n    return: 2", "step name 'a' is used more than once"),
    "nested step name twice": (
        "- a:\n    steps:\n      - b:\n          return: 1\n- b:\n    return: 2",
        "step name 'b' is used more than once",
    ),
    "two actions in a step": ("- a:\n    assign: [{x: 1}]\n    return: 1", "expected exactly one of"),
    "unknown field": ("- a:\n    return: 1\n    retrun: 2", "unexpected field 'retrun'"),
    "empty step": ("- a: {}", "expected exactly one of"),
    "unknown function": ("- a:\n    call: http.fetch", "symbol 'http.fetch' is neither a function"),
    "unknown connector": (
        "- a:\n    call: googleapis.sql.v1.instances.get",
        "symbol 'googleapis.sql.v1.instances.get'",
    ),
    "unknown argument": ("- a:\n    call: http.get\n    args: {uri: u}", "unexpected argument 'uri' for http.get"),
    "missing argument": ("- a:\n    call: http.get", "missing argument 'url' for http.get"),
    "missing connector argument": (
        "- a:\n    call: googleapis.storage.v1.objects.get\n    args: {bucket: b}",
        "missing argument 'object'",
    ),
    "blocking function in an expression": ("- a:\n    return: ${sys.sleep(1)}", "blocks"),
    "loop variable outside": (
        "- l:\n    for:\n      value: v\n      in: [1]\n      steps:\n        - a:\n            assign: [{x: 1}]\n"
        "- out:\n    return: ${v}",
        "symbol 'v'",
    ),
    "variable of except outside": (
        "- t:\n    try:\n      raise: x\n    except:\n      as: e\n      steps:\n        - h:\n"
        "            assign: [{y: 1}]\n"
        "- out:\n    return: ${y}",
        "symbol 'y'",
    ),
    "same loop variable nested": (
        "- l:\n    for:\n      value: v\n      in: [1]\n      steps:\n        - m:\n            for:\n"
        "              value: v\n"
        "              in: [2]\n              steps:\n                - a:\n                    next: continue",
        "loop variable 'v' is already that of an enclosing loop",
    ),
    "for in try without steps": (
        "- t:\n    try:\n      for:\n        value: v\n        in: [1]\n        steps:\n          - a:\n"
        "              next: continue",
        "loop step name should not be empty",
    ),
    "in and range": (
        "- l:\n    for:\n      value: v\n      in: [1]\n      range: [1, 2]\n      steps:\n        - a:\n"
        "            next: continue",
        "exactly one of in and range",
    ),
    "51 assignments": ("- a:\n    assign:\n" + many(51, "      - x#: #"), "51 assignments; 1 to 50 are allowed"),
    "no assignments": ("- a:\n    assign: []", "0 assignments"),
    "11 branches": (
        "- p:\n    parallel:\n      branches:\n" + many(11, "        - b#:\n            steps:\n"
        "              - s#:\n                  next: s#"),
        "parallel has 11 branches; 2 to 10 are allowed",
    ),
    "one branch": (
        "- p:\n    parallel:\n      branches:\n        - b:\n            steps:\n              - s:\n"
        "                  assign: [{x: 1}]",
        "parallel has 1 branches",
    ),
    "return in a branch": (
        "- p:\n    parallel:\n      for:\n        value: v\n        in: [1]\n        steps:\n          - r:\n"
        "              return: 1",
        "return is not allowed in a parallel branch",
    ),
    "jump out of a branch": (
        "- p:\n    parallel:\n      for:\n        value: v\n        in: [1]\n        steps:\n          - r:\n"
        "              next: out\n"
        "- out:\n    return: 1",
        "next step 'out' is not defined",
    ),
    "break in parallel for": (
        "- p:\n    parallel:\n      for:\n        value: v\n        in: [1]\n        steps:\n          - r:\n"
        "              next: break",
        "'break' is only allowed in a for loop",
    ),
    "unshared variable in a nested parallel step": (
        "- i:\n    assign: [{n: 0}]\n- p:\n    parallel:\n      shared: [n]\n      for:\n        value: v\n"
        "        in: [1]\n        steps:\n"
        "          - q:\n              parallel:\n                for:\n                  value: w\n"
        "                  in: [1]\n"
        "                  steps:\n                    - a:\n                        assign: [{n: 1}]",
        "variable 'n' is assigned in a parallel branch",
    ),
    "result into an unshared variable": (
        "- i:\n    assign: [{n: 0}]\n- p:\n    parallel:\n      for:\n        value: v\n        in: [1]\n"
        "        steps:\n"
        "          - c:\n              call: http.get\n              args: {url: u}\n              result: n",
        "variable 'n' is assigned in a parallel branch",
    ),
    "undefined shared variable": (
        "- p:\n    parallel:\n      shared: [n]\n      for:\n        value: v\n        in: [1]\n"
        "        steps:\n          - a:\n"
        "              assign: [{m: 1}]",
        "shared variable 'n' is not defined",
    ),
    "exception policy": (
        "- p:\n    parallel:\n      exception_policy: abort\n      for:\n        value: v\n        in: [1]\n"
        "        steps:\n          - a:\n"
        "              assign: [{m: 1}]",
        "exception_policy must be continueAll",
    ),
    "mixed case operator": ("- a:\n    return: ${true And false}", "unexpected 'And'"),
    "assignment to a literal": ("- a:\n    assign: [{'1': 2}]", "cannot assign to '1'"),
    "duplicate key": ("- a:\n    return: {x: 1, x: 2}", "has the key 'x' twice"),
    "yaml error": ("- a: [", "parse error"),
    "integer too large": ("- a:\n    return: 9223372036854775808", "does not fit in 64 bits"),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "message"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_step_is_refused(steps: str, message: str) -> None:
    with pytest.raises(DeploymentError) as refused:
        compile_source(source(steps))

    assert message in str(refused.value)
    assert str(refused.value).startswith("failed to build: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "empty", id="nothing"),
        pytest.param("just text", "must be a map", id="a scalar"),
        pytest.param("sub:\n  steps:\n    - a:\n        return: 1\n", "no main", id="no main"),
        pytest.param("main:\n  params: [a, b]\n  steps:\n    - a:\n        return: 1\n", "at most 1", id="two params"),
        pytest.param("main:\n  params: [a]\n", "has no steps", id="no steps"),
        pytest.param("main:\n  steps: []\n", "has no steps", id="empty steps"),
        pytest.param("- a:\n    return: '" + "x" * 131_072 + "'", "larger than 131072 bytes", id="over 128 KB"),
        pytest.param("a: &a [*a]", "names nothing that stands before it", id="alias of itself"),
        pytest.param("[" * 5000 + "]" * 5000, "nested too deeply", id="deep nesting"),
        pytest.param(
            "- a:\n    call: sub\nsub: 1", "parse error", id="list and map mixed"
        ),
        pytest.param(
            "main:\n  steps:\n    - a:\n        call: sub\n        args: {x: 1}\nsub:\n  params: [y]\n"
            "  steps:\n    - b:\n        return: 1\n",
            "unexpected argument 'x' for subworkflow sub",
            id="wrong argument of a subworkflow",
        ),
        pytest.param(
            "main:\n  steps:\n    - a:\n        return: ${sub()}\nsub:\n  params: [y]\n  steps:\n    - b:\n"
            "        return: 1\n",
            "missing argument 'y' for subworkflow sub",
            id="missing positional argument",
        ),
    ],
)  # fmt: skip
def test_a_wrong_source_is_refused(text: str, message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        compile_source(text)


def test_json_with_tabs_and_escapes_is_yaml_enough() -> None:
    text = json.dumps([{"a": {"return": "\U0001f600 \t ${1"}}], indent="\t")

    assert compile_source(text).main.body.steps[0].name == "a"


def test_a_position_is_that_of_the_step() -> None:
    step = compile_source(source("- a:\n    assign: [{x: 1}]\n- longer:\n    return: 1")).main.body.steps[1]

    assert (step.position.line, step.position.column, step.position.length) == (6, 7, 6)
