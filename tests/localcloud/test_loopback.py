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


def test_the_whole_cloud_works_without_a_network_and_wants_none():
    told = offline()

    assert told["results"] == {
        "event": ["google.cloud.storage.object.v1.finalized"],
        "pulled": 1,
        "workflow": "200",
        "gcloud": "gs://uploads/" if shutil.which("gcloud") else None,
    }
    assert len(told["listening"]) >= 3  # HTTP, gRPC, a service
    assert {address for address in told["listening"] if not ipaddress.ip_address(address).is_loopback} == set()
    assert told["lost"] == 0


def test_a_program_that_talks_to_the_outside_would_be_seen():
    assert offline("--escape")["lost"] == 2
