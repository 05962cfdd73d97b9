"""The use cases one by one, over in-memory ports."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from tests.simulation.sim_cloud import Killed
from tests.simulation.sim_world import DEPLOYMENT, LIMITS, START, WORKFLOW, World
from zeroidle.contracts import codec, names
from zeroidle.contracts.events import PubSubMessage, Upload
from zeroidle.contracts.records import ErrorFile, Job, Reason, State
from zeroidle.contracts.services import ObjectRef
from zeroidle.core.converge import ExecutionState
from zeroidle.errors import InvalidMessage, PermanentError
from zeroidle.handlers import on_tick as ticks
from zeroidle.handlers import sweep as sweeping
from zeroidle.handlers.context import Outcome
from zeroidle.handlers.on_job_heartbeat import on_job_heartbeat
from zeroidle.handlers.on_job_meta import MAX_BYTES, on_job_meta
from zeroidle.handlers.on_job_start import on_job_start
from zeroidle.handlers.on_job_stop import on_job_stop
from zeroidle.handlers.on_tick import FORGET_AFTER_S, on_tick
from zeroidle.handlers.on_upload import on_upload
from zeroidle.handlers.sweep import MAX_AGE_S, sweep
from zeroidle.ports import Stored

RUN = {"kind": "workflow", "workflow": "pipeline", "input": {"bucket": "input", "name": "given.txt"}}
STOP = {"schema": 1, "job_id": "job-1", "user_id": "me"}
BEAT = {**STOP, "attempt": 1, "seq": 1, "sent_at": START, "status": "RUNNING"}
META = {**STOP, "attempt": 1, "created_at": START, "sender": "s", "operation": "o", "data": {"a": 1}}
TICK = PubSubMessage(b"", {}, "t", START)


@pytest.fixture
def world() -> World:
    return World()


def an_upload(world: World, name: str = "in.txt", bucket: str = "input", **metadata: str) -> Upload:
    generation = world.objects.write(ObjectRef(bucket=bucket, name=name), b"text")
    wishes = {f"zeroidle-{key.replace('_', '-')}": value for key, value in metadata.items()}
    return Upload(ObjectRef(bucket=bucket, name=name, generation=str(generation)), 4, "text/plain", wishes, START)


def a_message(body: dict[str, Any], **fields: Any) -> PubSubMessage:
    return PubSubMessage(json.dumps({**body, **fields}).encode(), {}, "m1", START)


def a_start(world: World, **fields: Any) -> PubSubMessage:
    world.objects.write(ObjectRef(bucket="input", name="given.txt"), b"text")
    return a_message({"schema": 1, "job_id": "job-1", "user_id": "me", "run": RUN}, **fields)


def started(world: World) -> Job:
    on_job_start(world.context, a_start(world))
    return world.job("job-1")


def the_job(world: World) -> Job:
    (job,) = world.jobs()
    return job


def the_error(world: World) -> ErrorFile:
    (name,) = world.objects.names("output")
    assert name.endswith("/error.json")
    return codec.decode(world.objects.read(ObjectRef(bucket="output", name=name))[0], ErrorFile)


class TestUpload:
    def test_the_wishes_of_the_uploader_reach_the_workflow(self, world: World) -> None:
        upload = an_upload(
            world, text_field="review", id_field="no", label_field="stars", text_mode="lines", model="m@2", user="me"
        )

        assert on_upload(world.context, upload) is Outcome.ACCEPTED
        (execution,) = world.executions.active()
        argument: Any = execution.argument
        assert argument["user_id"] == "me"
        assert argument["model"] == {"name": "m", "version": "2"}
        assert argument["options"]["text_field"] == "review"
        assert argument["options"]["text_mode"] == "lines"
        assert argument["output"] == {"bucket": "output", "prefix": f"in.txt/{upload.ref.generation}"}
        assert execution.name.startswith(WORKFLOW)

    @pytest.mark.parametrize(
        ("metadata", "field"),
        [
            ({"text_mode": "poem"}, "zeroidle-text-mode"),
            ({"model": "../etc"}, "zeroidle-model"),
            ({"user": "a b"}, "zeroidle-user"),
            ({"txt_field": "x"}, "zeroidle-txt-field"),
        ],
        ids=str,
    )
    def test_a_bad_wish_is_a_failed_job_that_names_the_field(
        self, world: World, metadata: dict[str, str], field: str
    ) -> None:
        assert on_upload(world.context, an_upload(world, **metadata)) is Outcome.ACCEPTED

        assert the_job(world).state is State.FAILED
        error = the_error(world)
        assert (error.reason, error.code) == (Reason.USER_ERROR, "INVALID_MESSAGE")
        assert field in error.message
        assert error.what_to_do
        assert world.executions.all == {}
        assert world.markers() == set()

    def test_other_metadata_is_nobodys_business(self, world: World) -> None:
        upload = replace_metadata(an_upload(world), {"camera": "old", "zeroidle-write": "abc"})

        assert on_upload(world.context, upload) is Outcome.ACCEPTED
        assert the_job(world).state is State.PROVISIONING

    def test_folders_and_ignored_names_are_nobodys_job(self, world: World) -> None:
        context = replace(world.context, deployment=replace(DEPLOYMENT, ignore_prefix="tmp/"))

        assert on_upload(context, an_upload(world, "folder/")) is Outcome.IGNORED
        assert on_upload(context, an_upload(world, "tmp/a.txt")) is Outcome.IGNORED
        assert world.jobs() == []

    def test_an_upload_to_another_bucket_is_rejected(self, world: World) -> None:
        with pytest.raises(PermanentError, match="'other'"):
            on_upload(world.context, an_upload(world, bucket="other"))

    def test_an_overwrite_is_another_job(self, world: World) -> None:
        on_upload(world.context, an_upload(world))
        on_upload(world.context, an_upload(world))

        assert len(world.jobs()) == 2

    def test_a_workflow_that_cannot_be_started_fails_the_job_with_the_reason(self, world: World) -> None:
        def refuse(*_: Any) -> str:
            raise PermanentError("the workflow does not exist", code="NOT_FOUND", hint="Deploy it.")

        world.executions.create = refuse  # type: ignore[method-assign]  # the API refuses

        on_upload(world.context, an_upload(world))

        assert (the_job(world).state, the_job(world).reason) == (State.FAILED, Reason.START_REFUSED)
        assert (the_error(world).code, the_error(world).hint) == ("NOT_FOUND", "Deploy it.")


class TestStart:
    def test_the_input_is_pinned_to_the_version_of_now(self, world: World) -> None:
        job = started(world)

        assert job.run is not None
        assert job.run.input.generation == "1001"
        assert job.limits == LIMITS

    def test_limits_asked_for_count(self, world: World) -> None:
        on_job_start(world.context, a_start(world, limits={"max_runtime_s": 60}))

        limits = world.job("job-1").limits
        assert limits is not None
        assert (limits.max_runtime_s, limits.max_errors) == (60, LIMITS.max_errors)

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"workflow": "other"}, "field run.workflow: there is no workflow 'other'; there are pipeline"),
            ({"input": {"bucket": "secret", "name": "x"}}, "field run.input.bucket"),
            ({"input": {"bucket": "input", "name": "missing.txt"}}, "field run.input"),
        ],
        ids=str,
    )
    def test_a_start_that_cannot_run_is_a_failed_job(
        self, world: World, change: dict[str, Any], complaint: str
    ) -> None:
        on_job_start(world.context, a_start(world, run={**RUN, **change}))

        job = world.job("job-1")
        assert (job.state, job.reason) == (State.FAILED, Reason.USER_ERROR)
        assert job.failure is not None
        assert complaint in job.failure.message
        assert the_error(world).message == job.failure.message
        assert world.executions.all == {}

    def test_the_job_id_of_another_user_is_taken(self, world: World) -> None:
        job = started(world)

        with pytest.raises(PermanentError, match="belongs to another user"):
            on_job_start(world.context, a_start(world, user_id="you"))
        assert world.job("job-1") == job

    def test_a_second_start_with_another_run_is_told_about(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        started(world)

        outcome = on_job_start(world.context, a_start(world, run={**RUN, "model": {"name": "other"}}))

        assert outcome is Outcome.DUPLICATE
        assert "accepted before with another run" in caplog.text
        assert len(world.executions.all) == 1

    def test_two_jobs_on_one_input_write_to_different_places(self, world: World) -> None:
        on_job_start(world.context, a_start(world))
        on_job_start(world.context, a_start(world, job_id="job-2"))

        outputs = [execution.argument["output"] for execution in world.executions.active()]
        assert len({str(output) for output in outputs}) == 2


class TestStop:
    def test_a_stop_of_an_unknown_job_is_remembered(self, world: World) -> None:
        assert on_job_stop(world.context, a_message(STOP, reason="no")) is Outcome.APPLIED
        assert on_job_start(world.context, a_start(world)) is Outcome.DUPLICATE

        job = world.job("job-1")
        assert (job.state, job.finished_at) == (State.STOPPED, START)
        assert job.stop is not None
        assert job.stop.reason == "no"
        assert world.executions.all == {}
        assert world.markers() == set()

    def test_an_attempt_nobody_claimed_is_stopped_at_once(self, world: World) -> None:
        started(world)

        on_job_stop(world.context, a_message(STOP))

        assert world.job("job-1").state is State.STOPPED
        assert world.executions.active() == []

    def test_a_job_of_another_user_goes_on(self, world: World) -> None:
        job = started(world)

        with pytest.raises(PermanentError, match="another user"):
            on_job_stop(world.context, a_message(STOP, user_id="you"))
        assert world.job("job-1") == job

    def test_a_second_stop_is_a_duplicate(self, world: World) -> None:
        started(world)

        assert on_job_stop(world.context, a_message(STOP)) is Outcome.APPLIED
        assert on_job_stop(world.context, a_message(STOP)) is Outcome.DUPLICATE


class TestHeartbeat:
    @pytest.mark.parametrize("change", [{"job_id": "nobody"}, {"user_id": "you"}], ids=str)
    def test_of_no_such_job_or_of_another_users_is_rejected(self, world: World, change: dict[str, str]) -> None:
        job = started(world)

        with pytest.raises(PermanentError):
            on_job_heartbeat(world.context, a_message(BEAT, **change))
        assert world.jobs() == [job]

    def test_a_failure_writes_error_json_at_once(self, world: World) -> None:
        started(world)
        failure = {"code": "INVALID_INPUT", "message": "no text", "hint": "Add some.", "details": {"line": 3}}

        on_job_heartbeat(world.context, a_message(BEAT, status="FAILED", failure=failure))

        error = the_error(world)
        assert (error.code, error.hint, error.details) == ("INVALID_INPUT", "Add some.", {"line": 3})

    def test_a_running_beat_costs_one_write_and_no_look_at_the_cloud(self, world: World) -> None:
        started(world)
        world.executions.get = None  # type: ignore[method-assign, assignment]  # looking would fail
        world.faults.armed, world.faults.log = True, []

        assert on_job_heartbeat(world.context, a_message(BEAT)) is Outcome.APPLIED
        assert on_job_heartbeat(world.context, a_message(BEAT)) is Outcome.DUPLICATE
        assert world.faults.log == ["before write jobs/job-1.json", "after write jobs/job-1.json"]


class TestMeta:
    def test_is_kept_under_its_message_id(self, world: World) -> None:
        started(world)

        on_job_meta(world.context.jobs, a_message(META))

        assert world.objects.names("jobs", "meta/") == ["meta/job-1/m1.json"]

    def test_of_nobodys_job_is_rejected(self, world: World) -> None:
        with pytest.raises(PermanentError, match="which there is not"):
            on_job_meta(world.context.jobs, a_message(META))
        assert world.objects.stored == {}

    def test_too_large_is_rejected_before_it_is_read(self, world: World) -> None:
        with pytest.raises(PermanentError, match="at most"):
            on_job_meta(world.context.jobs, PubSubMessage(b"x" * (MAX_BYTES + 1), {}, "m", START))


class TestTick:
    def test_one_broken_record_holds_up_no_other(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        started(world)
        world.objects.after = lambda _: None  # the world's own checks can't read these either
        for broken in (b"{", b"{}", b"\xff"):
            name = f"bad-{len(world.objects.stored)}"
            world.context.jobs.mark(name)
            world.objects.write(ObjectRef(bucket="jobs", name=names.job_record(name)), broken)
        world.time += LIMITS.provision_timeout_s

        on_tick(world.context, TICK)

        assert world.job("job-1").attempt == 2
        assert caplog.text.count("cannot be looked after") == 3

    def test_a_marker_without_a_record_is_forgotten_after_a_while(self, world: World) -> None:
        world.context.jobs.mark("lost")
        on_tick(world.context, TICK)
        assert world.markers() == {"lost"}

        world.time += FORGET_AFTER_S + 1
        on_tick(world.context, TICK)

        assert world.markers() == set()

    def test_a_tick_that_takes_too_long_leaves_the_rest_to_the_next(
        self, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[str] = []

        def slow(context: object, stored: Stored, hold_losses: bool) -> None:
            seen.append(stored.job.job_id)
            world.time += 90

        for number in range(9):
            world.start(f"job-{number}")
        for message in list(world.inbox):
            world.deliver(message)
        monkeypatch.setattr(ticks, "look_after", slow)
        while set(seen) != {f"job-{number}" for number in range(9)} and len(seen) < 50:
            on_tick(world.context, TICK)

        assert len(seen) < 50
        assert "the rest waits" in caplog.text


class TestSweep:
    def test_an_upload_nobody_told_us_of_becomes_a_job(self, world: World) -> None:
        job_id = world.upload(told=False)
        world.time += 120

        assert sweep(world.context) == 1
        assert sweep(world.context) == 0
        assert world.job(job_id).state is State.PROVISIONING

    @pytest.mark.parametrize("age", [10.0, MAX_AGE_S + 1], ids=["still on its way", "older than a day"])
    def test_too_young_or_too_old_uploads_are_left_alone(self, world: World, age: float) -> None:
        world.upload(told=False)
        world.time += age

        assert sweep(world.context) == 0

    def test_a_large_bucket_is_swept_in_turns(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sweeping, "PAGE", 4)
        for number in range(10):
            world.upload(f"f{number}", told=False)
        world.time += 120

        assert [sweep(world.context) for _ in range(4)] == [4, 4, 2, 0]
        assert len(world.jobs()) == 10

    def test_a_quiet_bucket_is_swept_without_writing(self, world: World) -> None:
        world.faults.armed = True

        sweep(world.context)

        assert world.faults.log == []


def test_an_execution_the_claim_does_not_name_decides_nothing(world: World) -> None:
    """The start was asked for twice; the claim went to the second, and the first one ended as a duplicate."""
    message = a_start(world)
    world.faults.at = 6  # before the name of the first execution is written down
    world.faults.armed = True
    with pytest.raises(Killed):
        on_job_start(world.context, message)
    world.faults.armed = False
    on_job_start(world.context, message)
    first, second = world.executions.active()
    world.step(second)
    world.step(first)
    assert first.state is ExecutionState.SUCCEEDED

    on_tick(world.context, TICK)

    job = world.job("job-1")
    assert (job.state, job.execution) == (State.RUNNING, second.name)


def test_a_claim_may_name_the_execution_by_its_id_alone(world: World) -> None:
    started(world)
    (execution,) = world.executions.active()
    ref = ObjectRef(bucket="jobs", name=names.claim_name("job-1", 1))
    world.objects.write(ref, json.dumps({"execution": execution.name.rpartition("/")[2]}).encode(), if_generation=0)
    world.executions.cancel(execution.name)

    on_tick(world.context, TICK)

    assert [past.reason for past in world.job("job-1").history] == [Reason.EXECUTION_LOST]


def test_malformed_messages_name_the_field(world: World) -> None:
    for handle, message in [(on_job_start, a_message(STOP)), (on_job_stop, a_message(STOP, job_id=7))]:
        with pytest.raises(InvalidMessage, match="field"):
            handle(world.context, message)


def replace_metadata(upload: Upload, metadata: dict[str, str]) -> Upload:
    return Upload(upload.ref, upload.size, upload.content_type, metadata, upload.created)
