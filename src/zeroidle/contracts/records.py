"""What does the ledger say of a job? The record `jobs/<job_id>.json`, and the error.json of a failed one.

Written by the handlers, read by the services, the workers and the command line. How a record changes is in `core.job`.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal, assert_never

from msgspec import field

from zeroidle.contracts.codec import Contract
from zeroidle.contracts.machines import ClusterName, Tried, Vm, Worker
from zeroidle.contracts.messages import Labels, Limits, Progress, Result, Run
from zeroidle.contracts.services import Count, ErrorBody, ObjectRef, Stage


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "QUEUED"  # nothing was asked for this attempt yet
    PROVISIONING = "PROVISIONING"  # asked for, no sign of life yet
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"  # told to end, for the reason beside it
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def is_terminal(self) -> bool:
        """Nothing changes the job any more."""
        return self in (State.SUCCEEDED, State.FAILED, State.STOPPED)


class Budget(StrEnum):
    """What a new attempt is taken from."""

    ERRORS = "ERRORS"  # the job's own failures: `max_errors`
    INTERRUPTIONS = "INTERRUPTIONS"  # losses it is not to blame for: `max_interruptions`


class ExitClass(IntEnum):
    """Exit code of a command that waited for the job. 2 is left to wrong usage."""

    JOB = 1  # the input or the options are wrong
    LIMIT = 3  # a limit ended it
    PLATFORM = 4  # what runs jobs failed
    STOPPED = 5  # somebody stopped it


class Reason(StrEnum):
    """Why a job is where it is. Each reason knows what follows from it."""

    USER_ERROR = "USER_ERROR"
    JOB_ERROR = "JOB_ERROR"
    SERVICE_ERROR = "SERVICE_ERROR"
    START_REFUSED = "START_REFUSED"
    NOT_STARTED = "NOT_STARTED"
    EXECUTION_LOST = "EXECUTION_LOST"
    NO_CAPACITY = "NO_CAPACITY"
    QUOTA = "QUOTA"
    AT_CAP = "AT_CAP"
    PREEMPTED = "PREEMPTED"
    WORKER_LOST = "WORKER_LOST"
    TIMEOUT = "TIMEOUT"
    BUDGET = "BUDGET"
    STOP_REQUESTED = "STOP_REQUESTED"

    @property
    def budget(self) -> Budget | None:
        """What a new attempt after this is taken from; None: there is no new attempt."""
        match self:
            case Reason.SERVICE_ERROR | Reason.JOB_ERROR:
                return Budget.ERRORS
            case Reason.NOT_STARTED | Reason.EXECUTION_LOST | Reason.PREEMPTED | Reason.WORKER_LOST:
                return Budget.INTERRUPTIONS
            case Reason.USER_ERROR | Reason.START_REFUSED | Reason.TIMEOUT | Reason.BUDGET | Reason.STOP_REQUESTED:
                return None
            case Reason.NO_CAPACITY | Reason.QUOTA | Reason.AT_CAP:
                return None  # it has waited as long as it wanted to
            case _:
                assert_never(self)

    @property
    def is_retryable(self) -> bool:
        """Another attempt may do better."""
        return self.budget is not None

    @property
    def final_state(self) -> State:
        """How a job ends for this reason."""
        return State.STOPPED if self is Reason.STOP_REQUESTED else State.FAILED

    @property
    def exit_class(self) -> ExitClass:
        """Who has to act."""
        match self:
            case Reason.USER_ERROR | Reason.JOB_ERROR:
                return ExitClass.JOB
            case Reason.TIMEOUT | Reason.BUDGET | Reason.AT_CAP:
                return ExitClass.LIMIT
            case Reason.SERVICE_ERROR | Reason.START_REFUSED | Reason.NOT_STARTED | Reason.EXECUTION_LOST:
                return ExitClass.PLATFORM
            case Reason.NO_CAPACITY | Reason.QUOTA | Reason.PREEMPTED | Reason.WORKER_LOST:
                return ExitClass.PLATFORM
            case Reason.STOP_REQUESTED:
                return ExitClass.STOPPED
            case _:
                assert_never(self)

    @property
    def advice(self) -> str:
        """What a person can do about it."""
        match self:
            case Reason.USER_ERROR:
                return "Correct what the message names and upload the file again."
            case Reason.JOB_ERROR:
                return "The job's logs tell why; submit it again once it is mended."
            case Reason.NO_CAPACITY:
                return "Allow more regions or accelerators, spot or flex-start, or a larger provision_timeout_s."
            case Reason.QUOTA:
                return "Ask Google Cloud for more quota of this accelerator, or allow other regions or accelerators."
            case Reason.AT_CAP:
                return "Wait for other jobs to end, or raise the caps in bundle.yaml."
            case Reason.PREEMPTED | Reason.WORKER_LOST:
                return "Submit it again with a larger max_interruptions, or without spot."
            case Reason.SERVICE_ERROR:
                return "Upload the file again; if it fails again, the logs of the services tell why."
            case Reason.START_REFUSED:
                return "Check that the workflow is deployed and may be started, then upload the file again."
            case Reason.NOT_STARTED | Reason.EXECUTION_LOST:
                return "Upload the file again; the executions of the workflow tell what happened to this one."
            case Reason.TIMEOUT:
                return "Split the input, or ask for a larger max_runtime_s."
            case Reason.BUDGET:
                return "Split the input, or ask for a larger max_cost_usd."
            case Reason.STOP_REQUESTED:
                return "Start it again under another job_id."
            case _:
                assert_never(self)


class LastBeat(Contract, frozen=True, kw_only=True):
    """The newest heartbeat seen of the current attempt."""

    seq: Count
    sent_at: float  # by the sender's clock
    received_at: float = 0.0  # by ours: what silence is measured from


class StopRequest(Contract, frozen=True, kw_only=True):
    """Who wanted the job stopped, why, and when."""

    user_id: str
    reason: str
    at: float


class Attempt(Contract, frozen=True, kw_only=True):
    """An attempt that was lost or failed, and that another one followed."""

    number: int
    execution: str | None
    worker: Worker | None = None
    started_at: float | None
    ended_at: float
    reason: Reason
    failure: ErrorBody
    cost_usd: float = 0.0


class Machines(Contract, frozen=True, kw_only=True):
    """The VMs of a job, and how it came to them."""

    vms: tuple[Vm, ...] = ()  # of all attempts, until the cloud says that they are gone
    asked: int = 0  # VMs that were asked for in the current attempt
    told: tuple[ClusterName, ...] = ()  # clusters whose workers were told that the current attempt waits
    told_at: float | None = None  # the last time
    worker: Worker | None = None  # who claimed the current attempt
    claimed_at: float | None = None
    story: tuple[Tried, ...] = ()  # what was tried to get a VM, oldest first, the last entries only
    exit_code: int | None = None


class Job(Contract, frozen=True, kw_only=True):
    """All that is known of a job. Times are in seconds since the epoch; those of stages and beats are the sender's."""

    schema: Literal[1] = 1
    job_id: str
    user_id: str
    run: Run | None  # None: stopped before its start came
    limits: Limits | None
    labels: Labels = field(default_factory=dict)
    usd_per_second: dict[str, float] = field(default_factory=dict)  # price of one busy instance by stage, when accepted

    state: State
    reason: Reason | None = None
    failure: ErrorBody | None = None
    created_at: float
    started_at: float | None = None  # of the current attempt
    finished_at: float | None = None
    deadline_at: float | None  # when the present state has lasted too long; None in a terminal one

    attempt: int  # from 1; 0: stopped before its start came
    execution: str | None = None  # the one that runs the attempt, or the one last asked for
    machines: Machines = field(default_factory=Machines)  # of a job that runs on machines of its own
    last_beat: LastBeat | None = None
    stages: list[Stage] = field(default_factory=list)
    progress: Progress | None = None
    message: str = ""
    cost_usd: float = 0.0  # of the current attempt
    result: Result | None = None
    stop: StopRequest | None = None

    errors_used: int = 0
    interruptions_used: int = 0
    history: tuple[Attempt, ...] = ()  # earlier attempts, oldest first, the last few only


class ErrorFile(Contract, frozen=True, kw_only=True):
    """`error.json`: why there is no result where one was expected, and what to do."""

    schema: Literal[1] = 1
    job_id: str
    user_id: str
    attempt: int
    input: ObjectRef
    reason: Reason
    code: str
    message: str
    hint: str
    details: dict[str, object]
    what_to_do: str
    failed_at: float
