"""What is deployed? `bundle.yaml` as typed values, the same for functions, command line and Terraform."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from zeroidle.contracts import codec
from zeroidle.contracts.codec import Contract
from zeroidle.contracts.machines import ClusterName, Provisioning, RegionName
from zeroidle.contracts.services import Count
from zeroidle.errors import PermanentError, printable

FILE_NAME = "bundle.yaml"

Positive = Annotated[int, Meta(gt=0)]
Usd = Annotated[float, Meta(ge=0)]
Name = Annotated[str, Meta(pattern=r"^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$")]
FunctionName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
VariableName = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{0,60}$")]


class Bucket(Contract, frozen=True, kw_only=True):
    """`delete_after_days` is the age at which objects go; None keeps them."""

    delete_after_days: Positive | None = None


class Topic(Contract, frozen=True, kw_only=True):
    """A Pub/Sub topic; it has no settings of its own yet."""


class Schedule(Contract, frozen=True, kw_only=True):
    """An empty message to `topic` every `every_s` seconds."""

    topic: Name
    every_s: Positive


class Trigger(Contract, frozen=True, kw_only=True):
    """What wakes a function: a new object in a bucket, or a message on a topic. Exactly one of the two."""

    bucket: Name | None = None
    topic: Name | None = None


class Function(Contract, frozen=True, kw_only=True):
    """A function of functions/main.py."""

    trigger: Trigger
    memory_mb: Positive
    timeout_s: Positive
    concurrency: Positive = 1
    max_instances: Positive = 1


class Service(Contract, frozen=True, kw_only=True):
    """A Cloud Run service from the folder `source`."""

    source: str
    cpu: Positive
    memory_mb: Positive
    timeout_s: Positive
    concurrency: Positive
    max_instances: Positive
    gpu: str | None = None
    reads_models: bool = False


class Workflow(Contract, frozen=True, kw_only=True):
    """A Cloud Workflow and the addresses it gets."""

    source: str
    services: dict[VariableName, Name]


class JobLimits(Contract, frozen=True, kw_only=True):
    """Limits of a job that runs a workflow and names none; times in seconds."""

    max_runtime_s: Positive
    provision_timeout_s: Positive
    max_errors: Count
    max_interruptions: Count


class GpuPrice(Contract, frozen=True, kw_only=True):
    """List prices in USD of one GPU for an hour, with its share of the machine; None where it is not sold that way."""

    standard: Usd | None = None
    spot: Usd | None = None
    flex_start: Usd | None = field(default=None, name="flex-start")
    derived: list[Provisioning] = field(default_factory=list)  # of these, not as in the source


class PriceList(Contract, frozen=True, kw_only=True):
    """Where `machines.prices` come from, and when they were read there."""

    source: Annotated[str, Meta(pattern="^https://")]
    read_on: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    derived: list[Provisioning] = field(default_factory=list)  # ways of buying that it has no prices of


class Cluster(Contract, frozen=True, kw_only=True):
    """One kind of machine, keyed `<gpus>x<gpu>`. It is in every region that its `price` has."""

    machine_type: str
    gpu: str  # accelerator type of Compute Engine
    gpus: Positive
    price: Name  # key of `machines.prices`
    max_per_region: Positive
    attached: bool = False  # the GPUs are no part of the machine type (N1): the template attaches them
    sold_as: list[Provisioning] = field(default_factory=lambda: list(Provisioning))


class MachineLimits(JobLimits, frozen=True, kw_only=True):
    """Limits of a job on a machine that names none, and what all of them may have at once."""

    max_vms: Positive
    max_usd_per_hour: Annotated[float, Meta(gt=0)]


class Machines(Contract, frozen=True, kw_only=True):
    """What jobs that need a machine of their own may have."""

    image: str  # of a job that names none
    limits: MachineLimits
    clusters: dict[ClusterName, Cluster]
    price_list: PriceList
    prices: dict[Name, dict[RegionName, GpuPrice]]


class Prices(Contract, frozen=True, kw_only=True):
    """USD of one vCPU, one GiB of memory and one GPU for one second."""

    vcpu_second: Usd
    gib_second: Usd
    gpu_second: dict[str, Usd] = field(default_factory=dict)


class Bundle(Contract, frozen=True, kw_only=True):
    """All that is deployed."""

    schema: Literal[1]
    buckets: dict[Name, Bucket]
    topics: dict[Name, Topic]
    schedules: dict[Name, Schedule]
    functions: dict[FunctionName, Function]
    services: dict[Name, Service]
    workflows: dict[Name, Workflow]
    default_model: str
    parallel_shards: Annotated[int, Meta(ge=1, le=20)]  # 20: concurrent branches of one execution
    limits: JobLimits
    prices: Prices
    machines: Machines

    def usd_per_second(self, service: str) -> float:
        """What one busy instance of `service` costs."""
        spec, prices = self.services[service], self.prices
        gpu = prices.gpu_second[spec.gpu] if spec.gpu else 0.0
        return spec.cpu * prices.vcpu_second + spec.memory_mb / 1024 * prices.gib_second + gpu


def load(path: Path) -> Bundle:
    """The bundle in the file `path`.

    Raises:
        PermanentError: the file is missing, is not YAML, or breaks the schema; the message names file and field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PermanentError(
            f"cannot read {path}: {error.strerror}", code="INVALID_BUNDLE", hint="Run it inside a checkout."
        ) from error
    return parse(text, str(path))


def parse(text: str, source: str = FILE_NAME) -> Bundle:
    """The bundle in `text`; errors name `source`."""
    import yaml  # a twentieth of the start of a command that needs no bundle

    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both are safe
    except yaml.YAMLError as error:
        raise PermanentError(f"{source} is not YAML: {printable(str(error), 300)}", code="INVALID_BUNDLE") from error
    bundle = codec.convert(document, Bundle, what=source)
    for problem in _broken_references(bundle):
        raise PermanentError(f"{source}: {problem}", code="INVALID_BUNDLE")
    return bundle


def json_schema() -> bytes:
    """The JSON Schema of the file, indented."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Bundle)), indent=2) + b"\n"


def _broken_references(bundle: Bundle) -> list[str]:
    """Names that point nowhere, as sentences."""
    problems = []
    for name, function in bundle.functions.items():
        where = f"field functions.{name}.trigger"
        match (function.trigger.bucket, function.trigger.topic):
            case (str(bucket), None) if bucket not in bundle.buckets:
                problems.append(f"{where}.bucket: there is no bucket {bucket!r}; there are {_names(bundle.buckets)}")
            case (None, str(topic)) if topic not in bundle.topics:
                problems.append(f"{where}.topic: there is no topic {topic!r}; there are {_names(bundle.topics)}")
            case (None, None) | (str(), str()):
                problems.append(f"{where}: give either a bucket or a topic")
    for name, schedule in bundle.schedules.items():
        if schedule.topic not in bundle.topics:
            problems.append(f"field schedules.{name}.topic: there is no topic {schedule.topic!r}")
    for name, workflow in bundle.workflows.items():
        for variable, service in workflow.services.items():
            if service not in bundle.services:
                problems.append(f"field workflows.{name}.services.{variable}: there is no service {service!r}")
    for name, spec in bundle.services.items():
        if spec.gpu is not None and spec.gpu not in bundle.prices.gpu_second:
            problems.append(f"field services.{name}.gpu: {spec.gpu!r} has no price in prices.gpu_second")
    for name, cluster in bundle.machines.clusters.items():
        where = f"field machines.clusters.{name}"
        if not name.startswith(f"{cluster.gpus}x"):
            problems.append(f"{where}: its name begins with the number of its GPUs, {cluster.gpus}")
        if cluster.price not in bundle.machines.prices:
            problems.append(f"{where}.price: {cluster.price!r} is not in machines.prices")
    return problems


def _names(mapping: Mapping[str, object]) -> str:
    return ", ".join(sorted(mapping))


if __name__ == "__main__":
    sys.stdout.buffer.write(json_schema())
