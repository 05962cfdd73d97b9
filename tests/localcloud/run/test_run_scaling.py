"""Do real processes come and go with the requests?"""

from __future__ import annotations

import os
import signal
import textwrap

import pytest

from localcloud.run.logs import LogFiles
from localcloud.run.state import Probe
from tests.localcloud.run.run_bench import SERVICE, until


def test_requests_during_a_cold_start_share_the_instance(bench):
    bench.deploy(max_instances=5)
    for name in "abcd":
        bench.finish(name)

    answers = [bench.background(f"/wait/{name}") for name in "abcd"]

    assert len({answer.result().json()["pid"] for answer in answers}) == 1
    assert len(bench.run.events) == 1


def test_more_requests_than_one_instance_takes_start_another(bench):
    bench.deploy(concurrency=1, max_instances=3)
    answers = [bench.background(f"/wait/{name}") for name in "abcd"]
    until(lambda: sum((bench.files / f"{name}.begun").exists() for name in "abcd") == 3)
    waiting = bench.run.service("echo").waiting

    for name in "abcd":
        bench.finish(name)

    assert waiting == 1
    assert all(answer.result().status == 200 for answer in answers)
    assert len({answer.result().json()["pid"] for answer in answers}) == 3


def test_waiting_requests_are_served_in_the_order_they_came(bench):
    bench.deploy(concurrency=1)
    answers = []
    for number, name in enumerate("abc"):
        answers.append(bench.background(f"/wait/{name}"))
        if number == 0:
            bench.begun("a")
        else:
            until(lambda expected=number: bench.run.service("echo").waiting == expected)

    for name, after in zip("abc", ["b", "c", None], strict=True):
        begun = [other for other in "abc" if (bench.files / f"{other}.begun").exists()]
        assert begun == list("abc"[: "abc".index(name) + 1])
        bench.finish(name)
        if after:
            bench.begun(after)

    assert [answer.result().status for answer in answers] == [200] * 3


def test_a_full_queue_refuses_the_next_request(bench):
    bench.deploy(concurrency=1, max_queue=1)
    first = bench.background("/wait/a")
    bench.begun("a")
    second = bench.background("/wait/b")
    until(lambda: bench.run.service("echo").waiting == 1)

    refused = bench.get("/")

    bench.finish("a")
    bench.finish("b")
    assert refused.status == 429
    assert refused.json()["error"]["message"].endswith("because there was no available instance.")
    assert [first.result().status, second.result().status] == [200, 200]


def test_an_idle_instance_is_stopped_and_the_next_request_starts_another(bench):
    bench.deploy(idle_s=900)
    first = bench.get("/").json()["pid"]

    bench.clock.advance(seconds=899)
    kept = len(bench.instances())
    bench.clock.advance(seconds=1)
    until(lambda: bench.instances() == [])

    assert kept == 1
    assert bench.get("/").json()["pid"] != first


def test_a_busy_instance_is_not_idle_however_long_it_takes(bench):
    bench.deploy(idle_s=10, timeout_s=3600)
    bench.get("/")
    answer = bench.background("/wait/a")
    bench.begun("a")

    bench.clock.advance(seconds=60)
    bench.finish("a")

    assert answer.result().status == 200
    bench.clock.advance(seconds=10)
    until(lambda: bench.instances() == [])


def test_the_minimum_of_instances_starts_with_the_deployment_and_stays(bench):
    bench.deploy(min_instances=1, max_instances=2, concurrency=1, idle_s=10)
    until(lambda: [instance.phase.value for instance in bench.instances()] == ["ready"])
    answers = [bench.background(f"/wait/{name}") for name in "ab"]
    bench.begun("a")
    bench.begun("b")
    for name in "ab":
        bench.finish(name)
    assert [answer.result().status for answer in answers] == [200, 200]
    until(lambda: sum(instance.active for instance in bench.instances()) == 0)

    bench.clock.advance(seconds=60)

    until(lambda: len(bench.instances()) == 1)
    bench.call(bench.instances()[0].kill)
    until(lambda: [i.phase.value for i in bench.instances()] == ["ready"] and len(bench.run.events) == 3)


def test_a_new_revision_takes_the_requests_while_the_old_one_finishes_its_own(bench):
    bench.deploy()
    old = bench.background("/wait/a")
    bench.begun("a")

    bench.deploy(env={"FILES": str(bench.files), "VERSION": "2"})
    new = bench.get("/").json()
    bench.finish("a")

    assert new["env"]["VERSION"] == "2"
    assert new["env"]["K_REVISION"] != old.result().json()["env"]["K_REVISION"]
    assert old.result().json()["pid"] != new["pid"]
    until(lambda: [instance.pid for instance in bench.instances()] == [new["pid"]])


def test_deploying_the_same_again_changes_nothing(bench):
    bench.deploy()
    pid = bench.get("/").json()["pid"]

    bench.deploy()

    assert bench.get("/").json()["pid"] == pid


def test_an_instance_that_does_not_start_is_a_503_and_tried_again_after_a_while(bench):
    bench.deploy(script="import sys; sys.exit('no model: weights.safetensors')")

    failed = bench.get("/")
    at_once = bench.get("/")
    attempts = len(bench.run.events)
    bench.clock.advance(seconds=1)
    bench.get("/")

    assert failed.status == at_once.status == 503
    assert failed.headers["retry-after"] == "1"
    assert "ended with exit code 1 before it was ready" in failed.json()["error"]["message"]
    assert "echo.jsonl" in failed.json()["error"]["hint"]
    system = [entry["entry"] for entry in LogFiles(bench.context.store.directory).new() if entry["stream"] == "system"]
    assert any("no model: weights.safetensors" in entry.get("stderr", "") for entry in system)
    assert attempts == 1
    assert len(bench.run.events) == 2


def test_a_minimum_instance_that_ends_at_once_is_not_started_without_end(bench):
    script = "import os, socket; socket.create_server((os.environ['HOST'], int(os.environ['PORT']))).accept()"
    bench.deploy(script=script, min_instances=1)
    until(lambda: bench.run.events and bench.instances() == [])
    attempts = [len(bench.run.events)]

    for seconds in (1, 2):
        bench.clock.advance(seconds=seconds)
        until(lambda: len(bench.run.events) == attempts[-1] + 1 and bench.instances() == [])
        attempts.append(len(bench.run.events))

    assert attempts == [1, 2, 3]


def test_an_instance_that_no_longer_listens_is_replaced_as_nothing_was_sent_to_it(bench):
    script = textwrap.dedent("""
        import os, pathlib, socket, time
        server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
        while True:
            connection, _ = server.accept()
            if connection.recv(65536):
                break
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
        server.close()
        pathlib.Path(os.environ["FILES"], "deaf.begun").touch()
        while not pathlib.Path(os.environ["FILES"], "end").exists():
            time.sleep(0.01)
    """)
    bench.deploy(script=script)
    bench.get("/")
    bench.begun("deaf")

    answer = bench.background("/", method="POST", body=b"x")
    bench.finish("end")

    assert answer.result().status == 200
    assert len(bench.run.events) == 2


def test_a_command_that_does_not_exist_is_said_so(bench):
    bench.deploy()
    spec = bench.run.service("echo").spec
    bench.call(bench.run.deploy, type(spec)("echo", ("/no/such/program",), cwd=bench.files, public=True))

    assert "exit code 127" in bench.get("/").json()["error"]["message"]


def test_a_working_directory_that_does_not_exist_is_said_so(bench):
    bench.deploy()
    spec = bench.run.service("echo").spec
    bench.call(bench.run.deploy, type(spec)("echo", ("true",), cwd=bench.files / "no", public=True))

    assert "No such file or directory" in bench.get("/").json()["error"]["message"]


def test_an_instance_that_never_listens_is_given_up_and_ended(bench):
    bench.deploy(script="import time; time.sleep(60)", startup_timeout_s=0.3)

    answer = bench.get("/")

    assert answer.status == 503
    assert "was not ready on port" in answer.json()["error"]["message"]
    assert bench.instances() == []


def test_an_instance_is_ready_once_its_health_path_answers_200(bench):
    script = textwrap.dedent("""
        import os, pathlib
        from http.server import BaseHTTPRequestHandler, HTTPServer
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                go = pathlib.Path(os.environ["FILES"], "loaded").exists()
                if self.path == "/health/ready":
                    pathlib.Path(os.environ["FILES"], "probed").touch()
                self.send_response(200 if go else 503)
                self.end_headers()
        HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
    """)
    bench.deploy(script=script, health_path="/health/ready")
    answer = bench.background("/")
    until((bench.files / "probed").exists)
    phase = bench.instances()[0].phase.value

    bench.finish("loaded")

    assert phase == "starting"
    assert answer.result().status == 200
    times = bench.run.events[0]
    assert times.spawned < times.listening < times.ready <= times.first_request


STUBBORN = textwrap.dedent("""
    import os, signal, socket, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-S", "-c", "import signal, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('armed', flush=True); time.sleep(600)"],
        stdout=subprocess.PIPE)
    child.stdout.readline()
    server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
    while True:
        connection, _ = server.accept()
        if connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\nConnection: close\\r\\n\\r\\nx")
        connection.close()
""")


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_instance_that_ignores_sigterm_is_killed_with_its_children(bench):
    bench.deploy(script=STUBBORN)
    bench.get("/")
    instance = bench.instances()[0]

    bench.await_(instance.stop(grace_s=0.1))

    assert instance.exit_code == -9
    until(lambda: not group_lives(instance.pid))


@pytest.mark.parametrize("moment", ["starting", "ready"])
def test_stopping_the_cloud_ends_all_instances_quickly(bench, moment: str):
    bench.deploy(min_instances=2, max_instances=2)
    until(lambda: [i.phase.value for i in bench.instances() if i.pid] == [moment] * 2)
    instances = bench.instances()

    bench.await_(bench.run.stop())

    assert [instance.phase.value for instance in instances] == ["ended", "ended"]
    assert not any(group_lives(instance.pid) for instance in instances)


def test_a_request_that_waits_while_the_cloud_stops_is_refused(bench):
    bench.deploy(concurrency=1)
    working, waiting = bench.background("/wait/a"), None
    bench.begun("a")
    waiting = bench.background("/wait/b")
    until(lambda: bench.run.service("echo").waiting == 1)

    bench.await_(bench.run.stop())

    assert [working.result().status, waiting.result().status] == [503, 503]
    assert "shutting down" in waiting.result().json()["error"]["message"]


# Is well for as long as the file `well` is there.
MORTAL = SERVICE.replace(
    '        if self.path.startswith("/wait/"):',
    """        if self.path == "/alive" and not pathlib.Path(os.environ["FILES"], "well").exists():
            return self.send_error(503)
        if self.path.startswith("/wait/"):""",
)


def test_an_instance_that_fails_its_liveness_probe_is_killed_and_replaced(bench):
    (bench.files / "well").touch()
    bench.deploy(script=MORTAL, liveness=Probe("/alive", period_s=10, failure_threshold=2))
    first = bench.get("/").json()["pid"]
    instance = bench.instances()[0]
    bench.clock.advance(seconds=10)
    (bench.files / "well").unlink()

    def fails() -> bool:
        bench.clock.advance(seconds=10)
        return instance.exit_code is not None

    until(fails)

    assert instance.exit_code == -signal.SIGKILL
    (bench.files / "well").touch()
    until(lambda: bench.instances() == [])
    assert bench.get("/").json()["pid"] != first
    entries = [entry["entry"] for entry in LogFiles(bench.context.store.directory).new() if "entry" in entry]
    assert "instance failed its liveness probe 2 times and is killed" in [entry["message"] for entry in entries]


def test_an_instance_that_is_well_stays(bench):
    bench.deploy(liveness=Probe(period_s=10), idle_s=3600)
    pid = bench.get("/").json()["pid"]

    for _ in range(5):
        bench.clock.advance(seconds=10)

    assert bench.get("/").json()["pid"] == pid
