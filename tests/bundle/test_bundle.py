"""The description of what is deployed is valid, and a mistake in it is named."""

from pathlib import Path

import pytest

from zeroidle import bundle
from zeroidle.errors import PermanentError

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / bundle.FILE_NAME).read_text(encoding="utf-8")


def test_the_bundle_of_this_repository_is_valid() -> None:
    deployed = bundle.load(ROOT / bundle.FILE_NAME)

    assert deployed.services["gpu-inference"].gpu == "nvidia-l4"
    assert deployed.functions["on_upload"].trigger.bucket == "input"


def test_every_source_named_exists() -> None:
    deployed = bundle.parse(TEXT)

    for spec in [*deployed.services.values(), *deployed.workflows.values()]:
        assert (ROOT / spec.source).exists(), spec.source


def test_an_instance_costs_its_cpu_memory_and_gpu() -> None:
    deployed = bundle.parse(TEXT)

    assert deployed.usd_per_second("preprocess") == pytest.approx(2 * 0.000018 + 2 * 0.000002)
    assert deployed.usd_per_second("gpu-inference") == pytest.approx(4 * 0.000018 + 16 * 0.000002 + 0.0001867)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param("schema: 1", "schema: 2", "field schema", id="version"),
        pytest.param("default_model:", "default_modell:", "unknown field `default_modell`", id="misspelt"),
        pytest.param("bucket: input", "bucket: inputs", "no bucket 'inputs'", id="bucket"),
        pytest.param("topic: jobs-start", "topic: jobs-begin", "no topic 'jobs-begin'", id="topic"),
        pytest.param("trigger: { bucket: input }", "trigger: {}", "either a bucket or a topic", id="no trigger"),
        pytest.param("PREPROCESS_URL: preprocess", "PREPROCESS_URL: pre", "no service 'pre'", id="service"),
        pytest.param("gpu: nvidia-l4", "gpu: nvidia-b9", "'nvidia-b9' has no price", id="price"),
        pytest.param("parallel_shards: 8", "parallel_shards: 80", "parallel_shards", id="bound"),
        pytest.param("services:", "services: [", "not YAML", id="syntax"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, told: str) -> None:
    with pytest.raises(PermanentError) as caught:
        bundle.parse(TEXT.replace(old, new, 1))

    assert told in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"cannot read .*bundle\.yaml"):
        bundle.load(tmp_path / "bundle.yaml")


def test_the_schema_of_the_file_is_current() -> None:
    """`python -m zeroidle.bundle > docs/schemas/bundle.schema.json` writes it."""
    assert (ROOT / "docs" / "schemas" / "bundle.schema.json").read_bytes() == bundle.json_schema()
