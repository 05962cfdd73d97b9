"""What is said where Google's emulator cannot be started."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from localcloud.gateway import PortInUse
from localcloud.official.errors import EmulatorFailed, NotInstalled
from localcloud.official.process import JARS, Emulator, java_command


def an_sdk(folder: Path, *versions: str) -> dict[str, str]:
    """An environment that names an SDK with these emulators, and a Java that can't run them."""
    for version in versions:
        jar = folder / JARS.replace("*", version)
        jar.parent.mkdir(parents=True, exist_ok=True)
        jar.touch()
    java = folder / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'no \033[31mluck' >&2\nexit 3\n")
    java.chmod(0o755)
    return {"CLOUDSDK_ROOT_DIR": str(folder), "JAVA_HOME": str(folder / "java"), "PATH": os.environ["PATH"]}


def test_a_missing_emulator_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(NotInstalled, match="gcloud components install pubsub-emulator"):
        java_command(an_sdk(tmp_path))


def test_a_missing_java_says_where_it_was_sought(tmp_path: Path) -> None:
    environment = an_sdk(tmp_path, "0.8.20")
    with pytest.raises(NotInstalled, match=r"no `java` in JAVA_HOME=.*Java 11"):
        java_command({**environment, "JAVA_HOME": str(tmp_path / "none")})
    with pytest.raises(NotInstalled, match="on the PATH"):
        java_command({"CLOUDSDK_ROOT_DIR": str(tmp_path), "PATH": str(tmp_path)})


def test_the_newest_emulator_is_taken(tmp_path: Path) -> None:
    assert "0.8.37" in java_command(an_sdk(tmp_path, "0.8.6", "0.8.37"))[-1]


def test_a_port_in_use_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"Pub/Sub port {port}"):
            Emulator(port, tmp_path, an_sdk(tmp_path, "0.8.20"))


def test_an_emulator_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    async def start() -> None:
        emulator = Emulator(0, tmp_path, an_sdk(tmp_path, "0.8.20"))
        try:
            await emulator.start()
        finally:
            await emulator.stop()

    with pytest.raises(EmulatorFailed, match=r"ended as it started: no \[31mluck"):
        asyncio.run(start())
