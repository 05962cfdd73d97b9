"""From the environment and bundle.yaml to what the handlers work with."""

from __future__ import annotations

from pathlib import Path

import pytest

from zeroidle import bundle, wiring
from zeroidle.contracts.services import ModelRef
from zeroidle.errors import PermanentError
from zeroidle.settings import Settings

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"GOOGLE_CLOUD_PROJECT": "proj", "ZEROIDLE_REGION": "us-central1"}


@pytest.mark.parametrize("missing", ENVIRONMENT)
def test_a_variable_that_is_not_set_is_named(missing: str) -> None:
    with pytest.raises(PermanentError, match=missing):
        Settings.from_env({**ENVIRONMENT, missing: ""})


def test_the_bundle_is_found_beside_the_code() -> None:
    assert Settings.from_env(ENVIRONMENT, roots=(ROOT / "functions", ROOT)).bundle == ROOT / "bundle.yaml"


def test_the_bundle_may_be_named(tmp_path: Path) -> None:
    settings = Settings.from_env({**ENVIRONMENT, "ZEROIDLE_BUNDLE": str(tmp_path / "other.yaml")})

    assert settings.bundle == tmp_path / "other.yaml"


def test_local_differs_from_the_cloud_by_addresses_alone() -> None:
    assert Settings.from_env(ENVIRONMENT).workflows_address is None
    assert Settings.from_env({**ENVIRONMENT, "WORKFLOWS_EMULATOR_HOST": "h:1"}).workflows_address == "h:1"


def test_the_decisions_know_what_the_bundle_says() -> None:
    deployed = bundle.load(ROOT / "bundle.yaml")

    found = wiring.deployment(deployed, Settings.from_env(ENVIRONMENT))

    assert found.jobs_bucket == "proj-zeroidle-jobs"
    assert found.heartbeats_topic == "projects/proj/topics/jobs-heartbeats"
    workflow = "projects/proj/locations/us-central1/workflows/zeroidle-pipeline"
    assert found.workflows == {"pipeline": workflow}
    assert found.default_model == ModelRef(name=deployed.default_model)
    assert found.limits.max_runtime_s == deployed.limits.max_runtime_s
    assert found.usd_per_second["inference"] == deployed.usd_per_second("gpu-inference")


def test_every_stage_of_the_pipeline_has_a_price() -> None:
    """The names of the stages are those that the workflow reports."""
    text = (ROOT / "workflows" / "pipeline.yaml").read_text()
    deployed = wiring.deployment(bundle.load(ROOT / "bundle.yaml"), Settings.from_env(ENVIRONMENT))

    assert set(deployed.usd_per_second) == set(wiring.STAGE_SERVICES)
    for stage in wiring.STAGE_SERVICES:
        assert f"name: {stage}\n" in text


def test_buckets_and_topics_that_the_code_names_are_in_the_bundle() -> None:
    deployed = bundle.load(ROOT / "bundle.yaml")

    assert {"input", "work", "output", "jobs"} <= set(deployed.buckets)
    assert {"jobs-heartbeats", "jobs-meta"} <= set(deployed.topics)
    assert wiring.PIPELINE in deployed.workflows
