"""Does a list read what it shows and no more, and does what is gone leave nothing behind?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from google.cloud.workflows import executions_v1

from localcloud.workflows import methods, records
from localcloud.workflows.errors import ApiError
from tests.localcloud.workflows.workflows_cloud import Cloud, on_cloud, open_cloud

SOURCE = "- out:\n    return: 1\n"


class Reads:
    """How many executions were decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._decoded = records.decoded
        monkeypatch.setattr(records, "decoded", self._counted)

    def _counted(self, row: bytes) -> Any:
        self.count += 1
        return self._decoded(row)


async def executed(cloud: Cloud, count: int, name: str = "flow") -> list[str]:
    """The names of executions that have ended, a second apart, the newest first."""
    parent = cloud.deploy(SOURCE, name=name)
    names: list[str] = []
    for _ in range(count):
        names.insert(0, cloud.workflows.create_execution(parent).name)
        await cloud.finished(names[0])
        cloud.clock.advance(seconds=1)
    return names


def page(cloud: Cloud, name: str = "flow", **fields: Any) -> tuple[list[str], str]:
    request = executions_v1.ListExecutionsRequest(parent=cloud.workflows.resource_name(name), **fields)
    found, _ = methods.list_executions(cloud.workflows, request)
    return [each.name for each in found.items], found.next_token


def test_a_page_decodes_what_it_shows_and_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(cloud: Cloud) -> None:
        names = await executed(cloud, 9)
        reads, shown, token = Reads(monkeypatch), [], ""
        for expected in (5, 5, 1):
            reads.count = 0
            found, token = page(cloud, page_size=4, page_token=token)
            shown += found
            assert reads.count == expected
        assert (shown, token) == (names, "")

    on_cloud(scenario)


def test_a_filter_and_an_order_need_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(cloud: Cloud) -> None:
        names = await executed(cloud, 3)
        reads = Reads(monkeypatch)
        assert page(cloud, page_size=1, filter='state="SUCCEEDED"')[0] == names[:1]
        assert page(cloud, page_size=1, order_by="createTime")[0] == names[-1:]
        assert reads.count == 6

    on_cloud(scenario)


def test_a_list_goes_on_when_the_last_that_was_shown_is_gone() -> None:
    async def scenario(cloud: Cloud) -> None:
        names = await executed(cloud, 3)
        _, token = page(cloud, page_size=2)
        cloud.clock.advance(seconds=records.KEPT_S - 1.5)
        assert page(cloud, page_size=2, page_token=token) == ([], "")
        assert page(cloud)[0] == names[:1]

    on_cloud(scenario)


@pytest.mark.parametrize("token", ["WyJhIiwgMV0=", "WzEsICJhIl0=", "eyJhIjogMX0=", "WyJcdWQ4MDAiLCAiYSJd", "%", "é"])
def test_a_token_that_no_list_has_given_is_refused(token: str) -> None:
    async def scenario(cloud: Cloud) -> None:
        cloud.deploy(SOURCE)
        with pytest.raises(ApiError, match="page_token"):
            page(cloud, page_token=token)

    on_cloud(scenario)


def test_a_token_of_another_workflow_is_refused() -> None:
    async def scenario(cloud: Cloud) -> None:
        await executed(cloud, 2)
        await executed(cloud, 2, name="other")
        with pytest.raises(ApiError, match="another list"):
            page(cloud, name="other", page_token=page(cloud, page_size=1)[1])

    on_cloud(scenario)


def test_a_deleted_workflow_leaves_nothing_of_its_executions() -> None:
    async def scenario(cloud: Cloud) -> None:
        await executed(cloud, 2)
        cloud.workflows.create_execution(cloud.deploy("- nap:\n    call: sys.sleep\n    args: {seconds: 60}\n"))
        cloud.workflows.delete(cloud.workflows.resource_name("flow"))
        cloud.clock.advance(seconds=records.KEPT_S + 1)
        cloud.workflows.records.prune(cloud.clock.time())

        tables = ("executions", "executions.newest", "active", "ended", "steps", "journal")
        assert [cloud.context.store.count(f"workflows.{table}") for table in tables] == [0] * len(tables)

    on_cloud(scenario)


def test_executions_of_a_state_from_before_there_was_an_order_are_listed(tmp_path: Path) -> None:
    async def scenario() -> None:
        cloud = open_cloud(tmp_path)
        names = await executed(cloud, 3)
        cloud.context.store.delete_all("workflows.executions.newest", "")
        await cloud.workflows.stop()
        cloud.context.store.close()

        cloud = open_cloud(tmp_path)
        await cloud.workflows.start()
        assert page(cloud)[0] == names
        await cloud.workflows.stop()
        cloud.context.store.close()

    asyncio.run(scenario())


def test_executions_are_forgotten_90_days_after_their_end() -> None:
    async def scenario(cloud: Cloud) -> None:
        old = (await cloud.run("- out:\n    return: 1\n")).name
        cloud.clock.advance(hours=24 * 45)
        new = (await cloud.run("- out:\n    return: 1\n")).name
        cloud.clock.advance(hours=24 * 45 + 1)

        parent = cloud.workflows.resource_name("flow")
        assert [each.name for _, each in cloud.workflows.newest(parent)] == [new]
        with pytest.raises(ApiError):
            cloud.workflows.get(old)
        assert len(list(cloud.context.store.items("workflows.steps"))) == 1
        assert len(list(cloud.context.store.items("workflows.ended"))) == 1

    on_cloud(scenario)
