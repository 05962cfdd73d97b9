"""How is a pinned file fetched from the package registry?"""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pin:
    """One file of one release; a source distribution or a wheel."""

    package: str
    version: str
    sha256: str
    file: str

    def fetch(self, into: Path) -> Path:
        """Download the file with pip, which reads the user's own registry settings; return its path."""
        path = into / self.file
        if not path.exists():
            into.mkdir(parents=True, exist_ok=True)
            requirement = into / f"{self.file}.txt"
            # With --require-hashes pip compares before it runs anything of a source distribution.
            requirement.write_text(f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n")
            kind = "--only-binary" if self.file.endswith(".whl") else "--no-binary"
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", kind, ":all:"]
            subprocess.run(
                [*pip, "--require-hashes", "--dest", str(into), "--requirement", str(requirement)], check=True
            )
        self.check(path)
        return path

    def check(self, path: Path) -> None:
        """Raise ValueError unless the file is the pinned one."""
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            raise ValueError(f"{path} has sha256 {found}, not {self.sha256} of {self.package} {self.version}")
