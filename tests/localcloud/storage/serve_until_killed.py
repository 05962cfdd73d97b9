"""A storage emulator as a process, for tests that kill it; prints its address. The argument is its directory."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.localcloud.storage.storage_cloud import Cloud, Host

if __name__ == "__main__":
    cloud = Cloud(Host(), Path(sys.argv[1]))
    print(cloud.url, flush=True)  # noqa: T201  # read by the test
    while True:
        time.sleep(60)
