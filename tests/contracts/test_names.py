from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zeroidle.contracts import names

JOB_ID = re.compile(r"[a-z]([-a-z0-9]{0,53}[a-z0-9])?")
# Object names: any text of 1 to 1024 bytes of UTF-8.
NAMES = st.text(min_size=1, max_size=1024).filter(lambda name: len(name.encode()) <= 1024)
TRICKY = st.text(alphabet="a./~%\n\x00é…2z", min_size=1, max_size=40)
GENERATIONS = st.integers(1, 10**19).map(str)
LONGEST_SUFFIX = "/" + "j" * 55 + "/predictions.parquet"


@given(NAMES | TRICKY, GENERATIONS)
@example("x" * 1024, "9" * 20)
@example("…" * 341, "9" * 20)
@example("../" * 300, "1")
@example("\n" * 1024, "1")
def test_everything_below_a_result_prefix_is_a_valid_harmless_object_name(name: str, generation: str) -> None:
    prefix = names.result_prefix(name, generation)

    assert len((prefix + LONGEST_SUFFIX).encode()) <= 1024
    assert not {"", ".", ".."} & set(prefix.split("/"))
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in prefix)
    assert prefix.endswith(f"/{generation}")


@given(st.lists(st.tuples(TRICKY | NAMES, st.sampled_from(["1", "22"])), min_size=2, max_size=20, unique=True))
@example([("a\n", "1"), ("a%0A", "1")])
@example([("a//b", "1"), ("a/_/b", "1")])
@example([("a/1", "1"), ("a", "1")])
@example([("x" * 1023 + "y", "1"), ("x" * 1023 + "z", "1")])
@example([("a\n", "1"), (names.result_prefix("a\n", "1").removesuffix("/1"), "1")])
def test_two_inputs_never_share_a_result_prefix(inputs: list[tuple[str, str]]) -> None:
    assert len({names.result_prefix(*one) for one in inputs}) == len(inputs)


@pytest.mark.parametrize("name", ["reviews.txt", "a/b/ü ö.csv", "100%.txt", "a~b", "...", "x" * 900])
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    assert names.result_prefix(name, "17") == f"{name}/17"


def test_a_control_character_is_still_readable() -> None:
    assert names.result_prefix("a\nb.txt", "1").startswith("a%0Ab.txt~")


@given(st.text(), NAMES, GENERATIONS)
def test_the_job_of_an_upload_has_a_valid_id(bucket: str, name: str, generation: str) -> None:
    job_id = names.job_id_for_upload(bucket, name, generation)

    assert JOB_ID.fullmatch(job_id)
    assert len(job_id) == 22


@given(st.lists(st.tuples(st.text("ab1\n", max_size=3), NAMES, GENERATIONS), min_size=2, max_size=8, unique=True))
def test_another_version_is_another_job(uploads: list[tuple[str, str, str]]) -> None:
    assert len({names.job_id_for_upload(*one) for one in uploads}) == len(uploads)


def test_the_names_of_the_ledger() -> None:
    assert names.job_record("job-1") == "jobs/job-1.json"
    assert re.fullmatch(r"active/[0-9a-f]{2}/job-1", names.marker_name("job-1"))
    assert names.claim_name("job-1", 2) == "claims/job-1-a2"
    assert names.result_claim("job-1") == "claims/job-1-result"
    assert names.meta_name("job-1", "77") == "meta/job-1/77.json"
    assert names.work_prefix("job-1", 2) == "jobs/job-1/a2"


@given(TRICKY)
def test_a_message_id_is_data_and_no_path(message_id: str) -> None:
    assert re.fullmatch(r"meta/job-1/[^/]+\.json", names.meta_name("job-1", message_id), re.DOTALL)


def test_the_names_of_what_is_deployed() -> None:
    assert names.bucket_name("proj", "input") == "proj-zeroidle-input"
    assert names.resource_name("on_upload") == "zeroidle-on-upload"
    workflow = names.workflow_path("proj", "r", names.resource_name("pipeline"))
    assert workflow == "projects/proj/locations/r/workflows/zeroidle-pipeline"
    assert names.execution_path(workflow, "e1") == f"{workflow}/executions/e1"
    assert names.execution_path(workflow, f"{workflow}/executions/e1") == f"{workflow}/executions/e1"
    assert names.topic_path("proj", "jobs-meta") == "projects/proj/topics/jobs-meta"
