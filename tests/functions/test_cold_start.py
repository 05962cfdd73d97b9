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


def imported_by(target: str) -> set[str]:
    program = f"import json, sys, main\n{TARGETS[target]}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT / "functions",
        env=ENVIRONMENT,
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
    assert not modules & {"google.cloud.workflows", "google.cloud.compute_v1"}


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_in_main(target: str) -> None:
    assert f"def {target}(" in (ROOT / "functions" / "main.py").read_text()
