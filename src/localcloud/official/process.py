"""How does Google's Pub/Sub emulator run beside the local cloud? As a process that ends with it, however that ends.

It is started without gcloud, which takes seconds and leaves the emulator behind when it is killed.
https://cloud.google.com/pubsub/docs/emulator
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from localcloud.gateway import HOST, bind
from localcloud.official.errors import EmulatorFailed, NotInstalled
from localcloud.run.watchdog import Watchdog

JARS = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
SDKS = ("/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "~/google-cloud-sdk")
# Starts in half the time of the defaults, in a fraction of their memory.
JAVA_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
LOG = "official-pubsub.log"
START_S = 60.0
POLL_S = 0.05
KEPT_WORDS = 400

_LOGGING = Path(__file__).with_name("logging.properties")


class Emulator:
    """One process of it. `address` is known before it is started."""

    def __init__(self, port: int, directory: Path, environment: Mapping[str, str] = os.environ) -> None:
        """Port 0 takes any free one; the log goes to `directory`.

        Raises:
            NotInstalled: Java or the emulator is missing.
            localcloud.gateway.PortInUse: the port given is taken.
        """
        self._command = [*java_command(environment), f"--host={HOST}"]
        # Held until the emulator listens on it, which SO_REUSEADDR lets it: nobody else gets it for a connection.
        self._held = bind(port, "Pub/Sub")
        self._port = int(self._held.getsockname()[1])
        self.address = f"{HOST}:{self._port}"
        self._log = directory / LOG
        self._watchdog = Watchdog()
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns once it answers. Raises EmulatorFailed."""
        with self._log.open("wb") as log:
            # Not the loop's own: uvloop forks, which gRPC's threads do not survive; this one uses vfork.
            self._process = subprocess.Popen(  # noqa: ASYNC220  # takes a millisecond
                self._watchdog.command((*self._command, f"--port={self._port}")),
                stdin=self._watchdog.pipe(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watchdog.born(self._process.pid)
        try:
            async with asyncio.timeout(START_S):
                await self._until_it_answers(self._process)
        except TimeoutError:
            raise EmulatorFailed(f"Google's Pub/Sub emulator did not answer in {START_S:g} s: {self.words()}") from None
        finally:
            self._held.close()

    async def stop(self) -> None:
        """End it; it has nothing to put in order."""
        self._held.close()
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.to_thread(self._process.wait)
        self._watchdog.ended(self._process.pid)
        self._watchdog.close()
        self._process = None

    async def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process is not None, "not started"  # noqa: S101  # a mistake of ours, not of a caller
        return await asyncio.to_thread(self._process.wait)

    def words(self) -> str:
        """The end of what it wrote, on one line."""
        text = self._log.read_text(encoding="utf-8", errors="replace")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[-KEPT_WORDS:]

    async def _until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, self._port)
                writer.close()
                return
            if process.poll() is not None:
                raise EmulatorFailed(f"Google's Pub/Sub emulator ended as it started: {self.words()}")
            await asyncio.sleep(POLL_S)


def java_command(environment: Mapping[str, str]) -> list[str]:
    """The command that starts the newest emulator installed. Raises NotInstalled."""
    jars = sorted((jar for sdk in _sdks(environment) for jar in sdk.glob(JARS)), key=_version)
    if not jars:
        raise NotInstalled(
            "Google's Pub/Sub emulator is not installed: `gcloud components install pubsub-emulator`, or on Debian"
            " `apt-get install google-cloud-cli-pubsub-emulator`; an SDK elsewhere is named by CLOUDSDK_ROOT_DIR"
        )
    home = environment.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else environment.get("PATH"))
    if java is None:
        where = f"in JAVA_HOME={home!r:.200}" if home else "on the PATH"
        raise NotInstalled(f"there is no `java` {where}: Google's Pub/Sub emulator needs Java 11 or newer")
    return [java, *JAVA_OPTIONS, f"-Djava.util.logging.config.file={_LOGGING}", "-jar", str(jars[-1])]


def _version(jar: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", jar.name)]


def _sdks(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where Google's SDK may be: as named, or around `gcloud` and in the usual places."""
    named = environment.get("CLOUDSDK_ROOT_DIR")
    if named:
        yield Path(named)
        return
    gcloud = shutil.which("gcloud", path=environment.get("PATH"))
    if gcloud:
        yield Path(gcloud).resolve().parents[1]
    for usual in SDKS:
        yield Path(usual).expanduser()
