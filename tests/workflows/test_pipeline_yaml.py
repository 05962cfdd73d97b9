"""Does the pipeline do what its comments say? The real YAML, storage and Pub/Sub; services that answer by script."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from localcloud.faults import Fault
from localcloud.gateway import Gateway
from localcloud.pubsub import api as pubsub_api
from localcloud.pubsub.resources import SubscriptionSpec
from localcloud.pubsub.state import PubSub
from localcloud.storage import api as storage_api
from localcloud.storage.state import Storage
from localcloud.workflows.state import Execution
from tests.localcloud.workflows.workflows_cloud import PROJECT, Cloud, open_cloud
from zeroidle.contracts import codec
from zeroidle.contracts.messages import Heartbeat
from zeroidle.contracts.services import ErrorBody

SOURCE = Path(__file__).parents[2].joinpath("workflows", "pipeline.yaml").read_text()
REFUSAL = {"code": "INVALID_INPUT", "message": "no text", "hint": "Add some.", "details": {"line": 1}}
WITHOUT_WORDS = "HTTP server responded with error code 403"
PREPROCESS, INFER, POSTPROCESS = "/v1/preprocess", "/v1/infer", "/v1/postprocess"
JOB = {
    "job_id": "job-1",
    "user_id": "me",
    "attempt": 1,
    "input": {"bucket": "input", "name": "a.txt"},
    "work": {"bucket": "work", "prefix": "jobs/job-1/a1"},
    "output": {"bucket": "output", "prefix": "a.txt/1"},
    "jobs_bucket": "ledger",
    "topics": {"heartbeats": f"projects/{PROJECT}/topics/beats", "meta": f"projects/{PROJECT}/topics/meta"},
    "model": {"bucket": "models", "name": "m", "version": "1"},
    "options": {},
    "parallel": 8,
    "usd_per_second": {"inference": 0.1},
}

Answer = tuple[int, Any]  # status and JSON body


@dataclass
class World:
    """The cloud, and three services that answer `script`, or what they always answer once it is used up."""

    cloud: Cloud
    shards: int = 2
    script: dict[str, list[Answer]] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.calls.append((request.path, await request.json()))
        scripted = self.script.get(request.path)
        status, body = scripted.pop(0) if scripted else (200, self.usual(request.path))
        return web.json_response(body, status=status)

    def usual(self, path: str) -> Any:
        return {
            PREPROCESS: {"shards": self.shards, "records": 10 * self.shards, "rejected": 0, "elapsed_s": 1.0},
            INFER: {"records": 10, "elapsed_s": 2.0},
            POSTPROCESS: {"records": 10 * self.shards, "rejected": 0, "labels": {"good": 1}, "elapsed_s": 0.5},
        }[path]

    async def run(self, **changes: Any) -> Execution:
        parent = self.cloud.workflows.resource_name("pipeline")
        execution = self.cloud.workflows.create_execution(parent, json.dumps({**JOB, **changes}))
        return await self.cloud.finished(execution.name)

    def counts(self) -> Counter[str]:
        return Counter(path for path, _ in self.calls)

    async def beats(self) -> list[Heartbeat]:
        """What was published, strictly decoded, by `seq`."""
        url = f"{self.cloud.context.http_url}/v1/projects/{PROJECT}/subscriptions/beats:pull"
        question = {"maxMessages": 1000, "returnImmediately": True}
        async with ClientSession() as client, client.post(url, json=question) as answer:
            received = (await answer.json())["receivedMessages"]
        beats = [codec.decode(b64decode(one["message"]["data"]), Heartbeat) for one in received]
        return sorted(beats, key=lambda beat: beat.seq)


def scene(scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Run the scenario against a world of its own."""

    async def staged() -> None:
        gateway = Gateway()
        cloud = open_cloud(http_url=gateway.http_url)
        storage, pubsub = Storage(cloud.context), PubSub(cloud.context)
        storage.create_bucket("ledger")
        for topic in ("beats", "meta"):
            pubsub.create_topic(topic)
        pubsub.create_subscription(SubscriptionSpec(name="beats", topic="beats"))
        world = World(cloud)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", world.handle)
        services = web.AppRunner(app, shutdown_timeout=0.1)
        await services.setup()
        await web.TCPSite(services, "127.0.0.1", 0).start()
        await gateway.start([*storage_api.routes(storage), *pubsub_api.routes(pubsub)])
        url = "http://{}:{}".format(*services.addresses[0][:2])
        cloud.deploy(
            SOURCE, "pipeline", env=dict.fromkeys(("PREPROCESS_URL", "GPU_INFERENCE_URL", "POSTPROCESS_URL"), url)
        )
        await pubsub.start()
        await cloud.workflows.start()
        try:
            await scenario(world)
        finally:
            await cloud.workflows.stop()
            await pubsub.stop()
            await services.cleanup()
            await gateway.stop()
            cloud.context.store.close()

    asyncio.run(staged())


def failure_of(execution: Execution) -> ErrorBody:
    """What the execution failed with, as the handlers read it."""
    assert execution.state == "FAILED", execution.result
    assert execution.error is not None
    return codec.decode(execution.error.payload, ErrorBody)


def test_a_transient_error_is_tried_again_with_growing_pauses() -> None:
    async def scenario(world: World) -> None:
        world.script = {PREPROCESS: [(503, {}), (429, {}), (502, {})], INFER: [(504, {})], POSTPROCESS: [(503, {})]}
        began = world.cloud.clock.time()

        execution = await world.run()

        assert execution.state == "SUCCEEDED", execution.error
        assert json.loads(execution.result or "") == {
            "bucket": "output", "prefix": "a.txt/1", "records": 20, "rejected": 0, "labels": {"good": 1},
        }  # fmt: skip
        assert world.counts() == {PREPROCESS: 4, INFER: 3, POSTPROCESS: 2}
        assert world.cloud.clock.time() - began == pytest.approx(0.5 + 1 + 2 + 0.5 + 0.5, abs=0.1)
        last = (await world.beats())[-1]
        assert (last.status, [stage.busy_s for stage in last.stages]) == ("SUCCEEDED", [1.0, 4.0, 0.5])

    scene(scenario)


@pytest.mark.parametrize("path", [PREPROCESS, INFER, POSTPROCESS])
def test_a_refusal_is_not_tried_again_and_ends_in_the_words_of_the_service(path: str) -> None:
    async def scenario(world: World) -> None:
        world.shards, world.script = 1, {path: [(422, {"error": REFUSAL})]}

        execution = await world.run()

        assert codec.encode(failure_of(execution)) == codec.encode(codec.decode(json.dumps(REFUSAL), ErrorBody))
        assert world.counts()[path] == 1
        last = (await world.beats())[-1]
        assert (last.status, last.failure) == ("FAILED", failure_of(execution))

    scene(scenario)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"code": 403, "message": "no token", "status": "PERMISSION_DENIED", "details": []}}, "no token"),
        ({"error": {"code": None, "message": 7, "hint": [], "details": "x"}}, WITHOUT_WORDS),
        ({"error": "text"}, WITHOUT_WORDS),
        (["no map"], WITHOUT_WORDS),
    ],
    ids=["google's form", "other types", "text", "a list"],
)
def test_an_error_that_is_not_of_our_form_still_ends_in_a_failure_that_handlers_can_read(
    body: Any, message: str
) -> None:
    async def scenario(world: World) -> None:
        world.script = {PREPROCESS: [(403, body)]}

        execution = await world.run()

        found = failure_of(execution)
        assert (found.code, found.message, found.details) == ("SERVICE_ERROR", message, {})
        assert found.hint
        assert (await world.beats())[-1].failure == found

    scene(scenario)


def test_a_failing_shard_stops_those_that_have_not_begun() -> None:
    async def scenario(world: World) -> None:
        world.shards, world.script = 100, {INFER: [(200, world.usual(INFER)), (422, {"error": REFUSAL})]}

        execution = await world.run(parallel=4)

        assert failure_of(execution).code == "INVALID_INPUT"
        assert world.counts()[INFER] <= 2 + 4
        assert world.counts()[POSTPROCESS] == 0

    scene(scenario)


def test_a_second_execution_of_an_attempt_ends_as_a_duplicate_and_runs_nothing() -> None:
    async def scenario(world: World) -> None:
        first = await world.run()
        calls = len(world.calls)

        second = await world.run()

        assert json.loads(second.result or "") == {"duplicate_of": first.name}
        assert len(world.calls) == calls
        assert (await world.run(attempt=2)).state == "SUCCEEDED"

    scene(scenario)


def test_an_execution_of_an_attempt_that_was_closed_runs_nothing() -> None:
    async def scenario(world: World) -> None:
        url = f"{world.cloud.context.http_url}/upload/storage/v1/b/ledger/o?uploadType=media&name=claims/job-1-a1"
        async with ClientSession() as client, client.post(url, json={"execution": None}) as answer:
            assert answer.status == 200

        execution = await world.run()

        assert json.loads(execution.result or "") == {"duplicate_of": None}
        assert world.calls == []

    scene(scenario)


def test_an_execution_whose_claim_was_written_but_not_answered_goes_on() -> None:
    async def scenario(world: World) -> None:
        world.cloud.context.faults.add(Fault("storage.objects.insert", action="fail_after", status=503))

        execution = await world.run()

        assert json.loads(execution.result or "")["records"] == 20

    scene(scenario)


def test_lost_messages_do_not_end_the_job() -> None:
    async def scenario(world: World) -> None:
        topic = f"projects/{PROJECT}/topics/none"

        execution = await world.run(topics={"heartbeats": topic, "meta": topic})

        assert execution.state == "SUCCEEDED", execution.error

    scene(scenario)


def test_a_thousand_shards_stay_within_the_limits_of_an_execution() -> None:
    async def scenario(world: World) -> None:
        world.shards = 1000

        execution = await world.run()

        assert execution.state == "SUCCEEDED", execution.error
        names = Counter(body["shard"]["name"] for path, body in world.calls if path == INFER)
        assert names == {f"jobs/job-1/a1/shards/{number:05d}.arrow": 1 for number in range(1000)}
        beats = await world.beats()
        assert 20 <= len(beats) <= 30
        done = [beat.progress.done for beat in beats if beat.progress is not None]
        assert done == sorted(done)
        assert done[-1] == 10_000

    scene(scenario)
