"""Does an execution go on after the process was killed, without repeating what had completed?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from localcloud.store import Store
from localcloud.workflows.callbacks import TABLE as CALLBACKS
from localcloud.workflows.journal import TABLE as JOURNAL
from localcloud.workflows.state import Workflows
from tests.localcloud.workflows.workflows_cloud import Cloud, open_cloud

# Branches finish in an order of their own, write it to a shared list, and tell a service what they saw.
SOURCE = """
main:
  params: [args]
  steps:
    - init:
        assign:
          - order: []
          - id: ${uuid.generate()}
          - began: ${sys.now()}
    - begin:
        call: http.post
        args: {url: '${args.url + "/begin"}', body: {id: '${id}'}}
    - fan_out:
        parallel:
          shared: [order]
          for:
            value: v
            in: [3, 1, 2]
            steps:
              - nap:
                  call: sys.sleep
                  args: {seconds: '${v * 10}'}
              - flaky:
                  try:
                    call: http.post
                    args: {url: '${args.url + "/flaky/" + v}', body: {seen: '${len(order)}'}}
                    result: answer
                  retry: ${http.default_retry}
              - note:
                  assign: [{order: '${list.concat(order, v)}'}]
              - tell:
                  call: http.post
                  args: {url: '${args.url + "/tell/" + v}', body: {order: '${order}'}}
    - long:
        call: sys.sleep
        args: {seconds: 3600}
    - ended:
        call: http.post
        args: {url: '${args.url + "/end"}', body: {id: '${id}', order: '${order}'}}
        result: last
    - out:
        return: {id: '${id}', order: '${order}', took: '${sys.now() - began}', echoed: '${last.body.id}'}
"""


class Killed(BaseException):
    """The process is gone."""


class DyingStore(Store):
    """Kills the process before the journal row number `left` is written."""

    left: float = float("inf")

    def put(self, table: str, key: str, value: bytes) -> None:
        if table == JOURNAL:
            self.left -= 1
            if self.left < 0:
                raise Killed
        super().put(table, key, value)


@asynccontextmanager
async def service() -> AsyncIterator[tuple[str, list[tuple[str, Any]]]]:
    """A service that notes its calls; the first of each /flaky path is refused."""
    calls: list[tuple[str, Any]] = []

    async def handle(request: web.Request) -> web.Response:
        body = await request.json()
        known = [path for path, _ in calls]
        calls.append((request.path, body))
        refused = request.path.startswith("/flaky") and request.path not in known
        return web.json_response(body, status=503 if refused else 200)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2]), calls
    finally:
        await runner.cleanup()


async def abandon(cloud: Cloud) -> None:
    """Leave the service as a killed process does: nothing more is written."""
    live = [each.task for each in cloud.workflows._live.values()]
    for task in live:
        task.cancel()
    await asyncio.gather(*live, return_exceptions=True)
    await cloud.workflows.http.close()


async def killed_after(writes: float) -> tuple[dict[str, Any], list[tuple[str, Any]], int]:
    """The result, the calls and the journal's length at the kill, of an execution killed before a journal write."""
    async with service() as (url, calls):
        cloud = open_cloud(store=DyingStore())
        store = cloud.context.store
        assert isinstance(store, DyingStore)
        store.left = writes
        parent = cloud.deploy(SOURCE)
        name = cloud.workflows.create_execution(parent, json.dumps({"url": url})).name
        task = cloud.workflows._live[name].task
        await cloud.until(task.done)
        await abandon(cloud)
        rows = len(list(store.items(JOURNAL)))
        store.left = float("inf")

        cloud.workflows = Workflows(cloud.context)
        await cloud.workflows.start()
        execution = await cloud.finished(name)
        await cloud.workflows.stop()
        assert execution.state == "SUCCEEDED", execution.error
        assert not list(store.items(JOURNAL))
        store.close()
        return json.loads(execution.result or "null"), calls, rows


def test_an_execution_resumes_from_a_kill_at_every_effect() -> None:
    async def scenario() -> None:
        result, undisturbed, _ = await killed_after(float("inf"))
        assert result["order"] == [1, 2, 3]
        assert result["took"] >= 3600
        effects = 0
        while True:
            result, calls, rows = await killed_after(effects)
            assert rows in (effects, 0)
            assert result["order"] == [1, 2, 3]
            ids = {body["id"] for path, body in calls if path in ("/begin", "/end")}
            # A kill before the row of the id's own generation leaves nothing that was sent.
            assert ids == {result["id"]} == {result["echoed"]}
            told = {path: body["order"] for path, body in calls if path.startswith("/tell")}
            assert told == {"/tell/1": [1], "/tell/2": [1, 2], "/tell/3": [1, 2, 3]}
            # Only the call whose outcome was not written is made again.
            assert len(calls) <= len(undisturbed) + 1
            if rows == 0 and effects > 0:
                break  # it ended before the kill
            effects += 1
        assert effects == 28

    asyncio.run(scenario())


@pytest.mark.parametrize("kills", [1, 3])
def test_a_sleep_ends_when_it_would_have_ended(tmp_path: Path, kills: int) -> None:
    source = "main:\n  steps:\n    - nap:\n        call: sys.sleep\n        args: {seconds: 1000}\n"

    async def scenario() -> None:
        cloud = open_cloud(tmp_path)
        started = cloud.clock.time()
        name = cloud.workflows.create_execution(cloud.deploy(source)).name
        for kill in range(kills):
            await cloud.until(cloud.waits, advance=False)
            cloud.clock.advance(seconds=100)
            await cloud.workflows.stop()
            cloud.context.store.close()
            cloud = open_cloud(tmp_path, start=started + 100 * (kill + 1))
            await cloud.workflows.start()

        execution = await cloud.finished(name)

        assert execution.end_time == pytest.approx(started + 1000, abs=1e-3)
        await cloud.workflows.stop()
        cloud.context.store.close()

    asyncio.run(scenario())


def test_a_running_execution_keeps_its_revision_after_a_restart(tmp_path: Path) -> None:
    source = "- nap:\n    call: sys.sleep\n    args: {seconds: 10}\n- out:\n    return: %s\n"

    async def scenario() -> None:
        cloud = open_cloud(tmp_path)
        parent = cloud.deploy(source % "old")
        name = cloud.workflows.create_execution(parent).name
        await cloud.workflows.stop()
        cloud.context.store.close()

        cloud = open_cloud(tmp_path)
        cloud.deploy(source % "new")
        await cloud.workflows.start()

        assert (await cloud.finished(name)).result == '"old"'
        newer = cloud.workflows.create_execution(parent)
        assert (await cloud.finished(newer.name)).result == '"new"'
        await cloud.workflows.stop()
        cloud.context.store.close()

    asyncio.run(scenario())


def test_a_callback_received_before_the_kill_is_not_lost(tmp_path: Path) -> None:
    source = """
- open:
    call: events.create_callback_endpoint
    result: endpoint
- nap:
    call: sys.sleep
    args: {seconds: 10}
- wait:
    call: events.await_callback
    args: {callback: '${endpoint}'}
    result: request
- out:
    return: ${request.http_request.body}
"""

    async def scenario() -> None:
        cloud = open_cloud(tmp_path)
        name = cloud.workflows.create_execution(cloud.deploy(source)).name
        await cloud.until(lambda: cloud.workflows.get(name).current == ("main", "nap"), advance=False)
        callbacks = cloud.workflows.callbacks(name)
        assert callbacks is not None
        callbacks.receive(callbacks.endpoints()[0].id, "POST", {"http_request": {"body": 5}})
        await cloud.workflows.stop()
        cloud.context.store.close()

        cloud = open_cloud(tmp_path)
        await cloud.workflows.start()

        assert (await cloud.finished(name)).result == "5"
        assert not list(cloud.context.store.items(CALLBACKS))
        await cloud.workflows.stop()
        cloud.context.store.close()

    asyncio.run(scenario())


def test_a_cancelled_execution_stays_cancelled(tmp_path: Path) -> None:
    async def scenario() -> None:
        cloud = open_cloud(tmp_path)
        name = cloud.workflows.create_execution(
            cloud.deploy("- a:\n    call: sys.sleep\n    args: {seconds: 9}\n")
        ).name
        cloud.workflows.cancel(name)
        await cloud.workflows.stop()
        cloud.context.store.close()

        cloud = open_cloud(tmp_path)
        await cloud.workflows.start()

        assert cloud.workflows.get(name).state == "CANCELLED"
        assert cloud.clock.next_due() is None
        assert not list(cloud.context.store.items(JOURNAL))
        await cloud.workflows.stop()
        cloud.context.store.close()

    asyncio.run(scenario())


def test_a_journal_of_another_program_is_noticed() -> None:
    async def scenario() -> None:
        cloud = open_cloud()
        name = cloud.workflows.create_execution(
            cloud.deploy("- a:\n    call: sys.sleep\n    args: {seconds: 9}\n")
        ).name
        await cloud.until(cloud.waits, advance=False)
        await cloud.workflows.stop()
        (row,) = cloud.context.store.items(JOURNAL)
        cloud.context.store.put(JOURNAL, row[0], row[1].replace(b"sleep", b"sloop"))

        cloud.workflows = Workflows(cloud.context)
        await cloud.workflows.start()
        execution = await cloud.finished(name)

        assert execution.error is not None
        assert "replay diverged at 1: recorded sloop, now sleep" in execution.error.context
        await cloud.workflows.stop()
        cloud.context.store.close()

    asyncio.run(scenario())


def test_an_execution_started_while_the_service_stops_runs_after_the_next_start() -> None:
    async def scenario() -> None:
        async with service() as (url, calls):
            cloud = open_cloud()
            parent = cloud.deploy(SOURCE)
            await cloud.workflows.stop()
            name = cloud.workflows.create_execution(parent, json.dumps({"url": url})).name
            assert (cloud.workflows.is_idle(), cloud.workflows.get(name).state) == (True, "ACTIVE")

            cloud.workflows = Workflows(cloud.context)
            await cloud.workflows.start()
            assert (await cloud.finished(name)).state == "SUCCEEDED"
            await cloud.workflows.stop()
            assert [path for path, _ in calls].count("/begin") == 1
            cloud.context.store.close()

    asyncio.run(scenario())


def test_step_entries_survive_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        cloud = open_cloud(tmp_path)
        name = (await cloud.run("- out:\n    return: 1\n")).name
        before = cloud.workflows.step_entries(name)
        await cloud.workflows.stop()
        cloud.context.store.close()

        cloud = open_cloud(tmp_path)
        await cloud.workflows.start()
        assert list(cloud.workflows.step_entries(name)) == list(before)
        assert cloud.workflows.get(name).result == "1"
        await cloud.workflows.stop()
        cloud.context.store.close()

    asyncio.run(scenario())
