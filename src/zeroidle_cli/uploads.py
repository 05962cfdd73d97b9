"""How does a file become a job? Put into the input bucket, with the options as the object's metadata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zeroidle.contracts import names
from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import PermanentError, printable
from zeroidle_cli.connection import Connection


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was put into the input bucket, and the job this makes."""

    path: Path
    ref: ObjectRef
    job_id: str


def check(paths: list[Path]) -> None:
    """Raises PermanentError for what cannot be uploaded, before anything is."""
    for path in paths:
        if not path.exists():
            raise PermanentError(f"no such file: {printable(str(path), 300)}", code="NO_SUCH_FILE")
        if not path.is_file():
            raise PermanentError(
                f"{printable(str(path), 300)} is not a file",
                code="NOT_A_FILE",
                hint="Name the files one by one, for example with a pattern: zeroidle run data/*.jsonl",
            )


def upload(connection: Connection, path: Path, options: dict[str, str]) -> Upload:
    """Put `path` into the input bucket under its own name."""
    metadata = {f"zeroidle-{name}": value for name, value in options.items()}
    target = ObjectRef(bucket=connection.bucket("input"), name=path.name)
    generation = str(connection.objects.write(target, path, metadata=metadata))
    ref = ObjectRef(bucket=target.bucket, name=target.name, generation=generation)
    return Upload(path, ref, names.job_id_for_upload(ref.bucket, ref.name, generation))
