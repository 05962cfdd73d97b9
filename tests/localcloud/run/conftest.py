"""A running Cloud Run for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localcloud.run.run_bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One with the service `echo` already up, for tests that only look at what passes through."""
    bench = Bench(tmp_path_factory.mktemp("warm"))
    bench.deploy()
    bench.get("/")
    yield bench
    bench.close()
