"""How a job is run on this machine: processes, their files, and Docker's command line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import pytest

from tests.localcloud.waiting import wait_until
from tests.simulation.sim_cloud import Faults, MemoryObjects
from worker import containers, joblog, metafile
from worker.containers import Docker, Process, Processes
from worker.ports import Output, Published
from zeroidle.contracts.machines import Wanted
from zeroidle.contracts.messages import MachineRun
from zeroidle.contracts.services import Folder, ObjectRef
from zeroidle.errors import PermanentError

FOLDER = Folder(bucket="output", prefix="jobs/job-1/a1")
WANTED = Wanted(accelerators=["1xl4"])


class Machine:
    """A folder, storage in memory, a clock that stands."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.time = 1000.0
        self.objects = MemoryObjects(self.now, Faults())
        self.processes = Processes(root, self.objects, self, lambda job_id, attempt: FOLDER)
        self.started: list[Process] = []

    def now(self) -> float:
        return self.time

    def start(self, script: str, **fields: Any) -> Process:
        """Run a shell script."""
        run = MachineRun(wanted=WANTED, command=["/bin/sh", "-c", textwrap.dedent(script)], **fields)
        self.started.append(self.processes.start("job-1", 1, run))
        return self.started[-1]

    def up(self, script: str) -> Process:
        """The same, until it has printed something."""
        process = self.start(script)
        (folder,) = self.root.iterdir()
        wait_until((folder / "log.txt").read_bytes, "what it prints")
        return process

    def ran(self, script: str, **fields: Any) -> Process:
        """The same, until it has ended."""
        process = self.start(script, **fields)
        wait_until(lambda: process.exit_code() is not None, "its end")
        return process

    def kept(self) -> dict[str, bytes]:
        """What is in the bucket, by its name in the attempt's folder."""
        found = self.objects.names("output")
        return {
            name.removeprefix("jobs/job-1/a1/"): self.objects.read(ObjectRef(bucket="output", name=name))[0]
            for name in found
        }


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "work")
    yield machine
    for process in machine.started:
        process.discard()
    assert list(machine.root.glob("*")) == []


def is_empty(group: int) -> bool:
    """Has the process group no process, or only ones that have ended and were not waited for?"""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, its_group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return False
    return True


class TestProcesses:
    @pytest.mark.parametrize(
        ("script", "code"),
        [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -KILL $$", 137), ("kill -TERM $$", 143)],
    )
    def test_how_it_ended_is_an_exit_code_as_of_a_shell(self, machine: Machine, script: str, code: int) -> None:
        assert machine.ran(script).exit_code() == code

    def test_it_is_asked_to_end_and_may_take_its_time(self, machine: Machine) -> None:
        process = machine.up(
            "trap 'echo bye > $ZEROIDLE_OUTPUT/bye; exit 5' TERM; echo up; while :; do sleep 0.02; done"
        )

        process.terminate()
        wait_until(lambda: process.exit_code() is not None, "its end")

        assert process.exit_code() == 5
        assert process.publish(FOLDER) == Published(1)

    def test_all_that_it_started_gets_the_polite_signal_too(self, machine: Machine) -> None:
        process = machine.start("sleep 100 & sleep 100 & wait")

        process.terminate()

        wait_until(lambda: process.exit_code() is not None, "its end")
        assert process.exit_code() == 143

    def test_killed_it_is_gone_with_all_that_it_started(self, machine: Machine) -> None:
        process = machine.up("trap '' TERM; (trap '' TERM; sleep 100) & echo up; sleep 100")

        process.terminate()
        assert process.exit_code() is None
        process.kill()

        wait_until(lambda: is_empty(process.group), "an empty group")
        wait_until(lambda: process.exit_code() == 137, "its exit code")

    def test_what_it_left_behind_is_gone_with_it(self, machine: Machine) -> None:
        process = machine.ran("sleep 100 & echo started")
        assert not is_empty(process.group)

        process.discard()

        wait_until(lambda: is_empty(process.group), "an empty group")
        machine.started.clear()

    def test_it_sees_what_is_meant_for_it_and_nothing_of_the_agents(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/secret")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
        monkeypatch.setenv("LANG", "C.UTF-8")
        process = machine.ran(
            "env > $ZEROIDLE_OUTPUT/env; pwd > $ZEROIDLE_OUTPUT/pwd", env={"RATE": "0.1", "LANG": "de"}
        )
        process.publish(FOLDER)

        told = dict(line.split("=", 1) for line in machine.kept()["output/env"].decode().splitlines())
        assert (told["RATE"], told["LANG"], told["PATH"]) == ("0.1", "de", os.environ["PATH"])
        assert (told["ZEROIDLE_JOB_ID"], told["ZEROIDLE_ATTEMPT"]) == ("job-1", "1")
        assert told.keys() <= {
            *containers.PASSED_ON, "RATE", "ZEROIDLE_JOB_ID", "ZEROIDLE_ATTEMPT", "ZEROIDLE_OUTPUT", "ZEROIDLE_META",
            "PWD", "OLDPWD", "SHLVL", "_",
        }  # fmt: skip
        assert machine.kept()["output/pwd"].endswith(b"/work\n")

    @pytest.mark.parametrize(
        "command",
        [["/nowhere/prog"], ["/etc/passwd"], ["a\0b"], ["x"] + ["y" * 8192] * 255],
        ids=["missing", "no program", "a NUL", "longest"],
    )
    def test_what_cannot_be_started_says_so_and_leaves_nothing(self, machine: Machine, command: list[str]) -> None:
        run = MachineRun(wanted=WANTED, command=command)

        with pytest.raises(PermanentError, match="cannot be started") as caught:
            machine.processes.start("job-1", 1, run)

        assert caught.value.code == "NOT_STARTED"

    def test_an_image_alone_cannot_run_here(self, machine: Machine) -> None:
        with pytest.raises(PermanentError, match="no Docker"):
            machine.processes.start("job-1", 1, MachineRun(wanted=WANTED, image="pytorch/pytorch:2"))

    def test_killed_with_sigkill_the_agent_takes_its_job_with_it(self, tmp_path: Path) -> None:
        agent = textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            from tests.worker.test_containers import Machine
            process = Machine(Path(sys.argv[1])).up("trap '' TERM; (trap '' TERM; sleep 100) & echo up; sleep 100")
            print(process.group, flush=True)
            time.sleep(100)
            """
        )
        program = subprocess.Popen(
            [sys.executable, "-c", agent, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert program.stdout is not None
        group = int(program.stdout.readline())
        assert not is_empty(group)

        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        program.stdout.close()

        wait_until(lambda: is_empty(group), "an empty group")


class TestFiles:
    def test_what_lies_in_the_output_folder_is_kept(self, machine: Machine) -> None:
        process = machine.ran("cd $ZEROIDLE_OUTPUT; mkdir -p a/b; echo 1 > a/b/one; echo 2 > 'two words'; : > empty")

        assert process.publish(FOLDER) == Published(3)
        assert machine.kept() == {"output/a/b/one": b"1\n", "output/two words": b"2\n", "output/empty": b""}

    def test_links_pipes_and_sockets_are_not_files(self, machine: Machine) -> None:
        process = machine.ran(
            """
            cd $ZEROIDLE_OUTPUT; echo 1 > real; ln -s /etc/passwd link; ln -s /etc folder; ln -s real again; mkfifo pipe
            """
        )

        assert process.publish(FOLDER) == Published(1)
        assert machine.kept() == {"output/real": b"1\n"}

    def test_names_are_data(self, machine: Machine) -> None:
        program = r"""
            import os
            os.chdir(os.environ["ZEROIDLE_OUTPUT"])
            for name in ["line\nend", b"not\xffutf8", "..a", "%41", "glob*?[x]", "-rf", "\u00fc\u2028"]:
                open(name, "w").close()
        """
        run = MachineRun(wanted=WANTED, command=[sys.executable, "-c", textwrap.dedent(program)])
        machine.started.append(machine.processes.start("job-1", 1, run))
        wait_until(lambda: machine.started[0].exit_code() is not None, "its end")

        assert machine.started[0].publish(FOLDER) == Published(7)
        assert sorted(machine.kept()) == sorted(
            f"output/{name}" for name in ["line%0Aend", "not%FFutf8", "..a", "%41", "glob*?[x]", "-rf", "\u00fc\u2028"]
        )

    def test_a_file_that_cannot_be_kept_is_named_in_the_log_and_costs_no_other(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        process = machine.ran("cd $ZEROIDLE_OUTPUT; echo 1 > bad; echo 2 > good")
        write = machine.objects.write

        def refuse(ref: ObjectRef, data: Any, **options: Any) -> int:
            if ref.name.endswith("bad"):
                raise PermanentError("the name is too long")
            return write(ref, data, **options)

        monkeypatch.setattr(machine.objects, "write", refuse)

        assert process.publish(FOLDER) == Published(1, left_out=1)
        assert b"/output/bad is not kept: the name is too long" in machine.kept()["logs/000000.txt"]

    def test_a_job_that_removes_everything_around_it_still_ends(self, machine: Machine) -> None:
        process = machine.ran("rm -rf ../*; echo gone")

        assert process.output() == Output()
        assert process.publish(FOLDER) == Published(0)


class TestLog:
    def test_it_goes_in_parts_as_time_passes_and_whole_at_the_end(self, machine: Machine) -> None:
        process = machine.start("echo one; until test -e $ZEROIDLE_OUTPUT/go; do sleep 0.02; done; echo two >&2")
        (folder,) = machine.root.iterdir()
        wait_until((folder / "log.txt").read_bytes, "a line")

        process.output()
        assert machine.kept() == {}
        machine.time += joblog.SHIP_EVERY_S
        process.output()
        assert machine.kept() == {"logs/000000.txt": b"one\n"}
        (folder / "output" / "go").touch()
        wait_until(lambda: process.exit_code() is not None, "its end")
        process.publish(FOLDER)

        assert machine.kept()["logs/000001.txt"] == b"two\n"

    def test_much_of_it_goes_at_once(self, machine: Machine) -> None:
        process = machine.ran("head -c 9000000 /dev/zero")

        process.output()
        process.publish(FOLDER)

        assert [len(data) for _, data in sorted(machine.kept().items())] == [
            4 * 2**20,
            4 * 2**20,
            9_000_000 - 8 * 2**20,
        ]


def tells(machine: Machine, lines: list[bytes]) -> Output:
    """What is heard of a job that writes these lines to ZEROIDLE_META."""
    process = machine.start("sleep 100")
    (folder,) = machine.root.iterdir()
    (folder / "meta.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return process.output()


HOSTILE = {
    "no JSON": b"epoch 3",
    "no object": b"[1, 2]",
    "not UTF-8": b'{"message": "\xff"}',
    "half a character": b'{"message": "\\ud800"}',
    "NaN": b'{"operation": "o", "data": {"a": NaN}}',
    "nested": b'{"operation":"o","data":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    "huge": b'{"message": "' + b"x" * metafile.MAX_LINE_BYTES + b'"}',
    "below zero": b'{"done": -1}',
    "a fraction": b'{"done": 1.5}',
    "unknown fields": b'{"done": 1, "job_id": "other"}',
    "a nameless operation": b'{"operation": "", "data": {}}',
    "a long operation": b'{"operation": "' + b"o" * 101 + b'"}',
    "data that is none": b'{"operation": "o", "data": [1]}',
    "a blank line": b"   ",
}


class TestMeta:
    def test_the_last_progress_counts_and_every_report(self, machine: Machine) -> None:
        heard = tells(
            machine,
            [
                b'{"done": 1}',
                b'{"done": 2, "total": 5, "unit": "epochs"}',
                b'{"message": "warm"}',
                b'{"operation": "a"}',
                b'{"operation": "b", "data": {"x": 1}}',
                b'{"message": "hot \x1b[31m"}'.replace(b"\x1b", b"\\u001b"),
            ],
        )

        assert heard.progress is not None
        assert (heard.progress.done, heard.progress.total, heard.progress.unit) == (2, 5, "epochs")
        assert heard.message == r"hot \x1b[31m"
        assert heard.reports == (("a", {}), ("b", {"x": 1}))

    @pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
    def test_what_says_nothing_is_passed_over(self, machine: Machine, line: bytes) -> None:
        heard = tells(machine, [line, b'{"operation": "next"}'])

        assert (heard.progress, heard.message, heard.reports) == (None, "", (("next", {}),))

    def test_a_line_is_heard_once_it_is_whole(self, machine: Machine) -> None:
        process = machine.start("sleep 100")
        (folder,) = machine.root.iterdir()
        with (folder / "meta.jsonl").open("ab", buffering=0) as meta:
            meta.write(b'{"done"')
            assert process.output().progress is None
            meta.write(b": 4}\n")
            progress = process.output().progress

        assert progress is not None
        assert progress.done == 4

    def test_a_line_without_an_end_keeps_nobody(self, machine: Machine) -> None:
        process = machine.start("sleep 100")
        (folder,) = machine.root.iterdir()
        (folder / "meta.jsonl").write_bytes(b"x" * (2 * metafile.MAX_READ_BYTES) + b'\n{"done": 1}\n')

        said = [process.output().progress for _ in range(3)]

        assert [progress and progress.done for progress in said] == [None, None, 1]


RECORDS = """#!{python}
import json, os, sys
with open({calls!r}, "a") as calls:
    calls.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
if sys.argv[1] == "run":
    import signal, time
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("up", flush=True)
    time.sleep(100)
"""


class TestDocker:
    """The command line of Docker, recorded by a program of that name."""

    @pytest.fixture
    def calls(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
        path, tool = tmp_path / "calls", tmp_path / "bin" / "docker"
        tool.parent.mkdir()
        tool.write_text(RECORDS.format(python=sys.executable, calls=str(path)))
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
        return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def start(self, machine: Machine, **fields: Any) -> Process:
        docker = Docker(machine.root, machine.objects, machine, lambda *_: FOLDER, "default:1")
        machine.started.append(docker.start("job-1", 2, MachineRun(wanted=WANTED, **fields)))
        return machine.started[-1]

    def test_the_command_line_is_exact_and_has_no_value_of_the_environment(
        self, machine: Machine, calls: Callable[[], list[Any]]
    ) -> None:
        self.start(
            machine, image="repo/train:3", command=["python", "-u"], args=["x.py", "$HOME; `id`"], env={"KEY": "s3cret"}
        )
        wait_until(calls, "the call")

        (words, env) = calls()[0]
        (folder,) = machine.root.iterdir()
        settings = ["KEY", "ZEROIDLE_JOB_ID", "ZEROIDLE_ATTEMPT", "ZEROIDLE_OUTPUT", "ZEROIDLE_META"]
        assert words == [
            "run", "--rm", "--init", "--name", "job-1-a2", *containers.OPTIONS,
            *[word for key in settings for word in ("--env", key)],
            "--mount", f"type=bind,source={folder}/output,target=/zeroidle/output",
            "--mount", f"type=bind,source={folder}/meta.jsonl,target=/zeroidle/meta.jsonl",
            "--entrypoint", "python", "repo/train:3", "-u", "x.py", "$HOME; `id`",
        ]  # fmt: skip
        assert (env["KEY"], env["ZEROIDLE_OUTPUT"], env["ZEROIDLE_ATTEMPT"]) == ("s3cret", "/zeroidle/output", "2")

    def test_without_an_image_it_is_the_default_one(self, machine: Machine, calls: Callable[[], list[Any]]) -> None:
        self.start(machine, command=["nvidia-smi"])
        wait_until(calls, "the call")

        assert calls()[0][0][-3:] == ["--entrypoint", "nvidia-smi", "default:1"]

    def test_an_image_alone_runs_as_it_is(self, machine: Machine, calls: Callable[[], list[Any]]) -> None:
        self.start(machine, image="repo/train:3", args=["--fast"])
        wait_until(calls, "the call")

        words = calls()[0][0]
        assert words[-2:] == ["repo/train:3", "--fast"]
        assert "--entrypoint" not in words

    def test_it_is_killed_by_its_name(self, machine: Machine, calls: Callable[[], list[Any]]) -> None:
        process = self.start(machine, command=["train"])
        wait_until(calls, "the call")

        process.kill()

        assert [words for words, _ in calls()][1:] == [["kill", "job-1-a2"]]
        wait_until(lambda: process.exit_code() == 137, "its end")

    def test_a_docker_that_does_not_answer_keeps_no_agent(
        self, machine: Machine, calls: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        process = self.start(machine, command=["train"])
        wait_until(calls, "the call")
        monkeypatch.setattr(containers, "KILL_TIMEOUT_S", 0.0)

        process.kill()

        wait_until(lambda: process.exit_code() == 137, "its end")


class Daemon(ThreadingMixIn, UnixStreamServer):
    """Docker's API at a socket, as far as its command line needs it to say what is to be made; it makes nothing."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.asked: list[dict[str, Any]] = []
        super().__init__(str(path), _Api)


class _Api(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._answer(200, b"")

    def do_GET(self) -> None:
        self._answer(200, b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "/containers/create" in self.path:
            assert isinstance(self.server, Daemon)
            self.server.asked.append({"query": self.path.partition("?")[2], **json.loads(body)})
        self._answer(500, b'{"message": "made nothing"}')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Api-Version", "1.45")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "the socket"

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002  # the name of the base class


@pytest.mark.skipif(shutil.which("docker") is None, reason="Docker's command line is not installed")
class TestDockersOwnCommandLine:
    """What Docker's own command line makes of ours, told by a socket in the place of its daemon."""

    @pytest.fixture
    def daemon(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
        path = tmp_path_factory.mktemp("d") / "docker.sock"
        with Daemon(path) as daemon:
            thread = threading.Thread(target=daemon.serve_forever)
            thread.start()
            tool = path.with_name("docker")
            tool.write_text(f'#!/bin/sh\nexec {shutil.which("docker")} --host unix://{path} "$@"\n')
            tool.chmod(0o755)
            monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
            yield daemon
            daemon.shutdown()
            thread.join()

    def test_a_job_gets_all_gpus_and_nothing_of_the_machine_but_its_folder(
        self, machine: Machine, daemon: Daemon
    ) -> None:
        docker = Docker(machine.root, machine.objects, machine, lambda *_: FOLDER, "default:1")
        env = {"KEY": "two\nlines", "PATH": "/opt/bin:/bin", "DOCKER_HOST": "tcp://192.0.2.1:2375", "HOME": "/nowhere"}
        run = MachineRun(wanted=WANTED, image="repo/train:3", command=["python", "-u"], args=["x.py"], env=env)
        process = docker.start("job-1", 2, run)
        machine.started.append(process)
        wait_until(lambda: process.exit_code() is not None, "its end")

        assert process.exit_code() == 125
        (asked,) = daemon.asked
        (folder,) = machine.root.iterdir()
        host = asked["HostConfig"]
        assert asked["query"] == "name=job-1-a2"
        assert (asked["Entrypoint"], asked["Cmd"], asked["Image"]) == (["python"], ["-u", "x.py"], "repo/train:3")
        assert {f"{key}={value}" for key, value in env.items()} <= set(asked["Env"])
        assert (asked["User"], asked["Tty"], asked["OpenStdin"], asked["StopTimeout"]) == ("", False, False, 30)
        assert [(each["Count"], each["Capabilities"]) for each in host["DeviceRequests"]] == [(-1, [["gpu"]])]
        assert [(each["Type"], each["Source"], each["Target"]) for each in host["Mounts"]] == [
            ("bind", f"{folder}/output", "/zeroidle/output"),
            ("bind", f"{folder}/meta.jsonl", "/zeroidle/meta.jsonl"),
        ]
        assert not host["Binds"]
        assert (host["Privileged"], host["CapAdd"], host["Devices"]) == (False, None, [])
        assert (host["NetworkMode"], host["PidMode"], host["IpcMode"]) in [
            (network, "", "host") for network in ("", "default", "bridge")
        ]
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert (host["AutoRemove"], host["Init"], host["OomScoreAdj"]) == (True, True, 500)
        assert host["LogConfig"]["Type"] == "none"
        assert process.publish(FOLDER) == Published(0)
        assert b"made nothing" in machine.kept()["logs/000000.txt"]
