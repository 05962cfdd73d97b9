"""Where Google's emulator is missing, the tests that need it are skipped."""

from __future__ import annotations

import os

import pytest

from localcloud.official.errors import NotInstalled
from localcloud.official.process import java_command


@pytest.fixture(scope="session")
def installed() -> None:
    """Java and the emulator are there."""
    try:
        java_command(os.environ)
    except NotInstalled as missing:
        pytest.skip(str(missing))
