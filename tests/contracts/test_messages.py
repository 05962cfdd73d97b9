from __future__ import annotations

import json
from typing import Any

import pytest

from zeroidle.contracts import codec
from zeroidle.contracts.messages import Heartbeat, Limits, LimitsAsked, Meta, Start, Stop
from zeroidle.contracts.services import ModelRef
from zeroidle.errors import InvalidMessage

RUN = {"kind": "workflow", "workflow": "pipeline", "input": {"bucket": "input", "name": "in.txt"}}
START: dict[str, Any] = {"schema": 1, "job_id": "job-1", "user_id": "me@example.com", "run": RUN}
STOP: dict[str, Any] = {"schema": 1, "job_id": "job-1", "user_id": "me"}
BEAT: dict[str, Any] = {**STOP, "attempt": 1, "seq": 1, "sent_at": 1.5, "status": "RUNNING"}
META: dict[str, Any] = {**STOP, "attempt": 1, "created_at": 1.5, "sender": "s", "operation": "o", "data": {}}


@pytest.mark.parametrize(
    ("kind", "body"),
    [(Start, START), (Stop, STOP), (Heartbeat, BEAT), (Meta, META)],
    ids=["start", "stop", "heartbeat", "meta"],
)
class TestEveryMessage:
    def test_is_what_it_was_after_a_round_trip(self, kind: type[Any], body: dict[str, Any]) -> None:
        message = codec.decode(json.dumps(body), kind)

        assert codec.decode(codec.encode(message), kind) == message

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"schema": 2}, "field schema"),
            ({"schema": None}, "field schema"),
            ({"colour": "red"}, "unknown field `colour`"),
            ({"job_id": "Job"}, "field job_id"),
            ({"job_id": "job-1\n"}, "field job_id"),
            ({"job_id": "-a"}, "field job_id"),
            ({"job_id": "a" * 56}, "field job_id"),
            ({"job_id": "../x"}, "field job_id"),
            ({"user_id": ""}, "field user_id"),
            ({"user_id": "a/b"}, "field user_id"),
            ({"user_id": "me\n"}, "field user_id"),
        ],
        ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
    )
    def test_refuses_what_breaks_the_contract(
        self, kind: type[Any], body: dict[str, Any], change: dict[str, Any], complaint: str
    ) -> None:
        with pytest.raises(InvalidMessage, match=complaint):
            codec.decode(json.dumps({**body, **change}), kind)

    def test_needs_its_schema(self, kind: type[Any], body: dict[str, Any]) -> None:
        with pytest.raises(InvalidMessage, match="schema"):
            codec.decode(json.dumps({name: value for name, value in body.items() if name != "schema"}), kind)

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"x"'])
    def test_refuses_what_is_no_such_object(self, kind: type[Any], body: dict[str, Any], data: bytes) -> None:
        with pytest.raises(InvalidMessage):
            codec.decode(data, kind)

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param("[" * 100_000, id="deep"),
            pytest.param("1e400", id="float out of range"),
            pytest.param("9" * 5000, id="integer out of range"),
            pytest.param('"\\ud800"', id="half a character"),
        ],
    )
    def test_refuses_json_that_no_value_holds(self, kind: type[Any], body: dict[str, Any], value: str) -> None:
        text = json.dumps({**body, "schema": "HERE"}).replace('"HERE"', value)

        with pytest.raises(InvalidMessage):
            codec.decode(text, kind)


@pytest.mark.parametrize(
    ("kind", "body", "complaint"),
    [
        (Start, {**START, "run": {**RUN, "kind": "spaceship"}}, "field run.kind"),
        (Start, {**START, "run": {**RUN, "input": {"bucket": "input"}}}, "`name`"),
        (Start, {**START, "run": {**RUN, "options": {"text_mode": "poem"}}}, "field run.options.text_mode"),
        (Start, {**START, "limits": {"max_runtime_s": 0}}, "field limits.max_runtime_s"),
        (Start, {**START, "limits": {"max_cost_usd": -1}}, "field limits.max_cost_usd"),
        (Start, {**START, "labels": {"A B": "x"}}, "field labels"),
        (Start, {**START, "labels": {f"l{n}": "x" for n in range(33)}}, "field labels"),
        (Stop, {**STOP, "reason": "x" * 501}, "field reason"),
        (Heartbeat, {**BEAT, "attempt": 0}, "field attempt"),
        (Heartbeat, {**BEAT, "seq": -1}, "field seq"),
        (Heartbeat, {**BEAT, "status": "DANCING"}, "field status"),
        (Heartbeat, {**BEAT, "status": "FAILED"}, "needs `failure`"),
        (Heartbeat, {**BEAT, "status": "SUCCEEDED"}, "needs `result`"),
        (Heartbeat, {**BEAT, "progress": {"done": 1}}, "field progress"),
        (Meta, {**META, "sender": ""}, "field sender"),
        (Meta, {**META, "data": []}, "field data"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_field_that_is_wrong_is_named(kind: type[Any], body: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidMessage, match=complaint):
        codec.decode(json.dumps(body), kind)


def test_a_wrong_field_is_named_beside_text_that_is_no_unicode() -> None:
    with pytest.raises(InvalidMessage, match="field job_id"):
        codec.convert({**STOP, "user_id": "\ud800", "job_id": 5}, Stop)


def test_a_beat_of_the_workflow_is_understood() -> None:
    beat = codec.decode(
        json.dumps(
            {
                **BEAT,
                "status": "SUCCEEDED",
                "seq": 1_000_000,
                "execution": "projects/p/locations/r/workflows/w/executions/e",
                "stages": [{"name": "preprocess", "started_at": 1, "finished_at": 2.5, "busy_s": 1}],
                "progress": {"done": 3, "total": 3, "unit": "records"},
                "result": {"bucket": "out", "prefix": "a/1", "records": 3, "rejected": 0, "labels": {"good": 3}},
            }
        ),
        Heartbeat,
    )

    assert beat.is_last
    assert beat.stages[0].busy_s == 1
    assert beat.result is not None
    assert beat.result.labels == {"good": 3}


def test_limits_asked_for_stand_over_the_defaults() -> None:
    defaults = Limits(max_runtime_s=100, provision_timeout_s=50, max_errors=0, max_interruptions=3)

    limits = LimitsAsked(max_runtime_s=200, max_errors=2, max_cost_usd=1.5).over(defaults)

    assert limits == Limits(
        max_runtime_s=200, provision_timeout_s=50, max_errors=2, max_interruptions=3, max_cost_usd=1.5
    )


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("sentiment", ModelRef(name="sentiment")),
        ("sentiment@2", ModelRef(name="sentiment", version="2")),
    ],
)
def test_a_model_is_named_with_or_without_its_version(text: str, model: ModelRef) -> None:
    assert ModelRef.parse(text) == model


@pytest.mark.parametrize("text", ["", "@1", "a@", "a b", "../a", "a@../b", "A"])
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(InvalidMessage, match=r"field (name|version)"):
        ModelRef.parse(text)


def test_an_error_quotes_no_more_than_a_line_of_what_was_sent() -> None:
    for broken in ({"status": "x" * 10_000}, {"\x1b[31m" + "k" * 10_000: 1}):
        with pytest.raises(InvalidMessage) as caught:
            codec.decode(json.dumps(broken).encode(), Heartbeat)

        assert len(caught.value.message) < 500
        assert caught.value.message.isprintable()
