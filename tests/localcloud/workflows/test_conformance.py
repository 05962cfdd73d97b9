"""Does the engine do what Google's documentation says? One test for each case of `conformance.jsonl`.

`ZEROIDLE_CONFORMANCE` names another file of cases.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from localcloud.workflows.errors import DeploymentError
from localcloud.workflows.state import WorkflowSpec
from tests.localcloud.workflows.stub_server import stub_server
from tests.localcloud.workflows.workflows_cloud import Cloud, running_cloud

CASES = [
    json.loads(line)
    for line in Path(os.environ.get("ZEROIDLE_CONFORMANCE", Path(__file__).with_name("conformance.jsonl")))
    .read_text()
    .splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_engine_conforms_to_the_documentation(case: dict[str, Any]) -> None:
    asyncio.run(_check(case))


async def _check(case: dict[str, Any]) -> None:
    async with running_cloud() as cloud, stub_server(case.get("stub", []), cloud) as url:
        source = case["yaml"].replace("__STUB__", url)
        expected_error = case["expect"].get("error")
        refusal = _refusal(cloud, source)
        if refusal is not None:
            assert expected_error, refusal
            assert expected_error.get("deploy") in (True, "either"), refusal
            assert expected_error["message_contains"] in refusal
            return
        assert not expected_error or expected_error.get("deploy") is not True, "deployed"

        started = cloud.clock.time()
        execution = await cloud.run(source, case["args"])

        assert cloud.clock.time() - started >= case.get("min_seconds", 0)
        if expected_error:
            assert execution.state == "FAILED", execution.result
            assert execution.error is not None
            payload = json.loads(execution.error.payload)
            assert expected_error["message_contains"] in json.dumps(payload, ensure_ascii=False)
            assert set(expected_error["tags"]) <= set(payload["tags"] if expected_error["tags"] else [])
        else:
            assert execution.state == "SUCCEEDED", execution.error
            assert _same(json.loads(execution.result or "null"), case["expect"].get("result"))


def _refusal(cloud: Cloud, source: str) -> str | None:
    try:
        cloud.workflows.deploy(WorkflowSpec("flow", source))
    except DeploymentError as error:
        return str(error)
    return None


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: numbers by value, booleans strictly."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)
