"""What does a function import? Cold starts are paid for by the first user."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.cold_start import ROOT, TARGETS

ENVIRONMENT = {
    "GOOGLE_CLOUD_PROJECT": "test",
    "ZEROIDLE_REGION": "us-central1",
    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
    "WORKFLOWS_EMULATOR_HOST": "127.0.0.1:9",
}


# An idle tick, and a workflow job from its start to the tick after it, over a ledger in memory and the real clients.
CALLS = """
from msgspec.structs import replace
from tests.simulation.sim_world import World
from zeroidle.contracts.events import PubSubMessage
from zeroidle.gcp.fleet import GoogleFleet
from zeroidle.gcp.publisher import GooglePublisher
from zeroidle.handlers.on_job_start import on_job_start
from zeroidle.handlers.on_tick import on_tick
world = World()
fleet, publisher = GoogleFleet("test", "http://127.0.0.1:9"), GooglePublisher("test", "127.0.0.1:9")
world.context = replace(world.context, fleet=fleet, publisher=publisher)
on_tick(world.context, PubSubMessage(b"", {}, "t", world.time))
world.start("job-1")
world.deliver(world.inbox[0])
assert len(world.executions.active()) == 1
on_tick(world.context, PubSubMessage(b"", {}, "t", world.time))
"""


def imported_by(target: str) -> set[str]:
    return imported(TARGETS[target])


def imported(program: str) -> set[str]:
    """The modules that a process has after it."""
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys, main\n{program}\nprint(json.dumps(sorted(sys.modules)))"],
        cwd=ROOT / "functions",
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    return set(json.loads(done.stdout))


def test_a_function_of_jobs_imports_what_its_first_request_uses_and_no_more() -> None:
    modules = imported_by("on_upload")

    assert {"google.cloud.storage", "google.cloud.workflows.executions_v1", "zeroidle.gcp.executions"} <= modules
    assert not modules & {"google.cloud.compute_v1", "google.pubsub_v1", "google.cloud.pubsub_v1", "pyarrow", "torch"}
    assert not {name for name in modules if name.startswith(("localcloud", "zeroidle_cli", "services"))}


def test_the_function_that_starts_nothing_imports_no_workflows() -> None:
    modules = imported_by("on_job_meta")

    assert "google.cloud.storage" in modules
    assert not modules & {"google.cloud.workflows", "google.cloud.compute_v1", "google.pubsub_v1"}


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_in_main(target: str) -> None:
    assert f"def {target}(" in (ROOT / "functions" / "main.py").read_text()


def test_only_the_call_that_needs_a_vm_imports_the_client_of_vms() -> None:
    modules = imported(CALLS)
    with_a_vm = imported(CALLS + "assert fleet._groups and publisher")

    assert not modules & {"google.cloud.compute_v1", "google.pubsub_v1"}
    assert "google.cloud.compute_v1" in with_a_vm
