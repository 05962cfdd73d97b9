"""How long does a local cloud take to start? `python -m benchmarks.local_cloud_start [--json]`

As a process of its own, from its start until both ports answer: empty, and with all that `zeroidle up` deploys, on a
new state and on one that is there. What a start leaves for later is imported by the first request that needs it, so
first requests have rows too. As a test has it, in the test's process: from nothing to the first bucket made over HTTP,
and back. CPU time is of the cloud's process, in steps of 10 ms where it is another one.
"""

from __future__ import annotations

import argparse
import base64
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import urllib3

from benchmarks import servers
from benchmarks.servers import Server
from benchmarks.tables import Figures, machine, median

STARTS, CLOUDS = 7, 40
Cost = tuple[float, float]  # wall and CPU, in seconds
FLOW = "main:\n  steps:\n    - out:\n        return: 42\n"


def processes() -> Figures:
    """Clouds in processes, the first of each kind not counted: it may compile."""
    found: dict[str, list[Cost]] = {}
    for _ in range(STARTS + 1):
        with tempfile.TemporaryDirectory(prefix="bench-start-") as directory, servers.ours(Path(directory)) as server:
            _note(found, "empty: both ports answer", (server.seconds, server.cpu_s()))
            _first_requests(found, server)
        with tempfile.TemporaryDirectory(prefix="bench-start-") as directory:
            for name in ("zeroidle up: new", "zeroidle up: again, on the same state"):
                with servers.zeroidle_up(Path(directory)) as server:
                    _note(found, name, (server.seconds, server.cpu_s()))
    return _table("A local cloud as a process", {name: costs[1:] for name, costs in found.items()})


def _first_requests(found: dict[str, list[Cost]], server: Server) -> None:
    topic = f"{server.http}/v1/projects/local/topics/news"
    message = {"messages": [{"data": base64.b64encode(b"hello").decode()}]}
    flows = f"{server.http}/v1/projects/local/locations/us-central1/workflows"
    requests: dict[str, Callable[[], None]] = {
        "then: list buckets": lambda: _called("GET", f"{server.http}/storage/v1/b?project=local"),
        "then: show the console": lambda: _called("GET", f"{server.http}/"),
        "then: make a topic": lambda: _called("PUT", topic, {}),
        "then: publish": lambda: _called("POST", f"{topic}:publish", message),
        "then: deploy a workflow": lambda: _called("POST", f"{flows}?workflowId=flow", {"sourceContents": FLOW}),
        "then: execute it": lambda: _called("POST", f"{flows}/flow/executions", {}),
    }
    for name, request in requests.items():
        wall, cpu = time.perf_counter(), server.cpu_s()
        request()
        _note(found, name, (time.perf_counter() - wall, server.cpu_s() - cpu))


def _called(method: str, url: str, body: object = None) -> None:
    answer = urllib3.request(method, url, json=body, retries=False)
    assert answer.status == 200, answer.data


def in_process() -> Figures:
    """Clouds one after another in this process, as the pytest plugin makes them; the first one pays for the imports."""
    found = {"the first, with imports": [_one()], f"median of {CLOUDS} more": [_one() for _ in range(CLOUDS)]}
    return _table("A local cloud for one test", found)


def _one() -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()

    from localcloud.cloud import CloudConfig, running

    with (
        tempfile.TemporaryDirectory() as state,
        running(CloudConfig(state=Path(state), frozen_clock=True)) as cloud,
    ):
        _called("POST", f"{cloud.http_url}/storage/v1/b?project=local", {"name": "bucket"})
    return time.perf_counter() - wall, time.process_time() - cpu


def _note(found: dict[str, list[Cost]], name: str, cost: Cost) -> None:
    found.setdefault(name, []).append(cost)


def _table(title: str, found: dict[str, list[Cost]]) -> Figures:
    figures = Figures(title)
    for name, costs in found.items():
        wall, cpu = zip(*costs, strict=True)
        figures.rows.append({"": name, "wall ms": 1000 * median(wall), "CPU ms": 1000 * median(cpu)})
    figures.notes.append(machine())
    return figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.local_cloud_start", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    for table in (in_process(), processes()):
        table.print(as_json=options.json)


if __name__ == "__main__":
    main()
