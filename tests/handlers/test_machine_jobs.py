"""What is done for jobs on machines of their own when something happens, over in-memory ports."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from tests.simulation.sim_fleet import Machine
from tests.simulation.sim_world import CATALOG, START, World
from zeroidle.contracts import names
from zeroidle.contracts.events import PubSubMessage
from zeroidle.contracts.machines import Report, Vm, VmRef, Wanted, Worker
from zeroidle.contracts.messages import MachineRun
from zeroidle.contracts.records import Job, Reason, State
from zeroidle.core import events
from zeroidle.core import job as jobs
from zeroidle.core.machines import BEAT_MISSED_S, LATE_CREATE_S, LOST_AFTER_S, VmState
from zeroidle.errors import PermanentError, TemporaryError
from zeroidle.handlers import on_tick as ticks
from zeroidle.handlers.context import Outcome
from zeroidle.handlers.on_job_heartbeat import on_job_heartbeat
from zeroidle.handlers.on_job_start import on_job_start
from zeroidle.handlers.on_job_stop import on_job_stop
from zeroidle.handlers.on_tick import on_tick
from zeroidle.handlers.orphans import LATEST_CREATE_S, end_orphans

RUN = {"kind": "machine", "command": ["train"], "wanted": {"accelerators": ["1xl4"]}}
REF = VmRef(name="m-1-a1", cluster="1xl4", region="us-central1")


@pytest.fixture
def world() -> World:
    return World()


def a_message(**fields: Any) -> PubSubMessage:
    body = {"schema": 1, "job_id": "m-1", "user_id": "me", **fields}
    return PubSubMessage(json.dumps(body).encode(), {}, "m1", START)


def start(world: World, job_id: str = "m-1", **fields: Any) -> Job:
    on_job_start(world.context, a_message(job_id=job_id, run={**RUN, **fields}))
    return world.job(job_id)


def claimed(world: World, job_id: str = "m-1") -> Job:
    """A worker has the attempt, and the record says so."""
    job = start(world, job_id)
    ref = job.machines.vms[0].ref
    world.context.jobs.take(job_id, 1, a_worker(ref))
    tick(world)
    job = world.job(job_id)
    assert job.state is State.RUNNING
    return job


def a_worker(ref: VmRef = REF) -> Worker:
    return Worker(vm=ref, zone=f"{ref.region}-a", usd_per_hour=1.0, boot_id="boot-1")


def beat(world: World, job_id: str = "m-1", **fields: Any) -> Outcome:
    said = {"attempt": 1, "seq": 1, "sent_at": world.time, "status": "RUNNING", **fields}
    return on_job_heartbeat(world.context, a_message(job_id=job_id, **said))


def tick(world: World, **attributes: str) -> None:
    on_tick(world.context, PubSubMessage(b"", attributes, "t", START))


class TestStart:
    def test_the_intent_stands_in_the_ledger_before_the_vm_is_asked_for(self, world: World) -> None:
        world.faults.armed = True
        job = start(world)

        order = [point.removeprefix("after ") for point in world.faults.log if point.startswith("after")]
        assert order == [
            "write active/a4/m-1",
            "write jobs/m-1.json",
            "write vms/us-central1/m-1-a1",
            "publish assignment",
            "create vm m-1-a1",
        ]
        assert (job.state, [vm.ref for vm in job.machines.vms]) == (State.PROVISIONING, [REF])

    def test_what_no_cluster_can_give_is_a_failed_job_that_says_which_field(self, world: World) -> None:
        job = start(world, wanted={"accelerators": ["1xl4", "8xfoo"]})

        assert (job.state, job.reason) == (State.FAILED, Reason.USER_ERROR)
        assert job.failure is not None
        assert "run.wanted.accelerators[1]" in job.failure.message
        assert world.fleet.machines == []

    def test_a_refusal_moves_it_to_the_next_region_and_keeps_others_away(self, world: World) -> None:
        world.fleet.refusals["1xl4", "us-central1"] = "QUOTA_EXCEEDED"
        first, second = start(world), start(world, "m-2")

        assert [line.code for line in first.machines.story] == ["QUOTA_EXCEEDED"]
        assert first.machines.vms[-1].ref.region == "europe-west4"
        assert second.machines.story == ()
        assert second.machines.vms[0].ref.region == "europe-west4"

    def test_at_the_cap_it_waits_and_says_so(self, world: World) -> None:
        started = [start(world, f"m-{n}") for n in range(5)]

        assert [job.state for job in started] == [State.PROVISIONING] * 3 + [State.QUEUED] * 2
        assert started[-1].reason is Reason.AT_CAP
        spent = sum(entry.usd_per_hour for entry in world.context.vms.entries())
        assert spent <= CATALOG.caps.max_usd_per_hour

    def test_a_warm_vm_is_told_before_another_is_asked_for(self, world: World) -> None:
        claimed(world)
        world.context.vms.report(REF, Report(worker=a_worker(), idle_until=world.time + 500))
        world.publisher.queue.clear()
        start(world, "m-2")

        assert [each.job_id for each in world.publisher.queue] == ["m-2"]
        assert len(world.fleet.machines) == 1

    def test_of_another_user_nothing_is_touched(self, world: World) -> None:
        start(world)
        world.fleet.machines.clear()
        with pytest.raises(PermanentError, match="another user"):
            on_job_start(world.context, a_message(user_id="you", run=RUN))

        assert world.fleet.machines == []


class TestStop:
    def test_while_its_vm_comes_up_the_attempt_is_closed_and_the_vm_deleted(self, world: World) -> None:
        start(world)

        assert on_job_stop(world.context, a_message()) is Outcome.APPLIED
        assert world.job("m-1").state is State.STOPPED
        assert [machine.state for machine in world.fleet.machines] == [VmState.ENDING]
        with pytest.raises(Exception, match="somebody else"):
            world.context.jobs.take("m-1", 1, a_worker())

    def test_while_it_runs_its_worker_is_left_to_end_politely(self, world: World) -> None:
        claimed(world)
        on_job_stop(world.context, a_message())

        assert world.job("m-1").state is State.STOPPING
        assert world.fleet.machines[0].state is VmState.CREATING
        beat(world, seq=2, status="STOPPED", worker=None)
        assert world.job("m-1").state is State.STOPPED


class TestHeartbeat:
    def test_the_last_one_ends_the_job_and_the_marker_stays_while_the_vm_is_there(self, world: World) -> None:
        claimed(world)
        result = {"bucket": "output", "prefix": "jobs/m-1/a1", "files": 1}
        assert beat(world, seq=3, status="SUCCEEDED", exit_code=0, result=result) is Outcome.APPLIED
        assert beat(world, seq=2) is Outcome.DUPLICATE

        assert world.job("m-1").state is State.SUCCEEDED
        assert world.markers() == {"m-1"}
        world.fleet.machines.clear()
        world.time += LATE_CREATE_S
        tick(world)
        assert (world.markers(), world.context.vms.entries()) == (set(), ())

    def test_of_an_attempt_to_come_is_refused(self, world: World) -> None:
        claimed(world)
        with pytest.raises(PermanentError) as caught:
            beat(world, attempt=2)

        assert caught.value.code == "NO_SUCH_ATTEMPT"


class TestTick:
    def test_a_silent_worker_whose_vm_is_gone_gets_another_attempt(self, world: World) -> None:
        claimed(world)
        world.fleet.machines.clear()
        world.time += BEAT_MISSED_S + 1
        tick(world)

        job = world.job("m-1")
        assert (job.attempt, job.interruptions_used, job.history[0].reason) == (2, 1, Reason.WORKER_LOST)

    def test_no_answer_of_the_cloud_is_no_news(self, world: World) -> None:
        claimed(world)
        world.fleet.unavailable = True
        world.time += LOST_AFTER_S * 2
        tick(world)

        assert world.job("m-1").state is State.RUNNING

    @pytest.mark.parametrize(("silent", "workers", "held"), [(2, 2, False), (3, 3, True), (3, 9, False), (4, 9, True)])
    def test_when_more_than_a_third_fall_silent_nobody_is_lost_and_somebody_is_called(
        self, world: World, silent: int, workers: int, held: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        for n in range(workers):
            record = jobs.begin(
                events.Submitted(
                    f"m-{n}",
                    "me",
                    MachineRun(wanted=Wanted(accelerators=["1xl4"]), command=["train"]),
                    world.context.deployment.machine_limits,
                    {},
                    {},
                    world.time,
                )
            )
            ref = replace(REF, name=f"m-{n}-a1")
            claim = events.WorkerClaimed(1, a_worker(ref), world.time if n < silent else world.time + 60)
            asked = events.VmsAsked(1, (Vm(ref=ref, attempt=1, usd_per_hour=1.0, asked_at=world.time),), world.time)
            record = jobs.advance(jobs.advance(record, asked, world.time), claim, world.time)
            world.context.jobs.mark(f"m-{n}")
            world.context.jobs.create(record)
            world.context.jobs.take(f"m-{n}", 1, a_worker(ref))
        world.time += BEAT_MISSED_S + 1
        tick(world)

        lost = [n for n in range(workers) if world.job(f"m-{n}").attempt == 2]
        assert len(lost) == (0 if held else silent)
        critical = [line.getMessage() for line in caplog.records if line.levelname == "CRITICAL"]
        assert critical == [f"MASS_LOSS: {silent} of {workers} workers are silent; nothing is declared lost"] * held

        world.time += 2 * world.context.deployment.machine_limits.max_runtime_s
        tick(world)
        over = [n for n in range(workers) if world.job(f"m-{n}").state is State.RUNNING]
        assert not (held and over), "deadlines hold although losses don't"

    def test_many_jobs_are_looked_after_shard_by_shard(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ticks, "ONE_CALL", 20)
        for n in range(21):
            world.context.jobs.mark(f"m-{n}")
        world.time += ticks.FORGET_AFTER_S + 1

        tick(world)
        assert (world.publisher.shards, len(world.markers())) == (list("0123456789abcdef"), 21)
        for shard in world.publisher.shards:
            tick(world, shard=shard)
        assert world.markers() == set()


class TestOrphans:
    def test_a_vm_that_nobody_entered_is_deleted_once_it_cannot_be_on_its_way(self, world: World) -> None:
        start(world)
        stray = replace(REF, name="stray")
        world.fleet.machines.append(Machine(stray, world.time, "boot-9", VmState.RUNNING))

        assert end_orphans(world.context) == 0
        world.time += LATE_CREATE_S + 1
        assert end_orphans(world.context) == 1
        assert world.fleet.find(stray).state is VmState.ENDING  # type: ignore[union-attr]
        assert world.fleet.find(REF).state is VmState.CREATING  # type: ignore[union-attr]

    def test_an_entry_whose_job_is_not_marked_is_looked_after_again(self, world: World) -> None:
        start(world)
        del world.objects.stored["jobs", names.marker_name("m-1")]

        assert end_orphans(world.context) == 1
        assert world.markers() == {"m-1"}

    def test_without_any_trace_of_a_vm_the_cloud_is_not_even_asked(self, world: World) -> None:
        start(world)
        world.context.vms.remove(REF)
        asked: list[str] = []

        def all_() -> Any:
            asked.append("all")
            return iter(())

        world.fleet.all = all_  # type: ignore[method-assign]
        end_orphans(world.context)
        assert asked == ["all"]
        world.time += LATEST_CREATE_S + 1
        end_orphans(world.context)
        end_orphans(world.context)
        assert asked == ["all", "all"]

    def test_what_fails_waits_for_the_next_tick(self, world: World) -> None:
        start(world)
        world.fleet.unavailable = True

        assert end_orphans(world.context) == 0
        with pytest.raises(TemporaryError):
            list(world.fleet.all())
