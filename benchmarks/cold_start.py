"""What does a cold start of each function cost, beside one that imports the Compute Engine client as most bundles do?

    python -m benchmarks.cold_start [--json]

Each row is the median of five fresh processes: CPU seconds and resident memory after importing functions/main.py and
building what its first request uses. No request is made and nothing is contacted. Packages that the functions' lock
does not list are hidden, since they are not there when deployed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = 5
JOBS, LEDGER = "main.wiring.context()", "main.wiring.job_store()"
TARGETS = {
    "on_upload": JOBS,
    "on_job_start": JOBS,
    "on_job_stop": JOBS,
    "on_job_heartbeat": JOBS,
    "on_job_meta": LEDGER,
    "on_tick": JOBS,
}
BASE, PEER = "functions_framework alone", "google.cloud.compute_v1"
HIDE = """
import os, sys
sys.modules.update(dict.fromkeys(os.environ.pop("HIDDEN").split(",")))  # None: such an import fails
"""
MEASURE = """
import json, resource
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"cpu_s": usage.ru_utime + usage.ru_stime, "rss_mib": usage.ru_maxrss / 1024}))
"""


def measure() -> dict[str, dict[str, float]]:
    """Row -> CPU seconds and MiB."""
    programs = {BASE: "import functions_framework"}
    programs |= {target: f"import main\n{use}" for target, use in TARGETS.items()}
    programs[PEER] = "import functions_framework, google.cloud.compute_v1"
    hidden = _hidden()
    return {name: _median(program, hidden) for name, program in programs.items()}


def table(rows: dict[str, dict[str, float]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| function | CPU s | MiB |", "|---|---:|---:|"]
    lines += [f"| {name} | {row['cpu_s']:.2f} | {row['rss_mib']:.0f} |" for name, row in rows.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    rows = measure()
    print(json.dumps(rows, indent=2) if options.json else table(rows))


def _hidden() -> list[str]:
    """Top-level modules that only packages outside the functions' lock provide."""
    lock = (ROOT / "functions" / "requirements.txt").read_text()
    locked = {_plain(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}
    kept = locked | {"zeroidle", "google-cloud-compute"}
    found = packages_distributions()
    return [module for module, owners in found.items() if not kept & {_plain(owner) for owner in owners}]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _median(program: str, hidden: list[str]) -> dict[str, float]:
    runs = [_run(program, hidden) for _ in range(RUNS)]
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _run(program: str, hidden: list[str]) -> dict[str, float]:
    environment = {
        **os.environ,
        "HIDDEN": ",".join(hidden),
        "GOOGLE_CLOUD_PROJECT": "bench",
        "ZEROIDLE_REGION": "us-central1",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
        "WORKFLOWS_EMULATOR_HOST": "127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-c", HIDE + program + MEASURE],
        cwd=ROOT / "functions",
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
