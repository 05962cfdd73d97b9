"""How does a job run on this machine: as a container of Docker on a GPU VM, as a plain process elsewhere."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from worker.ports import Output, Published
from worker.workspace import Workspace
from zeroidle.contracts.messages import MachineRun
from zeroidle.contracts.services import Folder
from zeroidle.errors import PermanentError, printable
from zeroidle.ports import Clock, Objects

OUTPUT, META = "/zeroidle/output", "/zeroidle/meta.jsonl"
# What of the agent's own environment a plain process may see: no credentials, no addresses of the cloud.
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "CUDA_VISIBLE_DEVICES")
KILL_TIMEOUT_S = 10.0
# Of `docker run`. All GPUs of the VM are the job's, and so is its shared memory, which libraries of several GPUs need:
# https://docs.nvidia.com/deeplearning/frameworks/user-guide/index.html#setincshmem
# It gains no rights by what its image holds, and where memory runs out it goes before the agent. Docker keeps no second
# copy of its log, which would have no limit, and leaves it its time when the VM is stopped.
OPTIONS = (
    *("--gpus", "all", "--ipc", "host", "--ulimit", "memlock=-1", "--ulimit", "stack=67108864"),
    *("--security-opt", "no-new-privileges", "--oom-score-adj", "500"),
    *("--log-driver", "none", "--stop-timeout", "30"),
)
# Variables that Docker's command line reads itself, so that a job's value of them would change what it does.
_DOCKERS_OWN = re.compile(r"PATH|HOME|TMPDIR|(DOCKER|BUILDKIT|OTEL)_.*")
_GUARD = Path(__file__).with_name("guard.py")


class Processes:
    """`worker.ports.Containers` without containers: the command runs as a process of its own group. For laptops."""

    def __init__(self, root: Path, objects: Objects, clock: Clock, folder_of: Callable[[str, int], Folder]) -> None:
        self._root, self._objects, self._clock, self._folder_of = root, objects, clock, folder_of

    def start(self, job_id: str, attempt: int, run: MachineRun) -> Process:
        """Start the command; an image is ignored."""
        words = [*run.command, *run.args]
        if not run.command:
            raise PermanentError(
                f"image {printable(run.image)} cannot run here: there is no Docker on this machine",
                code="NO_CONTAINERS",
                hint="Give a command, which then runs as a process.",
            )
        space = Workspace(self._root, self._objects, self._folder_of(job_id, attempt), self._clock)
        ours = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        env = {**ours, **run.env, **space.environment(job_id, attempt)}
        return Process(words, env, space)


class Docker:
    """`worker.ports.Containers` by the Docker command line of this VM."""

    def __init__(
        self,
        root: Path,
        objects: Objects,
        clock: Clock,
        folder_of: Callable[[str, int], Folder],
        default_image: str,
        options: Sequence[str] = OPTIONS,
    ) -> None:
        """`options` are given to `docker run` before all else."""
        self._root, self._objects, self._clock, self._folder_of = root, objects, clock, folder_of
        self._default_image, self._options = default_image, tuple(options)

    def start(self, job_id: str, attempt: int, run: MachineRun) -> Process:
        """Start the container, named after the attempt."""
        space = Workspace(self._root, self._objects, self._folder_of(job_id, attempt), self._clock)
        space.open_to_all()
        inside = {**space.environment(job_id, attempt), "ZEROIDLE_OUTPUT": OUTPUT, "ZEROIDLE_META": META}
        settings = {**run.env, **inside}
        by_name = {key: value for key, value in settings.items() if not _DOCKERS_OWN.fullmatch(key)}
        name = f"{job_id}-a{attempt}"
        words = ["docker", "run", "--rm", "--init", "--name", name, *self._options]
        words += [word for key in by_name for word in ("--env", key)]
        words += [word for key in settings if key not in by_name for word in ("--env", f"{key}={settings[key]}")]
        for source, target in ((space.output, OUTPUT), (space.meta.path, META)):
            words += ["--mount", f"type=bind,source={source},target={target}"]
        if run.command:
            words += ["--entrypoint", run.command[0]]
        words += [run.image or self._default_image, *run.command[1:], *run.args]
        ours = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
        # Values travel in the environment of the command, so that none of them stands in a process list.
        return Process(words, {**ours, **by_name}, space, kill_with=("docker", "kill", name))


class Process:
    """`worker.ports.Container`: a process and all that it started, in a group that ends with this agent."""

    def __init__(
        self, words: Sequence[str], env: dict[str, str], space: Workspace, kill_with: Sequence[str] = ()
    ) -> None:
        self._space, self._kill_with = space, tuple(kill_with)
        self._guard = _guard()
        try:
            with space.log.path.open("ab") as log:
                self._process = subprocess.Popen(
                    list(words),
                    env=env,
                    cwd=space.work,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=self._guard.pid,
                )
        except (OSError, ValueError) as error:
            self._end_group()
            space.remove()
            raise PermanentError(
                f"{printable(words[0])} cannot be started: {printable(str(error), 200)}",
                code="NOT_STARTED",
                hint="Correct the command, or the image that should contain it.",
            ) from error

    @property
    def group(self) -> int:
        """Its process group."""
        return self._guard.pid

    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def output(self) -> Output:
        """What it said since the last call."""
        return self._space.read()

    def terminate(self) -> None:
        """Ask it to end; Docker hands the signal on."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, with everything that it started."""
        if self._kill_with:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(self._kill_with, check=False, capture_output=True, timeout=KILL_TIMEOUT_S)
        self._signal(signal.SIGKILL)

    def publish(self, folder: Folder) -> Published | None:
        """Upload its logs and what it left in its output folder."""
        return self._space.publish()

    def discard(self) -> None:
        """Remove all that is left of it from this machine."""
        self._end_group()  # with what it started and left behind
        self._process.wait()
        self._space.remove()

    def _end_group(self) -> None:
        self._signal(signal.SIGKILL)
        self._guard.wait()
        assert self._guard.stdin is not None  # noqa: S101  # asked for in `_guard`
        self._guard.stdin.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._guard.pid, number)


def _guard() -> subprocess.Popen[bytes]:
    """The leader of a new process group, which kills the group when this process ends. Raises PermanentError."""
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_GUARD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
        process_group=0,
    )
    assert guard.stdout is not None  # noqa: S101  # asked for above
    with guard.stdout as ready:
        ready.read(1)
    return guard
