"""Does an execution that cannot go on, or whose end cannot be stored, end with the reason?"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from localcloud.store import Store
from localcloud.workflows.journal import TABLE as JOURNAL
from tests.localcloud.workflows.workflows_cloud import open_cloud


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param("revision gone", "is gone", id="source gone"),
        pytest.param("source broken", "failed to build", id="source that can no longer be built"),
        pytest.param("journal", "replay diverged", id="journal of another program"),
    ],
)
def test_what_cannot_go_on_after_a_restart_fails_with_the_reason(tmp_path: Path, damage: str, reason: str) -> None:
    source = "- a:\n    call: sys.sleep\n    args: {seconds: 5}\n- b:\n    call: sys.sleep\n    args: {seconds: 50}\n"

    async def scenario() -> None:
        cloud = open_cloud(tmp_path)
        parent = cloud.deploy(source)
        name = cloud.workflows.create_execution(parent).name
        await cloud.until(lambda: cloud.workflows.get(name).current == ("main", "b"))
        workflow = cloud.workflows.workflow(parent)
        await cloud.workflows.stop()
        store, key = cloud.context.store, f"flow/{workflow.revision}"
        changed = {"source broken": "- a:\n    return: ${x}\n", "journal": "- a:\n    return: '${uuid.generate()}'\n"}
        if damage == "revision gone":
            store.delete("workflows.revisions", key)
        else:
            spec = replace(workflow.spec, source=changed[damage])
            store.put("workflows.revisions", key, msgspec.msgpack.encode(msgspec.structs.replace(workflow, spec=spec)))
        store.close()

        cloud = open_cloud(tmp_path)
        await cloud.workflows.start()
        ended = await cloud.finished(name)

        assert ended.state == "FAILED"
        assert ended.error is not None
        assert "could not go on after a restart" in ended.error.context
        assert reason in ended.error.context
        assert cloud.workflows.is_idle()
        await cloud.workflows.stop()
        cloud.context.store.close()

    asyncio.run(scenario())


class RefusingStore(Store):
    """Refuses one write of the named table: the first after `armed`."""

    armed: str = ""

    def put(self, table: str, key: str, value: bytes) -> None:
        if table == self.armed:
            self.armed = ""
            raise ValueError("it cannot be stored")
        super().put(table, key, value)


@pytest.mark.parametrize("table", ["workflows.executions", "workflows.steps", "workflows.ended"])
def test_an_end_that_cannot_be_stored_is_a_failure_with_the_reason(table: str) -> None:
    async def scenario() -> None:
        cloud = open_cloud(store=RefusingStore())
        store = cloud.context.store
        assert isinstance(store, RefusingStore)
        name = cloud.workflows.create_execution(cloud.deploy("- a:\n    return: 1\n")).name
        store.armed = table

        ended = await cloud.finished(name)

        assert (ended.state, ended.result) == ("FAILED", None)
        assert ended.error is not None
        assert ended.error.context == (
            "The execution ended as SUCCEEDED, which could not be stored: ValueError: it cannot be stored"
        )
        assert cloud.workflows.is_idle()
        assert not list(store.items("workflows.active"))
        await cloud.workflows.stop()
        store.close()

    asyncio.run(scenario())


def test_an_execution_that_cannot_be_begun_again_fails_and_keeps_no_other_from_going_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        cloud = open_cloud(tmp_path)
        parent = cloud.deploy("- a:\n    call: sys.sleep\n    args: {seconds: 10}\n- b:\n    return: 1\n")
        broken, whole = (cloud.workflows.create_execution(parent).name for _ in range(2))
        await cloud.until(lambda: cloud.workflows.get(whole).current == ("main", "a"))
        await cloud.workflows.stop()
        cloud.context.store.put(JOURNAL, f"flow/{broken.rpartition('/')[2]}/00000000", b"no record")
        cloud.context.store.close()

        cloud = open_cloud(tmp_path)
        await cloud.workflows.start()
        ends = [await cloud.finished(name) for name in (broken, whole)]

        assert [end.state for end in ends] == ["FAILED", "SUCCEEDED"]
        assert ends[0].error is not None
        assert "could not go on after a restart" in ends[0].error.context
        await cloud.workflows.stop()
        cloud.context.store.close()

    asyncio.run(scenario())
