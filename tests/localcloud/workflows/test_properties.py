"""What holds for every expression, every source and every program?

`ZEROIDLE_WORKFLOWS_EXAMPLES` sets how many examples each property tries (30; nightly more).
"""

from __future__ import annotations

import json
import os
import random
from typing import Any, cast

import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from localcloud.workflows import values
from localcloud.workflows.compiler import compile_source
from localcloud.workflows.errors import DeploymentError, WorkflowError
from localcloud.workflows.parser import MAX_EXPRESSION, ExpressionError, parse
from localcloud.workflows.syntax import (
    Binary,
    Call,
    Expression,
    Index,
    ListOf,
    Literal,
    MapOf,
    Member,
    Name,
    Unary,
    unparse,
)
from localcloud.workflows.thread import Call as RoutineCall
from localcloud.workflows.thread import Frame, Thread
from tests.localcloud.workflows.test_conformance import CASES
from tests.localcloud.workflows.test_expressions import compiled
from tests.localcloud.workflows.workflows_cloud import Cloud, on_cloud

EXAMPLES = int(os.environ.get("ZEROIDLE_WORKFLOWS_EXAMPLES", "30"))
DOCUMENTED_TAGS = {
    "AuthError", "ConnectionError", "ConnectionFailedError", "HttpError", "IndexError", "KeyError", "OperationError",
    "ParallelNestingError", "RecursionError", "ResourceLimitError", "ResponseTypeError", "SystemError", "TimeoutError",
    "TypeError", "UnhandledBranchError", "ValueError", "ZeroDivisionError",
}  # fmt: skip
thorough = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

WORDS = {"and", "AND", "or", "OR", "not", "NOT", "in", "true", "True", "TRUE", "false", "False", "FALSE", "null"}
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True).filter(lambda name: name not in WORDS)
literals = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(values.INT_MIN, values.INT_MAX),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
).map(Literal)
BINARY = ("or", "and", "<", ">", "<=", ">=", "==", "!=", "in", "+", "-", "*", "/", "//", "%")


def _operations(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.one_of(
        st.builds(Member, inner, names),
        st.builds(Index, inner, inner),
        st.builds(Unary, st.sampled_from(("not", "-")), inner),
        st.builds(Binary, st.sampled_from(BINARY), inner, inner),
        st.lists(inner, max_size=3).map(lambda items: ListOf(tuple(items))),
        st.lists(st.tuples(inner, inner), max_size=2).map(lambda entries: MapOf(tuple(entries))),
    )


expressions = st.recursive(
    st.one_of(literals, names.map(Name)),
    lambda inner: st.one_of(
        _operations(inner),
        st.builds(Call, st.lists(names, min_size=1, max_size=3).map(".".join), st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=12,
)


@thorough
@given(expressions)
def test_an_expression_that_is_written_down_reads_the_same(tree: Expression) -> None:
    text = unparse(tree)
    assume(len(text) <= MAX_EXPRESSION)

    assert parse(text) == tree
    assert unparse(parse(text)) == text


# Of expressions over these variables, and functions of the standard library that don't look at an execution.
VARIABLES: dict[str, Any] = {
    "n": 3, "d": 2.5, "s": "text", "b": True, "z": None, "l": [1, "a", [2]], "m": {"k": 1, "l": [5]}, "y": b"raw",
    "big": values.INT_MAX,
}  # fmt: skip
FUNCTIONS = (
    "len", "keys", "int", "double", "string", "default", "if", "get_type", "base64.encode", "base64.decode",
    "hash.compute_checksum", "json.decode", "json.encode", "json.encode_to_string", "list.concat", "list.prepend",
    "map.get", "map.delete", "map.merge", "map.merge_nested", "math.abs", "math.floor", "math.max", "math.min",
    "text.decode", "text.encode", "text.find_all", "text.find_all_regex", "text.match_regex", "text.replace_all",
    "text.replace_all_regex", "text.split", "text.substring", "text.to_lower", "text.url_decode", "text.url_encode",
    "time.format", "time.parse", "retry.always", "http.default_retry_predicate",
)  # fmt: skip
known = st.recursive(
    st.one_of(literals, st.sampled_from(sorted(VARIABLES)).map(Name)),
    lambda inner: st.one_of(
        _operations(inner),
        st.builds(Call, st.sampled_from(FUNCTIONS), st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@thorough
@given(known)
def test_evaluation_raises_nothing_but_documented_errors(tree: Expression) -> None:
    try:
        now = compiled(unparse(tree), list(VARIABLES)).now
    except (DeploymentError, ExpressionError):
        return
    assert now is not None
    frame = Frame(cast(Thread, None), RoutineCall("main"))
    frame.values.update(VARIABLES)
    try:
        values.type_name(now(frame))
    except WorkflowError as error:
        assert error.value["tags"][0] in DOCUMENTED_TAGS  # noqa: PT017  # either is right
        json.dumps(error.value)


@thorough
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(raw: bytes) -> None:
    try:
        compile_source(raw.decode("utf-8", "surrogateescape"))
    except DeploymentError as refused:
        assert str(refused).startswith("failed to build: ")  # noqa: PT017
    else:
        raise AssertionError(raw)


TYPED = ("", "", "\n", "  ", ":", "- ", "${", "}", "[", "&a ", "*a", '"', "x")


@thorough
@given(st.sampled_from(CASES), st.randoms(use_true_random=False))
def test_a_workflow_with_typing_errors_is_deployed_or_refused(case: dict[str, Any], chance: random.Random) -> None:
    text = case["yaml"]
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text))
        cut = chance.randint(0, 6)
        text = (
            text[:at]
            + chance.choice(("", "", "\n", "  ", ":", "- ", "${", "}", "[", "&a ", "*a", '"', "x"))
            + text[at + cut :]
        )
    try:
        compile_source(text)
    except DeploymentError as refused:
        assert str(refused).startswith("failed to build: ")  # noqa: PT017


# Programs of all kinds of steps; whatever they do, they do it again.
def _program(chance: random.Random) -> list[Any]:
    counter = iter(range(1000))

    def steps(depth: int, in_branch: bool) -> list[Any]:
        return [{f"s{next(counter)}": step(depth, in_branch)} for _ in range(chance.randint(1, 3))]

    def step(depth: int, in_branch: bool) -> Any:
        kinds = ["add", "log", "sleep", "bad", "now"]
        if depth:
            kinds += ["for", "try", "switch", "nested"] + ([] if in_branch else ["parallel", "branches"])
        kind = chance.choice(kinds)
        match kind:
            case "add":
                return {"assign": [{"seen": f"${{list.concat(seen, {chance.randint(0, 9)})}}"}]}
            case "log":
                return {"call": "sys.log", "args": {"data": "${seen}"}}
            case "sleep":
                return {"call": "sys.sleep", "args": {"seconds": chance.choice((0, 1, 1.5, 3, 86400))}}
            case "now":
                return {"assign": [{"seen": "${list.concat(seen, sys.now())}"}]}
            case "bad":
                return {"assign": [{"seen": "${seen[99]}"}]} if chance.random() < 0.3 else {"raise": {"code": 503}}
            case "for":
                body = [
                    *steps(depth - 1, in_branch),
                    {f"x{next(counter)}": {"next": chance.choice(("continue", "break"))}},
                ]
                return {"for": {"value": f"v{next(counter)}", "range": [1, chance.randint(0, 3)], "steps": body}}
            case "try":
                handler = {"as": "e", "steps": steps(depth - 1, in_branch)}
                tried: dict[str, Any] = {"try": {"steps": steps(depth - 1, in_branch)}, "except": handler}
                return {**tried, "retry": "${http.default_retry}"} if chance.random() < 0.5 else tried
            case "switch":
                condition = f"${{len(seen) % 2 == {chance.randint(0, 1)}}}"
                return {"switch": [{"condition": condition, "steps": steps(depth - 1, in_branch)}]}
            case "parallel":
                loop = {"value": f"v{next(counter)}", "in": [1, 2, 3], "steps": steps(depth - 1, True)}
                return {"parallel": {"shared": ["seen"], "concurrency_limit": chance.randint(1, 3), "for": loop}}
            case "branches":
                branches = [{f"b{next(counter)}": {"steps": steps(depth - 1, True)}} for _ in range(2)]
                return {"parallel": {"shared": ["seen"], "branches": branches}}
            case _:
                return {"steps": steps(depth - 1, in_branch)}

    return [{"init": {"assign": [{"seen": []}]}}, *steps(3, False), {"out": {"return": "${seen}"}}]


@settings(parent=thorough, max_examples=max(1, EXAMPLES // 2))
@given(st.randoms(use_true_random=False))
def test_an_execution_does_the_same_again(chance: random.Random) -> None:
    source = yaml.safe_dump(_program(chance), sort_keys=False)

    async def scenario(cloud: Cloud) -> Any:
        execution = await cloud.run(source)
        assert execution.end_time is not None
        return execution.state, execution.result, execution.error, execution.end_time - execution.create_time

    first = on_cloud(scenario)

    assert "SystemError" not in str(first)
    assert on_cloud(scenario) == first
