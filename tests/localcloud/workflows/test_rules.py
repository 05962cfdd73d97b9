"""Does the engine keep each rule of the language? One test for each entry of `rules.yaml`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcloud.workflows.errors import DeploymentError
from tests.localcloud.workflows.workflows_cloud import on_cloud

RULES = yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text(encoding="utf-8"))


def rules(kind: str) -> Any:
    found = [rule for rule in RULES if kind in rule]
    return pytest.mark.parametrize("rule", found, ids=[rule["rule"] for rule in found])


@rules("result")
def test_a_program_gives_what_the_rule_says(rule: dict[str, Any]) -> None:
    assert on_cloud(lambda cloud: cloud.result(rule["source"], rule.get("argument"))) == rule["result"]


@rules("tags")
def test_a_program_fails_as_the_rule_says(rule: dict[str, Any]) -> None:
    payload = on_cloud(lambda cloud: cloud.error(rule["source"], rule.get("argument")))

    assert set(rule["tags"]) <= set(payload["tags"])
    assert rule.get("words", "") in json.dumps(payload)


@rules("refused")
def test_a_source_is_refused_as_the_rule_says(rule: dict[str, Any]) -> None:
    async def deploy(cloud: Any) -> None:
        cloud.deploy(rule["source"])

    with pytest.raises(DeploymentError) as refused:
        on_cloud(deploy)

    assert rule["refused"] in refused.value.message
    if place := rule.get("at"):
        routine, _, step = place.partition(":")[0].rpartition("/")
        position = refused.value.position
        assert position is not None
        assert (refused.value.routine, refused.value.step or "") == (routine or "main", step)
        assert [position.line, position.column] == [int(each) for each in place.split(":")[1:]]


def test_every_rule_is_tested_once() -> None:
    assert all(sum(kind in rule for kind in ("result", "tags", "refused")) == 1 for rule in RULES)
    assert len({rule["rule"] for rule in RULES}) == len(RULES)
