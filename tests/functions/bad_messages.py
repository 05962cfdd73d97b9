"""Messages that break their contract or claim what is not theirs, drawn from a seed."""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

TIME = "2027-01-15T08:00:00Z"
STALE, UNKNOWN, FORGED = "a stale attempt", "no such job", "a forged user"
# Of each kind of message one that is right, about a job that is there.
OWN = {"schema": 1, "job_id": "m-1", "user_id": "me"}
RUN = {
    "kind": "machine",
    "command": ["train"],
    "args": ["--fast"],
    "env": {"RATE": "1"},
    "wanted": {"accelerators": ["1xl4"], "regions": ["us-central1"], "hedge": 1},
    "keep_alive_s": 0,
}
WORKER = {
    "vm": {"name": "m-1-a1", "cluster": "1xl4", "region": "us-central1"},
    "zone": "us-central1-a",
    "usd_per_hour": 1.0,
    "boot_id": "boot-1",
}
RIGHT: dict[str, dict[str, Any]] = {
    "on_job_start": {**OWN, "job_id": "new-1", "run": RUN, "limits": {"max_errors": 1}, "labels": {"team": "a"}},
    "on_job_stop": {**OWN, "reason": "enough"},
    "on_job_heartbeat": {
        **OWN,
        "attempt": 1,
        "seq": 5,
        "sent_at": 1_800_000_000.5,
        "status": "RUNNING",
        "worker": WORKER,
        "progress": {"done": 1, "unit": "steps"},
        "message": "",
    },
    "on_job_meta": {**OWN, "attempt": 1, "created_at": 1.5, "sender": "job", "operation": "o", "data": {"a": 1}},
}
REQUIRED = {
    "on_job_start": ["schema", "job_id", "user_id", "run"],
    "on_job_stop": ["schema", "job_id", "user_id"],
    "on_job_heartbeat": ["schema", "job_id", "user_id", "attempt", "seq", "sent_at", "status"],
    "on_job_meta": ["schema", "job_id", "user_id", "attempt", "created_at", "sender", "operation"],
}
HOSTILE_IDS = [
    "",
    "A",
    "-a",
    "a/b",
    "../../jobs/m-1",
    "a\n",
    "a\0",
    "ü",
    "a b",
    "a" * 60,
    "m-1.json",
    "*",
    "$(id)",
    "\ud800",
]
HOSTILE_USERS = ["", "-me", "me\n", "a/b", "me\0", "u" * 200, "<b>", "\u202eme"]


class Bad(NamedTuple):
    """A message for a function, and what is wrong with it."""

    target: str
    wrong: str
    data: Any  # of the CloudEvent


def bad_messages(seed: int, count: int) -> Iterator[Bad]:
    """So many of all kinds."""
    rng = random.Random(seed)
    kinds = list(_KINDS)
    for n in range(count):
        target = rng.choice(list(RIGHT))
        kind = kinds[n % len(kinds)]
        made = _KINDS[kind](rng, target, copy.deepcopy(RIGHT[target]))
        if made is None:
            continue
        yield Bad(target, kind, made if isinstance(made, _Event) else delivered(made))


class _Event(dict[str, Any]):
    """What stands in the CloudEvent itself."""


def delivered(body: Any) -> dict[str, Any]:
    """The body as Pub/Sub delivers it through Eventarc."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = {"data": base64.b64encode(data).decode(), "messageId": "m", "publishTime": TIME}
    return {"message": message, "subscription": "projects/p/subscriptions/s"}


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (holder, key) of a message; not what is below `data`, which may be anything."""
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(child, dict | list) and key != "data":
            yield from _places(child)


def _wrong_type(rng: random.Random, target: str, body: Any) -> Any:
    holder, key = rng.choice(list(_places(body)))
    now = holder[key]
    others: list[Any] = [[], {}, "x", 7, 1.5, True, [[]], {"a": {}}]
    kinds: tuple[type, ...] = (int, float) if isinstance(now, float) else (type(now),)
    holder[key] = rng.choice([each for each in others if type(each) not in kinds])
    return body


def _unknown_field(rng: random.Random, target: str, body: Any) -> Any:
    holders = [body, *(holder[key] for holder, key in _places(body) if isinstance(holder[key], dict) and key != "data")]
    rng.choice(holders)[rng.choice(["admin", "State", "__class__", "job_id ", "Ünï", "$ref"])] = rng.choice(
        [1, None, [], {}]
    )
    return body


def _missing(rng: random.Random, target: str, body: Any) -> Any:
    del body[rng.choice(REQUIRED[target])]
    return body


def _hostile_id(rng: random.Random, target: str, body: Any) -> Any:
    return {**body, "job_id": rng.choice(HOSTILE_IDS)}


def _hostile_user(rng: random.Random, target: str, body: Any) -> Any:
    return {**body, "user_id": rng.choice(HOSTILE_USERS)}


def _schema(rng: random.Random, target: str, body: Any) -> Any:
    return {**body, "schema": rng.choice([0, 2, -1, "1", None, 1.5, [], True, 10**30])}


def _huge(rng: random.Random, target: str, body: Any) -> Any:
    field = rng.choice(["job_id", "user_id", "reason", "message", "sender", "operation", "status", "extra"])
    return {**body, field: "x" * rng.choice([10_000, 100_000])}


def _many(rng: random.Random, target: str, body: Any) -> Any:
    field = rng.choice(["labels", "stages", "run", "data", "wanted"])
    return {**body, "extra": 1, field: {f"k{n}": n for n in range(2000)}}


def _binary(rng: random.Random, target: str, body: Any) -> Any:
    return rng.randbytes(rng.choice([0, 1, 10, 1000]))


def _cut(rng: random.Random, target: str, body: Any) -> Any:
    whole = json.dumps(body).encode()
    return whole[: rng.randrange(len(whole))]


def _flipped(rng: random.Random, target: str, body: Any) -> Any:
    return json.dumps(body).encode() + rng.choice([b"}", b"\0", b"{}", b"\xff", b" x"])


def _nested(rng: random.Random, target: str, body: Any) -> Any:
    depth = rng.choice([100, 2000, 20_000])
    inner = rng.choice([b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth])
    return inner if rng.random() < 0.5 else b'{"schema":1,"job_id":"m-1","user_id":"me","run":' + inner + b"}"


def _no_object(rng: random.Random, target: str, body: Any) -> Any:
    return rng.choice([[], [body], "text", 7, None, True, ""])


def _numbers(rng: random.Random, target: str, body: Any) -> Any:
    if "attempt" not in body:
        return None
    field = rng.choice(["attempt"] * 2 + ["seq", "sent_at"] * (target == "on_job_heartbeat"))
    text = rng.choice(
        ["-1", "NaN", "Infinity", "-1e400", "1e400", '"1"', "[1]"] + ["0", "1001", "1.5"] * (field == "attempt")
    )
    body[field] = "@"
    return json.dumps(body).replace('"@"', text).encode()


def _forged_user(rng: random.Random, target: str, body: Any) -> Any:
    return {**body, "job_id": rng.choice(["m-1", "job-1"]), "user_id": rng.choice(["you", "root", "me2", "Me", "m"])}


def _unknown_job(rng: random.Random, target: str, body: Any) -> Any:
    return {**body, "job_id": f"x{rng.randrange(10**6)}"} if "attempt" in body else None


def _coming_attempt(rng: random.Random, target: str, body: Any) -> Any:
    return {**body, "attempt": rng.choice([3, 4, 1000])} if "attempt" in body else None


def _stale_attempt(rng: random.Random, target: str, body: Any) -> Any:
    if target != "on_job_heartbeat":
        return None
    end = rng.choice([{}, {"status": "STOPPED"}, {"status": "PREEMPTED"}])
    return {**body, "attempt": 1, "seq": rng.randrange(10**6), **end}


def _envelope(rng: random.Random, target: str, body: Any) -> Any:
    whole = delivered(body)
    message = dict(whole["message"])
    change = rng.choice(
        [{"data": "not base64!"}, {"data": 7}, {"messageId": None}, {"messageId": ""}, {"publishTime": "x"}]
    )
    return _Event({"message": {**message, **change}} if rng.random() < 0.8 else rng.choice([{}, {"message": []}]))


_KINDS: dict[str, Callable[[random.Random, str, Any], Any]] = {
    "a wrong type": _wrong_type,
    "an unknown field": _unknown_field,
    "a missing field": _missing,
    "a hostile job id": _hostile_id,
    "a hostile user id": _hostile_user,
    "another schema": _schema,
    "a huge field": _huge,
    "many fields": _many,
    "binary": _binary,
    "cut off": _cut,
    "something after its end": _flipped,
    "nested": _nested,
    "no object": _no_object,
    "impossible numbers": _numbers,
    FORGED: _forged_user,
    UNKNOWN: _unknown_job,
    "an attempt to come": _coming_attempt,
    STALE: _stale_attempt,
    "a broken envelope": _envelope,
}
