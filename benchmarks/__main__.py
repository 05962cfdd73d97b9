"""All benchmarks, one after another, each in a process of its own: `python -m benchmarks`."""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    "pipeline",
    "cold_start",
    "inference",
    "preprocess",
    "local_cloud_start",
    "storage",
    "pubsub",
    "workflows",
    "jobs",
    "placement",
)


def main() -> None:
    """Run all; exits with the first failure's code."""
    for module in MODULES:
        finished = subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *sys.argv[1:]], check=False)
        if finished.returncode:
            sys.exit(finished.returncode)


if __name__ == "__main__":
    main()
