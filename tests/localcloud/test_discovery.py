"""Is what differs from Google's discovery documents found?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.localcloud import discovery
from tests.localcloud.recorder import Exchange

OBJECT = {"kind": "storage#object", "name": "a", "size": "5", "updated": "2026-11-22T12:00:00.123Z"}
TOPIC = "/v1/projects/p/topics/news"


def exchange(
    method: str, path: str, answer: Any, *, request: Any = None, query: str = "", status: int = 200
) -> list[str]:
    """What is wrong with one request and its answer."""
    made = Exchange(method, path, query, status=status, answer_type="application/json", is_whole=True)
    made.request = b"" if request is None else json.dumps(request).encode()
    made.answer = json.dumps(answer).encode()
    return list(made.problems())


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"size": 5}, "storage.objects.get: answer .size: is 5; expected a string (uint64)"),
        ({"size": "five"}, "expected the format uint64"),
        ({"updated": "2026-11-22 12:00:00"}, "expected the format date-time"),
        ({"kind": "storage#bucket"}, "expected storage#object"),
        ({"color": "red"}, "answer .color: the schema has no such member"),
        ({"metadata": {"a": 1}}, "answer .metadata.a: is 1; expected a string"),
        ({"owner": {"entity": None}}, "answer .owner.entity: is None; expected a string"),
        ({"acl": [{"role": "OWNER"}, {"role": 1}]}, "answer .acl[1].role: is 1"),
        ({"temporaryHold": "true"}, "expected true or false"),
        ({"componentCount": 2**31}, "does not fit int32"),
        ({"componentCount": True}, "is True; expected a number"),
    ],
)
def test_what_an_answer_may_not_hold_is_found(changed: dict[str, Any], problem: str):
    found = exchange("GET", "/storage/v1/b/bucket/o/a%2Fb", {**OBJECT, **changed})

    assert len(found) == 1
    assert problem in found[0]


def test_what_is_right_is_let_through():
    assert exchange("GET", "/storage/v1/b/bucket/o/a", OBJECT) == []
    assert exchange("PUT", TOPIC, {"name": "projects/p/topics/news"}, request={"labels": {"a": "b"}}) == []


def test_a_request_may_say_numbers_for_strings_and_take_away_by_null():
    body = {"metadata": None, "generation": 5}

    assert exchange("PATCH", "/storage/v1/b/bucket/o/a", OBJECT, request=body) == []


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("colour=red", "query colour: the method has no such parameter"),
        ("ifGenerationMatch=a", "'a' is no int64"),
        ("projection=some", "'some' is none of full, noAcl"),
        ("bucket=x", "query bucket: the method has no such parameter"),
    ],
)
def test_a_query_that_the_method_does_not_have_is_found(query: str, problem: str):
    (found,) = exchange("GET", "/storage/v1/b/bucket/o/a", OBJECT, query=query)

    assert problem in found


def test_what_was_refused_is_not_judged_but_its_error_is():
    refusal = {"error": {"code": 400, "message": "no such member", "status": "INVALID_ARGUMENT"}}

    assert exchange("PUT", TOPIC, refusal, request={"colour": 1}, status=400) == []
    assert "error.code is 400; expected 404" in exchange("PUT", TOPIC, refusal, status=404)[0]
    assert "without `error`" in exchange("PUT", TOPIC, {"detail": "no"}, status=404)[0]


def test_an_answer_of_a_method_that_does_not_exist_is_found():
    (found,) = exchange("POST", f"{TOPIC}:shout", {})

    assert "no document has such a method" in found


def test_a_verb_after_the_name_is_another_method_than_the_name():
    (found,) = discovery.methods("POST", f"{TOPIC}:publish")

    assert found.id == "pubsub.projects.topics.publish"
    assert discovery.methods("GET", TOPIC)[0].id == "pubsub.projects.topics.get"


def test_the_metadata_of_an_upload_is_checked():
    body = b'--x\r\nContent-Type: application/json\r\n\r\n{"colour": 1}\r\n--x\r\n\r\n{"size": 1}\r\n--x--\r\n'
    made = Exchange("POST", "/upload/storage/v1/b/bucket/o", "uploadType=multipart", "multipart/related; boundary=x")
    made.request, made.status, made.is_whole = body, 200, True

    assert list(made.problems()) == ["storage.objects.insert: request .colour: the schema has no such member"]


def test_each_call_of_a_batch_is_checked():
    call = (
        b"--x\r\nContent-Type: application/http\r\n\r\n"
        b"GET /storage/v1/b/bucket/o/a?colour=red HTTP/1.1\r\n\r\n\r\n--x--\r\n"
    )
    answer = (
        b"--y\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
        b'{"size": 5}\r\n--y--\r\n'
    )
    made = Exchange("POST", "/batch/storage/v1", "", "multipart/mixed; boundary=x", request=call, status=200)
    made.answer, made.answer_type, made.is_whole = answer, "multipart/mixed; boundary=y", True

    query, size = made.problems()
    assert "query colour" in query
    assert "answer .size" in size


def test_the_object_in_an_event_is_checked():
    made = Exchange("POST", "/run/receiver/", "", event_type="google.cloud.storage.object.v1.finalized")
    made.request, made.is_whole = b'{"size": 5}', True

    assert list(made.problems()) == ["Object: .size: is 5; expected a string (uint64)"]
