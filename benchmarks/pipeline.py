"""How long from upload to result, warm and from zero, and how many files at once?

    python -m benchmarks.pipeline [--files 1000] [--json]

The peer is the floor: the same three service requests made by hand, one after another, on the same instances. What the
pipeline adds to the services' own work is its overhead: storage, events, function, ledger, workflow, progress.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from google.cloud import storage

from benchmarks.tables import Figures, machine, median, percentile
from zeroidle.contracts import codec, names
from zeroidle.contracts.records import Job, State
from zeroidle.contracts.services import ObjectRef
from zeroidle.gcp.objects import GoogleObjects

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "build" / "models" / "sentiment-minilm" / "1"
SMALL = b"".join(b'{"text": "Record %d of a small file is rather good."}\n' % n for n in range(10))
WARM_RUNS, COLD_RUNS = 40, 3
TIMEOUT_S = 900


@dataclass
class Cloud:
    """A local cloud in a process of its own."""

    pid: int
    url: str
    objects: GoogleObjects

    def admin(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A call of the admin API."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_localcloud/{path}", data)
        with urllib.request.urlopen(request, timeout=60) as response:
            return dict(json.load(response))

    def bucket(self, key: str) -> str:
        return names.bucket_name("local", key)

    def upload(self, name: str, data: bytes) -> str:
        """The job of a new file."""
        bucket = self.bucket("input")
        generation = self.objects.write(ObjectRef(bucket=bucket, name=name), data)
        return names.job_id_for_upload(bucket, name, str(generation))

    def job(self, job_id: str) -> Job | None:
        """Its record, if there is one."""
        ref = ObjectRef(bucket=self.bucket("jobs"), name=names.job_record(job_id))
        return codec.decode(self.objects.read(ref)[0], Job) if self.objects.stat(ref) else None

    def wait(self, job_id: str, poll_s: float = 0.05) -> Job:
        """The record once the job is over."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            job = self.job(job_id)
            if job is not None and job.state.is_terminal:
                assert job.state is State.SUCCEEDED, job.failure
                return job
            time.sleep(poll_s)
        raise TimeoutError(job_id)

    def peak_memory_mb(self) -> float:
        """The largest resident set of the local cloud's process so far."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


@contextmanager
def local_cloud() -> Iterator[Cloud]:
    """One on a temporary state, with the default model."""
    with tempfile.TemporaryDirectory(prefix="zeroidle-bench-") as state:
        command = [sys.executable, "-m", "zeroidle_cli.main"]
        add = [*command, "models", "add", str(MODEL), "--state", state]
        subprocess.run(add, check=True, cwd=ROOT, stderr=subprocess.DEVNULL)
        up = [*command, "up", "--state", state, "--http-port", "0", "--grpc-port", "0", "--json"]
        process = subprocess.Popen(up, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            told = json.loads(_document(process.stdout))
            os.environ.update(told["environment"])
            yield Cloud(process.pid, told["http"], GoogleObjects(storage.Client(project="local")))
        finally:
            process.terminate()
            process.wait(30)


def _document(lines: Any) -> str:
    """The first JSON document that a stream prints, indented, ends with a lone brace."""
    text = ""
    for line in lines:
        text += line
        if line.rstrip() == "}":
            break
    return text


@dataclass
class Run:
    """One small file; milliseconds."""

    job: Job
    total: float  # from the start of the upload to its summary.json
    work: float  # of this the services' own

    @property
    def overhead(self) -> float:
        return self.total - self.work


def measure_one(cloud: Cloud, name: str) -> Run:
    """Upload one small file and wait for its result."""
    # Storage dates objects by the local cloud's clock, which may have been moved ahead.
    ahead = datetime.fromisoformat(cloud.admin("clock")["time"]).timestamp() - time.time()
    started = time.time() + ahead
    job = cloud.wait(cloud.upload(name, SMALL), poll_s=0.02)
    assert job.result is not None
    summary = cloud.objects.stat(ObjectRef(bucket=cloud.bucket("output"), name=f"{job.result.prefix}/summary.json"))
    assert summary is not None
    work = sum(stage.busy_s or 0 for stage in job.stages)
    return Run(job, (summary.created - started) * 1000, work * 1000)


def by_hand(cloud: Cloud, name: str) -> float:
    """Milliseconds of the same three requests, made one after another by one client; the floor."""
    generation = cloud.objects.write(ObjectRef(bucket=cloud.bucket("input"), name=name), SMALL)
    job_id = names.job_id_for_upload(cloud.bucket("input"), name, str(generation))
    cloud.wait(job_id)
    source = {"bucket": cloud.bucket("input"), "name": name, "generation": str(generation)}
    work = {"bucket": cloud.bucket("work"), "prefix": f"bench/{job_id}"}
    common = {"job_id": job_id, "attempt": 1}
    started = time.perf_counter()
    _post(cloud, "preprocess", "/v1/preprocess", {**common, "input": source, "work": work})
    shard = {"bucket": work["bucket"], "name": f"{work['prefix']}/shards/00000.arrow"}
    predictions = {"bucket": work["bucket"], "name": f"{work['prefix']}/predictions/00000.arrow"}
    infer = {**common, "shard": shard, "predictions": predictions, "model": {"name": "sentiment-minilm"}}
    _post(cloud, "gpu-inference", "/v1/infer", infer)
    # So that postprocess has its work to do once more.
    cloud.objects.delete(ObjectRef(bucket=cloud.bucket("jobs"), name=names.result_claim(job_id)))
    output = {"bucket": cloud.bucket("output"), "prefix": f"bench/{job_id}"}
    publish = {**common, "input": source, "work": work, "output": output, "jobs_bucket": cloud.bucket("jobs")}
    _post(cloud, "postprocess", "/v1/postprocess", publish)
    return (time.perf_counter() - started) * 1000


def _post(cloud: Cloud, service: str, path: str, body: dict[str, Any]) -> None:
    url = f"{cloud.url}/run/{names.resource_name(service)}"
    token = cloud.admin(f"identity-token?audience={url}", {})["token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as response:
        response.read()


def warm(cloud: Cloud) -> Figures:
    """One small file at a time, everything running."""
    for n in range(5):
        measure_one(cloud, f"warm-up-{n}.jsonl")
    runs, floors = [], []
    for n in range(WARM_RUNS):
        runs.append(measure_one(cloud, f"warm-{n}.jsonl"))
        if n % 4 == 0:
            floors.append(by_hand(cloud, f"hand-{n}.jsonl"))
    table = Figures(f"Upload to result, one small file, warm ({WARM_RUNS} runs), ms")
    rows = [
        ("from upload to result", [run.total for run in runs]),
        ("  the services' own work", [run.work for run in runs]),
        ("  all the rest (aim: 150 at the median, 400 at p95)", [run.overhead for run in runs]),
        ("the three requests by hand (floor)", floors),
    ]
    table.rows = [{"": name, "median": median(values), "p95": percentile(values, 0.95)} for name, values in rows]
    table.notes = [machine()]
    return table


def from_zero(cloud: Cloud) -> list[Figures]:
    """One small file when nothing runs: where the time goes, and what each cold start takes, by part."""
    starts: dict[str, list[dict[str, float]]] = {}
    runs = []
    for n in range(COLD_RUNS):
        _to_zero(cloud)
        before = len(cloud.admin("instances")["cold_starts"])
        runs.append(measure_one(cloud, f"cold-{n}.jsonl"))
        for start in cloud.admin("instances")["cold_starts"][before:]:
            starts.setdefault(start["service"], []).append(start)
    path = Figures(f"From zero, one small file ({COLD_RUNS} runs), median seconds")
    jobs = [run.job for run in runs]
    accepted = [job.stages[0].started_at - job.created_at for job in jobs]
    path.rows.append({"": "event, function and workflow start", "waiting": median(accepted), "at work": ""})
    for index, stage in enumerate(jobs[0].stages):
        took = [(job.stages[index].finished_at or 0) - job.stages[index].started_at for job in jobs]
        busy = [job.stages[index].busy_s or 0 for job in jobs]
        waited = median([t - b for t, b in zip(took, busy, strict=True)])
        path.rows.append({"": stage.name, "waiting": waited, "at work": median(busy)})
    path.rows.append({"": "upload to result", "waiting": median([run.total for run in runs]) / 1000, "at work": ""})
    parts = Figures("Cold starts by part, median seconds")
    for service, seen in starts.items():
        listening = median([s["listening"] - s["spawned"] for s in seen if s["listening"]])
        ready = median([s["ready"] - s["spawned"] for s in seen if s["ready"]])
        parts.rows.append({"": service, "process to port": listening, "port to ready": ready - listening})
    parts.notes = [
        "A function's port is open before its source is imported: `python -m benchmarks.cold_start` shows that part.",
        machine(),
    ]
    return [path, parts]


def _to_zero(cloud: Cloud) -> None:
    """Let every instance idle out; the tick's may stay, since it is not on the way of a file."""
    end = time.monotonic() + 60
    while {i["service"] for i in cloud.admin("instances")["instances"]} - {"zeroidle-on-tick"}:
        assert time.monotonic() < end, "instances are still there"
        if cloud.admin("health")["idle"]:
            cloud.admin("clock", {"advance_s": 400})
        time.sleep(0.5)


def burst(cloud: Cloud, files: int) -> Figures:
    """Many small files at once."""
    measure_one(cloud, "burst-warm-up.jsonl")
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda n: cloud.upload(f"burst-{n:05d}.jsonl", SMALL), range(files)))
    uploaded = time.monotonic() - started
    done = [cloud.wait(job_id, poll_s=0.2) for job_id in jobs]
    took = time.monotonic() - started
    table = Figures(f"{files:,} files at once")
    table.rows = [
        {"": "files per second, upload to result", "value": files / took},
        {"": "files per second, upload alone (the client's ceiling)", "value": files / uploaded},
        {"": "lost", "value": files - len(done)},
        {"": "peak memory of the local cloud, MB", "value": cloud.peak_memory_mb()},
    ]
    table.notes = [machine()]
    return table


def main() -> None:
    """Run all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="files of the burst")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with local_cloud() as cloud:
        warm(cloud).print(as_json=given.json)
        burst(cloud, given.files).print(as_json=given.json)
        for table in from_zero(cloud):
            table.print(as_json=given.json)


if __name__ == "__main__":
    main()
