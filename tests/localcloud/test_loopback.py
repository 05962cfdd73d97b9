"""Does everything of the local cloud stay on this machine, whatever makes its sockets?

It runs whole in a network that has nothing but the loopback interface, where the kernel counts what wanted to go
elsewhere: gRPC's own sockets, those of services, of workflows and of gcloud included.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.localcloud.official.conftest import installed

__all__ = ["installed"]

SCRIPT = Path(__file__).with_name("whole_cloud_offline.py")
ALONE = ["unshare", "--map-root-user", "--net"]


@functools.cache
def _refusal() -> str:
    """Why this machine gives no network of one's own, if it does not."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return "there is no `unshare` here"
    return subprocess.run([*ALONE, "true"], capture_output=True, text=True).stderr.strip()


def offline(*arguments: str) -> Any:
    """What the script told."""
    if reason := _refusal():
        pytest.skip(reason)
    ended = subprocess.run(
        [*ALONE, sys.executable, "-m", "tests.localcloud.whole_cloud_offline", *arguments],
        cwd=SCRIPT.parents[2],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def check(told: Any, *, least_listening: int) -> None:
    """Everything worked, and nothing listens or goes elsewhere."""
    assert told["results"] == {
        "seen": ["google.cloud.storage.object.v1.finalized", "task in local", "token of a service", "vm "],
        "page": [200, 200, 200],
        "pulled": 1,
        "workflow": "200",
        "gcloud": "gs://uploads/" if shutil.which("gcloud") else None,
    }
    assert len(told["listening"]) >= least_listening
    assert {address for address in told["listening"] if not ipaddress.ip_address(address).is_loopback} == set()
    assert told["lost"] == 0


def test_the_whole_cloud_works_without_a_network_and_wants_none():
    check(offline(), least_listening=5)  # HTTP, gRPC, a service, its metadata server and that of a VM


@pytest.mark.official
@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_so_it_does_with_google_s_pubsub_emulator():
    check(offline("--official"), least_listening=6)


def test_a_program_that_talks_to_the_outside_would_be_seen():
    assert offline("--escape")["lost"] == 2
