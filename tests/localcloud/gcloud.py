"""Calls the real gcloud against a local cloud, as a person would after `eval "$(zeroidle env)"`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import pytest

from localcloud.cloud import LocalCloud

TIMEOUT_S = 120

GCLOUD = shutil.which("gcloud")

needs_gcloud = pytest.mark.skipif(GCLOUD is None, reason="gcloud is not installed")
# A call takes a second or two of CPU time: what goes beyond `test_gcloud.py` is asked for.
thorough = pytest.mark.skipif(
    GCLOUD is None or os.environ.get("GCLOUD_TESTS") != "all", reason="needs gcloud, and GCLOUD_TESTS=all"
)


def gcloud(
    cloud: LocalCloud,
    *arguments: object,
    input: str | bytes | None = None,  # noqa: A002  # as subprocess calls it
    expect: int | None = 0,
    timeout_s: float = TIMEOUT_S,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """`gcloud ARGUMENTS`, which must end with exit code `expect` (None: any); the variables given are set besides.

    Output is text; what is not UTF-8 in it is kept by surrogates (`stdout.encode(errors="surrogateescape")`).
    """
    # Of the caller's own environment only what any program needs: no setting of a gcloud that somebody uses here.
    own = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    own["CLOUDSDK_STORAGE_PROCESS_COUNT"] = "1"  # for a few small files it would start a pool of processes
    ended = subprocess.run(
        [GCLOUD or "gcloud", *map(str, arguments)],
        env={**own, **cloud.environment(), **cloud.gcloud_environment(), **environment},
        input=input.decode(errors="surrogateescape") if isinstance(input, bytes) else input or "",
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=timeout_s,
    )
    if expect is not None and ended.returncode != expect:
        command = shlex.join(["gcloud", *map(str, arguments)])
        pytest.fail(f"`{command}` ended with {ended.returncode}, not {expect}\n{ended.stdout}\n{ended.stderr}")
    return ended
