"""Where is the JSON Schema of each message, generated from the types?

python -m zeroidle.contracts.schemas docs/schemas            write them
python -m zeroidle.contracts.schemas --check docs/schemas    exit 1 if one is stale
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from zeroidle.contracts import messages, records

SCHEMAS: dict[str, type[msgspec.Struct]] = {
    "start": messages.Start,
    "stop": messages.Stop,
    "heartbeat": messages.Heartbeat,
    "meta": messages.Meta,
    "job": records.Job,
    "error": records.ErrorFile,
}


def generate() -> dict[str, bytes]:
    """File name -> content of every schema."""
    return {
        f"{name}.schema.json": msgspec.json.format(
            msgspec.json.encode(msgspec.json.schema(kind, schema_hook=_any), order="deterministic"), indent=2
        )
        + b"\n"
        for name, kind in SCHEMAS.items()
    }


def _any(kind: type) -> dict[str, object]:
    """The schema of a type msgspec has none for: `object` takes any JSON value."""
    if kind is object:
        return {"description": "any JSON value"}
    raise NotImplementedError(kind)


def stale(folder: Path) -> list[str]:
    """Names of the files in `folder` that are missing or differ from what the types say."""
    return [
        name
        for name, content in generate().items()
        if not (path := folder / name).is_file() or path.read_bytes() != content
    ]


def main(arguments: Sequence[str]) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m zeroidle.contracts.schemas")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is stale")
    options = parser.parse_args(arguments)
    if options.check:
        names = stale(options.folder)
        sys.stderr.writelines(f"{options.folder / name} is stale\n" for name in names)
        return 1 if names else 0
    for name, content in generate().items():
        (options.folder / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
