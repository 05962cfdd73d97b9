"""`zeroidle workflows`: what does a person, a script or a pre-commit hook get from it?"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import ROOT, TIMEOUT_S, Call, Called, zeroidle

HEAVY = {"grpc", "aiohttp", "google.cloud.workflows_v1", "starlette", "localcloud.cloud", "cryptography.x509"}
ANSWER = "main:\n  params: [args]\n  steps:\n    - out:\n        return: ${args.n + 1}\n"
FAILING = """\
main:
  steps:
    - outer:
        call: inner
inner:
  steps:
    - look:
        return: ${json.decode("{}").b}
"""
SLEEPER = """\
- nap:
    call: sys.sleep
    args: {seconds: 2592000}
- out:
    return: rested
"""
STEPS = """\
main:
  steps:
    - loop:
        for:
          value: v
          in: [1, 2]
          steps:
            - pick:
                switch:
                  - condition: ${v == 2}
                    next: continue
            - log:
                call: sys.log
                args: {text: hello}
    - sides:
        parallel:
          branches:
            - left:
                steps:
                  - nap:
                      call: sys.sleep
                      args: {seconds: 90}
            - right:
                assign: [{x: 1}]
    - attempt:
        try:
          raise: flaky
        retry:
          predicate: ${retry.always}
          max_retries: 1
          backoff: {initial_delay: 3, max_delay: 3, multiplier: 1}
        except:
          as: e
          steps:
            - end:
                return: ${e}
"""


@pytest.fixture
def source(tmp_path: Path) -> Any:
    """Writes a source to a file."""

    def written(text: str | bytes, name: str = "flow.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


def last(called: Called) -> Any:
    """The object on the last line of stdout."""
    return json.loads(called.out.splitlines()[-1])


def test_a_run_succeeds_with_its_result(call: Call, source: Any) -> None:
    path = source(ANSWER)

    scripted = call("workflows", "run", path, "--args", '{"n": 1}', "--json")
    by_hand = call("workflows", "run", path, "--args", '{"n": 1}')

    assert (scripted.code, last(scripted), scripted.err) == (0, {"state": "SUCCEEDED", "result": 2}, "")
    assert (by_hand.code, by_hand.out) == (0, "2\n")
    assert "SUCCEEDED in" in by_hand.err


def test_the_argument_may_be_a_file_and_the_source_stdin(source: Any, tmp_path: Path) -> None:
    (tmp_path / "args.json").write_text('{"n": 41}')
    ended = subprocess.run(
        [sys.executable, "-m", "zeroidle_cli.main", "workflows", "run", "-", "--args", "@args.json", "--json"],
        input=ANSWER,
        capture_output=True,
        text=True,
        cwd=tmp_path,  # no checkout there
        timeout=TIMEOUT_S,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (0, '{"state": "SUCCEEDED", "result": 42}\n')


def test_a_failure_has_payload_and_context(call: Call, source: Any) -> None:
    failed = call("workflows", "run", source(FAILING), "--json")

    assert failed.code == 1
    assert last(failed) == {
        "state": "FAILED",
        "error": {
            "payload": {"message": "KeyError: key not found: b", "tags": ["KeyError", "LookupError"]},
            "context": "KeyError: key not found: b\n"
            'in step "look", routine "inner", line: 8\n'
            'in step "outer", routine "main", line: 3',
        },
    }


def test_a_failure_is_shown_in_its_source(call: Call, source: Any) -> None:
    path = source(FAILING)

    told = call("workflows", "run", path).err

    assert "FAILED in" in told
    assert "KeyError: key not found: b" in told
    assert f"in step 'look', routine 'inner', {path}:8" in told
    assert "8 |         return: ${json.decode" in told
    assert "\n        |                 ^\n" in told
    assert f"in step 'outer', routine 'main', {path}:3" in told


def test_a_refused_source_is_no_failure(call: Call, source: Any) -> None:
    refused = call("workflows", "run", source("- out:\n    return: ${x}\n"), "--json")

    assert refused.code == 2
    assert last(refused)["state"] == "REFUSED"
    assert set(last(refused)["error"]) == {"message", "step", "routine", "line", "column"}
    assert "symbol 'x' is neither" in last(refused)["error"]["message"]
    assert [last(refused)["error"][key] for key in ("step", "routine", "line", "column")] == ["out", "main", 2, 15]


@pytest.mark.parametrize(
    ("text", "arguments", "told"),
    [
        pytest.param(ANSWER, ["--args", "{"], "not JSON", id="argument that is no JSON"),
        pytest.param(ANSWER, ["--args", json.dumps("x" * 40_000)], "larger than", id="argument over 32 KB"),
        pytest.param(ANSWER, ["--args", "@nowhere.json"], "nowhere.json", id="argument in a missing file"),
        pytest.param(ANSWER, ["--env", "GOOGLE_X=1"], "GOOGLE", id="reserved variable"),
        pytest.param(ANSWER, ["--env", "novalue"], "--env", id="variable without value"),
        pytest.param(b"\xff\xfe\x00", [], "not UTF-8", id="binary source"),
        pytest.param("a: &a [*a]\n", [], "", id="source that contains itself"),
        pytest.param("", [], "", id="empty source"),
        pytest.param("# " + "x" * 10 * 2**20, [], "", id="10 MB source"),
    ],
)
def test_what_cannot_run_is_refused_in_both_forms(
    call: Call, source: Any, text: str | bytes, arguments: list[str], told: str
) -> None:
    path = source(text)

    scripted = call("workflows", "run", path, *arguments, "--json")
    by_hand = call("workflows", "run", path, *arguments)

    assert (scripted.code, by_hand.code) == (2, 2)
    assert last(scripted)["state"] == "REFUSED"
    assert told in last(scripted)["error"]["message"]
    assert told in by_hand.err
    assert "Traceback" not in by_hand.err + scripted.err


def test_a_missing_file_is_refused(call: Call) -> None:
    assert last(call("workflows", "run", "nowhere.yaml", "--json")) == {
        "state": "REFUSED",
        "error": {
            "message": "nowhere.yaml: No such file or directory",
            "step": None,
            "routine": None,
            "line": None,
            "column": None,
        },
    }


def test_sleeps_can_be_skipped(call: Call, source: Any) -> None:
    ended = call("workflows", "run", source(SLEEPER), "--skip-sleeps")

    assert ended.out == '"rested"\n'
    assert "SUCCEEDED in 720h 00m, 2 steps" in ended.err


def test_the_steps_are_told_as_they_happen(call: Call, source: Any) -> None:
    told = call("workflows", "run", source(STEPS), "--skip-sleeps").err.splitlines()

    assert [re.sub(r"  \d+ ms$", "", line) for line in told if "sides took" not in line] == [
        "loop  for",
        "  [1/2]",
        "    pick  switch",
        "    info: hello"[4:],
        "    log  call sys.log",
        "  [2/2]",
        "    pick  switch",
        "      condition 1/1",
        "sides  parallel",
        "  left| branch left",
        "  right| branch right",
        "    right| right  assign",
        "    left| nap  call sys.sleep  90.0 s",
        "attempt  try",
        "  attempt  raise",
        '    ! RuntimeError: "flaky"',
        "  retry 1 in 3.0 s",
        "  attempt 2",
        "    attempt  raise",
        '      ! RuntimeError: "flaky"',
        "  except",
        "    end  return",
        "attempt took 3.0 s",
        "SUCCEEDED in 93.0 s, 11 steps",
    ]


def test_a_run_that_takes_too_long_is_cancelled(call: Call, source: Any) -> None:
    ended = call("workflows", "run", source(SLEEPER), "--timeout", "0.05", "--json")

    assert ended.code == 1
    assert last(ended)["state"] == "CANCELLED"


def test_ctrl_c_cancels_a_run(source: Any) -> None:
    path = source("- say:\n    call: sys.log\n    args: {text: begun}\n" + SLEEPER)
    running = subprocess.Popen(
        [sys.executable, "-m", "zeroidle_cli.main", "workflows", "run", str(path), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        cwd=ROOT,
    )
    assert running.stderr is not None
    assert running.stderr.readline() == "info: begun\n"

    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=TIMEOUT_S)

    assert running.returncode == 130
    assert json.loads(out)["state"] == "CANCELLED"
    assert err == ""


@pytest.fixture
def peer() -> Iterator[str]:
    """An HTTP server that answers with what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"path": self.path, "agent": self.headers["User-Agent"]}).encode()
            self.send_response(200 if self.path == "/ok" else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", ["/ok", "/broken"])
def test_calls_reach_this_machine(call: Call, source: Any, peer: str, path: str) -> None:
    get = {"call": "http.get", "args": {"url": peer + path}, "result": "r"}
    flow = source(json.dumps([{"get": get}, {"out": {"return": "${r.body.path}"}}]))

    ended = call("workflows", "run", flow, "--json")

    if path == "/ok":
        assert last(ended) == {"state": "SUCCEEDED", "result": "/ok"}
    else:
        assert last(ended)["error"]["payload"]["code"] == 503
        assert last(ended)["error"]["payload"]["body"]["path"] == "/broken"


def test_calls_leave_the_machine_only_when_allowed(call: Call, source: Any) -> None:
    path = source("- get:\n    call: http.get\n    args: {url: 'http://host.invalid/'}\n")

    refused = last(call("workflows", "run", path, "--json"))["error"]["payload"]["message"]
    tried = last(call("workflows", "run", path, "--json", "--allow-host", "*.invalid"))["error"]["payload"]["message"]

    assert "--allow-host" in refused
    assert "--allow-host" not in tried


def test_connectors_find_a_local_cloud_of_their_own(call: Call, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    path = source("- get:\n    call: googleapis.storage.v1.objects.get\n    args: {bucket: none, object: none}\n")

    assert last(call("workflows", "run", path, "--json"))["error"]["payload"]["code"] == 404


def test_a_callback_reaches_a_source_that_waits_for_one(source: Any) -> None:
    path = source("""
- open:
    call: events.create_callback_endpoint
    args: {http_callback_method: OPTIONS}
    result: endpoint
- tell:
    call: sys.log
    args: {text: '${endpoint.url}'}
- wait:
    call: events.await_callback
    args: {callback: '${endpoint}'}
    result: got
- out:
    return: ${got.http_request.method}
""")
    running = subprocess.Popen(
        [sys.executable, "-m", "zeroidle_cli.main", "workflows", "run", str(path), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert running.stderr is not None
    url = running.stderr.readline().removeprefix("info: ").strip()

    urllib.request.urlopen(urllib.request.Request(url, method="OPTIONS"), timeout=TIMEOUT_S).close()

    assert json.loads(running.communicate(timeout=TIMEOUT_S)[0]) == {"state": "SUCCEEDED", "result": "OPTIONS"}


def test_connectors_call_the_endpoint_that_is_given(call: Call, source: Any, peer: str) -> None:
    args = "{project: p, zone: z, instance: i}"
    path = source(f"- get:\n    call: googleapis.compute.v1.instances.get\n    args: {args}\n")

    ended = call("workflows", "run", path, "--skip-sleeps", "--endpoint", f"compute={peer}", "--json")

    assert last(ended)["error"]["payload"]["body"]["path"] == "/compute/v1/projects/p/zones/z/instances/i"


def test_check_tells_each_problem_with_its_place(call: Call, source: Any) -> None:
    good, bad = source(ANSWER), source("- out:\n    return: ${x}\n", "bad.yaml")

    checked = call("workflows", "check", good, bad, bad)

    assert checked.code == 1
    assert checked.err == ""
    lines = checked.out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{bad}:2:15: ") and "symbol 'x'" in line for line in lines)


def test_check_of_good_sources_says_nothing(call: Call, source: Any) -> None:
    assert call("workflows", "check", source(ANSWER), ROOT / "workflows" / "pipeline.yaml") == Called(0, "", "")


def test_check_tells_an_unreadable_file_apart(call: Call, source: Any) -> None:
    assert call("workflows", "check", source(ANSWER), "nowhere.yaml").code == 2


def test_check_answers_in_json(call: Call, source: Any) -> None:
    bad = source("- out:\n    return: ${x}\n")

    (told,) = call("workflows", "check", bad, "--json").json["files"]

    assert told["file"] == str(bad)
    assert set(told["problems"][0]) == {"message", "step", "routine", "line", "column"}


def test_a_run_needs_neither_checkout_nor_cloud(source: Any) -> None:
    loaded = zeroidle("workflows", "run", source(ANSWER), "--args", '{"n": 1}', "--json", PYTHONPROFILEIMPORTTIME="1")

    assert loaded.code == 0
    imported = {line.rpartition("|")[2].strip() for line in loaded.err.splitlines()}
    assert HEAVY.isdisjoint(imported)
