"""With which code does a command end? The one list of them.

0 succeeded · 1 an input is wrong · 2 wrong usage · 3 a limit ended a job · 4 the platform failed ·
5 a job was stopped · 130 interrupted

A job on a machine has codes that no shell and no container uses, so a script can tell its end from one of its own:
0 succeeded · 100 failed · 101 not finished · 102 not found · 103 stopped. `submit` while it follows, `show` and
`logs --follow` end with them; 102 is any command's that is given a job which there is not.
"""

from __future__ import annotations

from enum import IntEnum

from zeroidle.contracts.messages import MachineRun
from zeroidle.contracts.records import ExitClass, Job, State
from zeroidle.errors import PermanentError, ZeroidleError

USAGE = 2
INTERRUPTED = 130
NO_SUCH_JOB = "NO_SUCH_JOB"

EXIT_CODES = (
    "Exit codes: 0 all succeeded, 1 an input is wrong, 2 wrong usage, 3 a limit ended a job, 4 the platform failed, "
    "5 a job was stopped, 102 there is no such job, 130 interrupted."
)
MACHINE_EXIT_CODES = (
    "Exit codes for a job on a machine: 0 succeeded, 100 failed, 101 not finished, 102 there is no such job, "
    "103 stopped, 2 wrong usage, 4 the platform failed, 130 interrupted."
)


class MachineExit(IntEnum):
    """How a job on a machine stands."""

    SUCCEEDED = 0
    FAILED = 100
    NOT_FINISHED = 101
    NOT_FOUND = 102
    STOPPED = 103


class WrongUsage(PermanentError):
    """Options that cannot be: nothing was done."""

    code = "WRONG_USAGE"


def of_error(error: ZeroidleError) -> int:
    """The exit code of a command that ended with `error`."""
    if isinstance(error, WrongUsage):
        return USAGE
    if error.code == NO_SUCH_JOB:
        return MachineExit.NOT_FOUND
    return int(ExitClass.JOB if isinstance(error, PermanentError) else ExitClass.PLATFORM)


def of_file_job(job: Job) -> int:
    """What the end of a file's job means for the command that waited for it."""
    if job.state is State.SUCCEEDED:
        return 0
    return int(job.reason.exit_class if job.reason else ExitClass.PLATFORM)


def of_machine_job(job: Job) -> int:
    """How a job on a machine stands, whether or not it is over."""
    match job.state:
        case State.SUCCEEDED:
            return MachineExit.SUCCEEDED
        case State.FAILED:
            return MachineExit.FAILED
        case State.STOPPED:
            return MachineExit.STOPPED
        case _:
            return MachineExit.NOT_FINISHED


def of_shown(job: Job) -> int:
    """What a command that looked at a job without waiting for it ends with; a file's job says nothing by that."""
    return of_machine_job(job) if isinstance(job.run, MachineRun) else 0
