"""What is said on the job topics? JSON bodies, version 1; what breaks the contract is refused, with the field named.

jobs-start       Start       users                  run this
jobs-assigned    Assignment  start, tick            this attempt waits for a worker
jobs-stop        Stop        users                  stop that
jobs-heartbeats  Heartbeat   workflows, workers     how an attempt is doing
jobs-meta        Meta        workers, services      anything worth keeping about a job
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta as Bounds
from msgspec import field

from zeroidle.contracts.codec import Contract
from zeroidle.contracts.machines import Wanted, Worker
from zeroidle.contracts.services import (
    BucketName,
    Count,
    ErrorBody,
    InputOptions,
    ModelRef,
    ObjectName,
    ObjectRef,
    Stage,
)

# Python's `$` also matches before a final newline.
_END = r"$(?!\n)"

JobId = Annotated[str, Bounds(pattern=r"^[a-z]([-a-z0-9]{0,53}[a-z0-9])?" + _END)]
UserId = Annotated[str, Bounds(pattern=r"^[A-Za-z0-9][-A-Za-z0-9._@+]{0,127}" + _END)]
AttemptNumber = Annotated[int, Bounds(ge=1, le=1000)]
# As for labels of Google Cloud: https://cloud.google.com/resource-manager/docs/labels-overview
LabelKey = Annotated[str, Bounds(pattern=r"^[a-z][-_a-z0-9]{0,62}" + _END)]
LabelValue = Annotated[str, Bounds(pattern=r"^[-_a-z0-9]{0,63}" + _END)]
Labels = Annotated[dict[LabelKey, LabelValue], Bounds(max_length=32)]
Text = Annotated[str, Bounds(max_length=2000)]
Moment = Annotated[float, Bounds(ge=0)]  # seconds since the epoch

# Bounds of the limits; the two structs below say what each limit means.
_Runtime = Annotated[int, Bounds(ge=10, le=7 * 86400)]
_Cost = Annotated[float, Bounds(gt=0, le=100_000)]
_Provision = Annotated[int, Bounds(ge=10, le=7 * 86400)]
_Retries = Annotated[int, Bounds(ge=0, le=100)]


class Limits(Contract, frozen=True, kw_only=True):
    """What one job may take."""

    max_runtime_s: _Runtime  # of one attempt
    provision_timeout_s: _Provision  # from asking for an attempt to its first sign of life
    max_errors: _Retries  # new attempts after failures of the job's own
    max_interruptions: _Retries  # new attempts after losses it is not to blame for
    max_cost_usd: _Cost | None = None  # of one attempt, as reported by its stages; None: no limit


class LimitsAsked(Contract, frozen=True, kw_only=True):
    """Limits in a request; what is None takes the bundle's default."""

    max_runtime_s: _Runtime | None = None
    max_cost_usd: _Cost | None = None
    provision_timeout_s: _Provision | None = None
    max_errors: _Retries | None = None
    max_interruptions: _Retries | None = None

    def over(self, defaults: Limits) -> Limits:
        """`defaults` with what was asked for."""
        asked = {name: getattr(self, name) for name in self.__struct_fields__}
        return Limits(**{name: getattr(defaults, name) if value is None else value for name, value in asked.items()})


class WorkflowRun(Contract, frozen=True, kw_only=True, tag_field="kind", tag="workflow"):
    """Run a workflow over an input object; without a generation the newest version when the job is accepted."""

    workflow: Annotated[str, Bounds(pattern=r"^[a-z][-_a-z0-9]{0,62}" + _END)]
    input: ObjectRef
    model: ModelRef | None = None  # None: the bundle's default
    options: InputOptions = field(default_factory=InputOptions)


# Of one argument or value; together they stay far below what a Pub/Sub message may hold.
Word = Annotated[str, Bounds(max_length=8192)]
VariableName = Annotated[str, Bounds(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}" + _END)]


class MachineRun(Contract, frozen=True, kw_only=True, tag_field="kind", tag="machine"):
    """Run a container on a VM of its own. What it writes to the folder named in `ZEROIDLE_OUTPUT` is its result.

    Without an image it is the bundle's default one; `command` and `args` mean what they mean to a container.
    """

    wanted: Wanted
    image: Annotated[str, Bounds(pattern=r"^[a-z0-9][-A-Za-z0-9._/:@]{0,511}" + _END)] | None = None
    command: Annotated[list[Word], Bounds(max_length=256)] = field(default_factory=list)
    args: Annotated[list[Word], Bounds(max_length=1024)] = field(default_factory=list)
    env: Annotated[dict[VariableName, Word], Bounds(max_length=256)] = field(default_factory=dict)
    keep_alive_s: Annotated[int, Bounds(ge=0, le=3600)] = 0  # how long its VM waits for the next job of its cluster

    def __post_init__(self) -> None:
        """Something has to run."""
        if self.image is None and not self.command:
            raise ValueError("a machine run needs `image` or `command`")
        reserved = sorted(name for name in self.env if name.startswith("ZEROIDLE_"))
        if reserved:
            raise ValueError(f"env has {reserved[0]}; names that begin with ZEROIDLE_ are set by the worker")


# What a job runs, told apart by `kind`.
Run: TypeAlias = WorkflowRun | MachineRun


class Start(Contract, frozen=True, kw_only=True):
    """Run this. The first start of a `job_id` counts, any other is a duplicate."""

    schema: Literal[1]
    job_id: JobId
    user_id: UserId
    run: Run
    limits: LimitsAsked = field(default_factory=LimitsAsked)
    labels: Labels = field(default_factory=dict)


class Stop(Contract, frozen=True, kw_only=True):
    """Stop that job; one that has not started yet never will."""

    schema: Literal[1]
    job_id: JobId
    user_id: UserId
    reason: Annotated[str, Bounds(max_length=500)] = ""


class Assignment(Contract, frozen=True, kw_only=True):
    """An attempt waits for a worker of its cluster. Only a hint: whoever takes the attempt's claim runs it."""

    schema: Literal[1]
    job_id: JobId
    attempt: AttemptNumber


class Progress(Contract, frozen=True, kw_only=True):
    """How far a job is, in units of its own; `total` is None while unknown."""

    done: Count
    total: Count | None = None
    unit: Annotated[str, Bounds(max_length=40)]


class Result(Contract, frozen=True, kw_only=True):
    """What a job published, and where: records of a workflow, files of a machine."""

    bucket: BucketName
    prefix: ObjectName
    records: Count = 0
    files: Count = 0
    rejected: Count = 0
    labels: dict[str, Count] = field(default_factory=dict)  # how many records got which label


class Heartbeat(Contract, frozen=True, kw_only=True):
    """How an attempt is doing. Each beat says everything so far, so the one with the highest `seq` is enough."""

    schema: Literal[1]
    job_id: JobId
    user_id: UserId
    attempt: AttemptNumber
    seq: Count
    sent_at: Moment
    status: Literal["RUNNING", "SUCCEEDED", "FAILED", "STOPPED", "PREEMPTED"]
    execution: Annotated[str, Bounds(min_length=1, max_length=500)] | None = None  # the execution that holds the claim
    worker: Worker | None = None  # the worker that holds the claim
    exit_code: Annotated[int, Bounds(ge=0, le=255)] | None = None  # of the container
    stages: Annotated[list[Stage], Bounds(max_length=50)] = field(default_factory=list)
    progress: Progress | None = None
    message: Text = ""
    failure: ErrorBody | None = None
    result: Result | None = None

    def __post_init__(self) -> None:
        """A last beat says how it ended."""
        if self.status == "FAILED" and self.failure is None:
            raise ValueError("a beat with status FAILED needs `failure`")
        if self.status == "SUCCEEDED" and self.result is None:
            raise ValueError("a beat with status SUCCEEDED needs `result`")

    @property
    def is_last(self) -> bool:
        """The attempt says nothing after this."""
        return self.status != "RUNNING"


class Meta(Contract, frozen=True, kw_only=True):
    """Something worth keeping about a job: what `sender` did (`operation`), and its data."""

    schema: Literal[1]
    job_id: JobId
    user_id: UserId
    attempt: AttemptNumber
    created_at: Moment
    sender: Annotated[str, Bounds(min_length=1, max_length=100)]
    operation: Annotated[str, Bounds(min_length=1, max_length=100)]
    data: dict[str, Any] = field(default_factory=dict)
