from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from tests.core.job_factories import NOW, a_job, stop_requested, submitted
from zeroidle.contracts import names
from zeroidle.contracts.messages import Limits, WorkflowRun
from zeroidle.contracts.records import State
from zeroidle.contracts.services import InputOptions, ModelRef, ObjectRef
from zeroidle.core import pipeline
from zeroidle.core.job import begin
from zeroidle.core.pipeline import Deployment
from zeroidle.core.placement import Caps, Catalog
from zeroidle.errors import PermanentError

WORKFLOW = "projects/p/locations/r/workflows/zeroidle-pipeline"
DEPLOYMENT = Deployment(
    input_bucket="in",
    work_bucket="work",
    output_bucket="out",
    jobs_bucket="jobs",
    heartbeats_topic="projects/p/topics/jobs-heartbeats",
    meta_topic="projects/p/topics/jobs-meta",
    workflows={"pipeline": WORKFLOW},
    upload_workflow="pipeline",
    default_model=ModelRef(name="sentiment"),
    limits=Limits(max_runtime_s=60, provision_timeout_s=60, max_errors=0, max_interruptions=0),
    parallel_shards=8,
    usd_per_second={},
    machine_limits=Limits(max_runtime_s=60, provision_timeout_s=60, max_errors=0, max_interruptions=0),
    catalog=Catalog({}, Caps(max_vms=1, max_usd_per_hour=1.0)),
)


def test_the_argument_names_everything_the_workflow_needs() -> None:
    job = a_job(State.PROVISIONING, attempt=2)

    assert json.loads(pipeline.argument(job, DEPLOYMENT)) == {
        "job_id": "job-1",
        "user_id": "me",
        "attempt": 2,
        "input": {"bucket": "input", "name": "in.txt", "generation": "5"},
        "work": {"bucket": "work", "prefix": "jobs/job-1/a2"},
        "output": {"bucket": "out", "prefix": "in.txt/5/job-1"},
        "jobs_bucket": "jobs",
        "topics": {"heartbeats": "projects/p/topics/jobs-heartbeats", "meta": "projects/p/topics/jobs-meta"},
        "model": {"name": "sentiment", "version": None},
        "options": json.loads(
            '{"text_field":null,"id_field":null,"label_field":null,"text_mode":"auto",'
            '"max_input_bytes":5368709120,"max_expanded_bytes":21474836480}'
        ),
        "parallel": 8,
        "usd_per_second": {"inference": 0.01},
    }


def test_the_job_of_an_upload_owns_the_folder_of_its_input() -> None:
    job = begin(submitted(job_id=names.job_id_for_upload("input", "in.txt", "5")))

    assert pipeline.output_folder(job, DEPLOYMENT) is not None
    assert pipeline.output_folder(job, DEPLOYMENT).prefix == "in.txt/5"  # type: ignore[union-attr]  # asserted above


def test_an_argument_larger_than_workflows_take_is_refused() -> None:
    run = WorkflowRun(
        workflow="pipeline",
        input=ObjectRef(bucket="input", name="n", generation="1"),
        options=InputOptions(text_field="x" * 40_000),
    )

    with pytest.raises(PermanentError, match="at most 32768"):
        pipeline.argument(begin(submitted(run=run)), DEPLOYMENT)


def test_only_a_failed_job_has_an_error_file() -> None:
    failed = pipeline.error_file(a_job(State.FAILED))

    assert failed is not None
    assert (failed.code, failed.reason, failed.details) == ("INVALID_INPUT", "USER_ERROR", {"columns": ["a"]})
    assert failed.input.name == "in.txt"
    assert failed.failed_at == NOW + 20
    assert pipeline.error_file(a_job(State.STOPPED)) is None
    assert pipeline.error_file(a_job(State.SUCCEEDED)) is None


def test_a_job_that_never_started_has_neither_output_nor_argument() -> None:
    tombstone = begin(stop_requested())

    assert pipeline.output_folder(tombstone, DEPLOYMENT) is None
    with pytest.raises(PermanentError, match="no workflow to run"):
        pipeline.argument(tombstone, DEPLOYMENT)


def test_a_job_of_an_unknown_workflow_has_none() -> None:
    run = replace(submitted().run, workflow="other")

    assert pipeline.workflow_of(begin(submitted(run=run)), DEPLOYMENT) is None
