"""What does a test pay for a local cloud of its own? `python -m benchmarks.local_cloud_start [--json]`

Clouds one after another in this process, as the pytest plugin makes them: from nothing to the first bucket made over
HTTP, and back. The first one pays for the imports and stands in a row of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

CLOUDS = 40


def measure() -> dict[str, dict[str, float]]:
    """Row -> milliseconds, of wall time and of CPU time."""
    first = _one()
    rest = [_one() for _ in range(CLOUDS)]
    return {
        "the first, with imports": dict(zip(("wall_ms", "cpu_ms"), first, strict=True)),
        f"median of {CLOUDS} more": {
            "wall_ms": statistics.median(wall for wall, _ in rest),
            "cpu_ms": statistics.median(cpu for _, cpu in rest),
        },
    }


def _one() -> tuple[float, float]:
    wall, cpu = time.monotonic(), time.process_time()
    import urllib3

    from localcloud.cloud import CloudConfig, running

    with (
        tempfile.TemporaryDirectory() as state,
        running(CloudConfig(state=Path(state), frozen_clock=True)) as cloud,
    ):
        url = f"{cloud.http_url}/storage/v1/b?project=local"
        assert urllib3.request("POST", url, json={"name": "bucket"}, retries=False).status == 200
    return (time.monotonic() - wall) * 1000, (time.process_time() - cpu) * 1000


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    rows = measure()
    if parser.parse_args().json:
        print(json.dumps(rows))
        return
    print("| a local cloud for one test | wall ms | CPU ms |\n|---|---:|---:|")
    for name, row in rows.items():
        print(f"| {name} | {row['wall_ms']:.0f} | {row['cpu_ms']:.0f} |")


if __name__ == "__main__":
    main()
