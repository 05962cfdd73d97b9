"""The description of what is deployed is valid, and a mistake in it is named."""

from pathlib import Path

import pytest

from zeroidle import bundle
from zeroidle.contracts.machines import Provisioning
from zeroidle.errors import PermanentError
from zeroidle.wiring import catalog

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


def test_the_clusters_are_those_that_google_sells() -> None:
    machines = bundle.parse(TEXT).machines

    sizes = {"l4": [1, 2, 4, 8], "v100": [1, 4, 8], "a100-40gb": [1, 2, 4, 8], "a100-80gb": [1, 2, 4, 8]}
    sizes |= {"h100": [1, 2, 4, 8], "h200": [8], "b200": [8]}
    assert set(machines.clusters) == {f"{gpus}x{gpu}" for gpu, each in sizes.items() for gpus in each}
    assert {spec.price for spec in machines.clusters.values()} == set(machines.prices)
    assert [name for name, spec in machines.clusters.items() if spec.attached] == ["1xv100", "4xv100", "8xv100"]


A2_REGIONS = {
    "asia-northeast1", "asia-northeast3", "asia-southeast1", "europe-west4", "me-west1", "us-central1", "us-east1",
    "us-west1", "us-west3", "us-west4",
}  # fmt: skip


ULTRA_REGIONS = {"asia-southeast1", "europe-west4", "us-central1", "us-east4", "us-east5"}


@pytest.mark.parametrize(
    ("cluster", "machine_type", "at_most", "regions"),
    [
        ("1xv100", "n1-highmem-8", 8, {"us-central1"}),
        ("4xv100", "n1-highmem-16", 2, {"us-central1"}),
        ("8xv100", "n1-highmem-32", 1, {"us-central1"}),
        ("1xa100-40gb", "a2-highgpu-1g", 16, A2_REGIONS),
        ("2xa100-40gb", "a2-highgpu-2g", 8, A2_REGIONS),
        ("4xa100-40gb", "a2-highgpu-4g", 4, A2_REGIONS),
        ("8xa100-40gb", "a2-highgpu-8g", 2, A2_REGIONS),
        (
            "1xa100-80gb",
            "a2-ultragpu-1g",
            16,
            {"asia-southeast1", "europe-west4", "us-central1", "us-east4", "us-east5"},
        ),
        (
            "8xa100-80gb",
            "a2-ultragpu-8g",
            2,
            {"asia-southeast1", "europe-west4", "us-central1", "us-east4", "us-east5"},
        ),
        ("8xh100", "a3-highgpu-8g", 3, {"europe-west4", "us-east5", "us-west1", "us-west4"}),
    ],
)
def test_the_fleet_of_training_clusters_is_whole(
    cluster: str, machine_type: str, at_most: int, regions: set[str]
) -> None:
    found = catalog(bundle.parse(TEXT)).clusters[cluster]

    assert (found.machine_type, found.max_per_region) == (machine_type, at_most)
    assert regions <= set(found.regions)
    assert all({Provisioning.STANDARD, Provisioning.SPOT} <= set(found.usd_per_hour[region]) for region in regions)


def test_prices_say_where_and_when_they_were_read_and_which_are_derived() -> None:
    machines = bundle.parse(TEXT).machines
    clusters = catalog(bundle.parse(TEXT)).clusters

    assert machines.price_list.read_on == "2026-11-25"
    assert all(Provisioning.FLEX_START in each for each in clusters["1xl4"].derived.values())
    assert Provisioning.STANDARD in clusters["8xh100"].derived["us-west4"]
    assert Provisioning.STANDARD not in clusters["8xh100"].derived["us-east4"]
    assert not any(Provisioning.SPOT in each for one in clusters.values() for each in one.derived.values())


def test_every_machine_costs_less_as_spot_and_no_more_as_flex_start() -> None:
    for name, cluster in catalog(bundle.parse(TEXT)).clusters.items():
        for region, usd in cluster.usd_per_hour.items():
            least = usd[Provisioning.SPOT] / cluster.gpus
            assert 0.2 < least < 13, (name, region)
            for how in set(usd) - {Provisioning.SPOT}:
                assert usd[Provisioning.SPOT] < 0.8 * usd[how], (name, region)
                assert usd[how] <= usd.get(Provisioning.STANDARD, usd[how]), (name, region)


def test_a_machine_is_sold_as_its_cluster_says_at_its_number_of_gpus() -> None:
    clusters = catalog(bundle.parse(TEXT)).clusters

    assert set(clusters["8xh100"].usd_per_hour["us-west4"]) == set(Provisioning)
    assert set(clusters["1xh100"].usd_per_hour["us-west4"]) == {Provisioning.SPOT, Provisioning.FLEX_START}
    assert set(clusters["8xv100"].usd_per_hour["us-central1"]) == {Provisioning.STANDARD, Provisioning.SPOT}
    # https://cloud.google.com/compute/vm-instance-pricing says 29.39 for a2-highgpu-8g
    assert clusters["8xa100-40gb"].usd_per_hour["us-central1"][Provisioning.STANDARD] == pytest.approx(29.39, abs=0.01)


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
