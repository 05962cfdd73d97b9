"""How fast is JSON Lines read and cut into shards, and in how much memory?

    python -m benchmarks.preprocess [--mb 100] [--json]

Ours reads the file, checks every record and writes Arrow shards; pandas only reads it into a frame. Each figure is the
median of three rounds, the sides taking turns, every run in a fresh process that has read a few records before: CPU
and wall time, and the most memory the process ever held.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from benchmarks.tables import Figures, machine, median
from zeroidle.contracts.services import Folder, InputOptions, ObjectRef, PreprocessRequest
from zeroidle.errors import MissingObject
from zeroidle.ports import ObjectInfo

ROOT = Path(__file__).parents[1]
ROUNDS = 3
TEXT = """It was a good film, great even; the café was not. Terrible service, rude staff, naïve to come again.
The hotel was clean and friendly, the room worth its price, and the food wonderful: I would recommend it every time."""


class Files:
    """What preprocess uses of `zeroidle.ports.Objects`, over one input file and a directory of shards."""

    def __init__(self, source: Path, work: Path) -> None:
        self._source = source
        self._work = work
        self.written_bytes = 0

    def stat(self, ref: ObjectRef) -> ObjectInfo | None:
        exact = ObjectRef(bucket=ref.bucket, name=ref.name, generation="1")
        return ObjectInfo(exact, self._source.stat().st_size, "", {}, 0.0)

    def open(self, ref: ObjectRef) -> BinaryIO:
        return self._source.open("rb")

    def read(self, ref: ObjectRef) -> tuple[bytes, int]:
        raise MissingObject(f"no {ref.name}")

    def write(self, ref: ObjectRef, data: bytes | Path, **_: object) -> int:
        assert isinstance(data, bytes)
        (self._work / ref.name.rpartition("/")[2]).write_bytes(data)
        self.written_bytes += len(data)
        return 1


def generate(path: Path, is_enough: Callable[[int, int], bool]) -> int:
    """Write reviews of 5 to 40 words as JSON Lines until `is_enough(records, bytes)`; the number of records."""
    chance, words, records, size = random.Random(1), TEXT.split(), 0, 0
    with path.open("wb") as file:
        while not is_enough(records, size):
            text = " ".join(chance.choices(words, k=chance.randint(5, 40)))
            record = {
                "id": f"review-{records}",
                "text": text,
                "label": chance.choice(("positive", "negative")),
                "stars": 4.5,
            }
            size += file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            records += 1
    return records


def run_ours(path: Path) -> int:
    """Preprocess a file into shards in a temporary directory; the records read."""
    from services.preprocess.step import preprocess

    request = PreprocessRequest(
        job_id="bench",
        attempt=1,
        input=ObjectRef(bucket="input", name=path.name),
        work=Folder(bucket="work", prefix="bench"),
        options=InputOptions(),
    )
    with tempfile.TemporaryDirectory() as work:
        return preprocess(request, cast(Any, Files(path, Path(work))), lambda _: []).records


def run_pandas(path: Path) -> int:
    """Read a file with pandas; the records read."""
    import pandas

    return len(pandas.read_json(path, lines=True))


SIDES: Mapping[str, Callable[[Path], int]] = {"ours": run_ours, "pandas": run_pandas}


def in_child(side: str, path: Path) -> dict[str, float]:
    """One run in a fresh process: records, wall_s, cpu_s, rss_mib."""
    command = [sys.executable, "-m", "benchmarks.preprocess", "--child", side, str(path)]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(answer.stdout)
    return result


def child(side: str, path: Path) -> dict[str, float]:
    """What `in_child` runs."""
    with tempfile.TemporaryDirectory() as directory:  # imports, and what is loaded at the first use
        few = Path(directory) / "few.jsonl"
        generate(few, lambda records, _: records == 10)
        SIDES[side](few)
    wall, cpu = time.perf_counter(), time.process_time()
    records = SIDES[side](path)
    return {
        "records": records,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "rss_mib": _peak_kib() / 1024,
    }


def _peak_kib() -> int:
    # Not ru_maxrss, which on Linux also counts what the parent held when it started this process.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


def measure(path: Path) -> Figures:
    """The table."""
    runs = {side: [] for side in SIDES}
    for _ in range(ROUNDS):
        for side in SIDES:
            runs[side].append(in_child(side, path))
    figures = Figures(f"JSON Lines, {path.stat().st_size / 1e6:.0f} MB, {int(runs['ours'][0]['records']):,} records")
    megabytes = path.stat().st_size / 1e6
    for side, results in runs.items():
        assert results[0]["records"] == runs["ours"][0]["records"]
        figures.rows.append(
            {
                "": "ours: read, check, write shards" if side == "ours" else "pandas: read_json(lines=True)",
                "MB/CPU-s": megabytes / median([result["cpu_s"] for result in results]),
                "MB/s": megabytes / median([result["wall_s"] for result in results]),
                "peak MiB": median([result["rss_mib"] for result in results]),
            }
        )
    ours, pandas = figures.rows
    figures.notes.append(
        f"{ours['MB/CPU-s'] / pandas['MB/CPU-s']:.1f} times the speed by CPU time,"
        f" {pandas['peak MiB'] / ours['peak MiB']:.1f} times less memory; {machine()}"
    )
    return figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preprocess", description=__doc__)
    parser.add_argument("--mb", type=float, default=100, help="size of the file in megabytes")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        sys.stdout.write(json.dumps(child(options.child[0], Path(options.child[1]))))
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "reviews.jsonl"
        generate(path, lambda _, size: size >= options.mb * 1e6)
        measure(path).print(as_json=options.json)


if __name__ == "__main__":
    main()
