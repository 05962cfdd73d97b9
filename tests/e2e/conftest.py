"""One local cloud for all end-to-end tests that can share it, with the default model in its bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.driver import Driver
from tests.localcloud.recorder import checked_against_discovery, recorded_gateway
from zeroidle.contracts import models as contract
from zeroidle_cli import project
from zeroidle_cli.commands import models
from zeroidle_cli.connection import Connection, connect

__all__ = ["checked_against_discovery", "connection", "driver", "recorded_gateway"]

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "build" / "models" / "sentiment-minilm" / "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests below this folder run real processes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("e2e")
            item.add_marker(pytest.mark.timeout(600))  # longer than what the driver waits for, so that it tells what


@pytest.fixture(scope="session")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A local cloud in this process."""
    if not MODEL.is_dir():
        pytest.fail(f"{MODEL} is missing: run `make setup`")
    with connect(project.find(ROOT), tmp_path_factory.mktemp("state")) as opened:
        add_default_model(opened)
        yield opened


def add_default_model(opened: Connection) -> None:
    """Put the built default model into the model bucket."""
    index = contract.describe(MODEL, name="sentiment-minilm", version="1")
    models.put(opened, MODEL, index, if_missing=True)


@pytest.fixture
def driver(connection: Connection) -> Iterator[Driver]:
    """The shared cloud, without faults before and after."""
    driver = Driver(connection)
    driver.cloud.faults.clear()
    yield driver
    driver.cloud.faults.clear()
