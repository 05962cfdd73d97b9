"""Which resources does a filter let through?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.workflows.errors import ApiError
from localcloud.workflows.filters import Field, Fields, moment, seconds

FIELDS = Fields(
    {
        "name": Field(lambda each: each["name"]),
        "time": Field(lambda each: each.get("time"), moment),
        "took": Field(lambda each: each.get("took"), seconds),
    },
    labels=lambda each: each.get("labels", {}),
)
DEEP = "(" * 100 + "name=a" + ")" * 100
RESOURCES: list[dict[str, Any]] = [
    {"name": "a", "time": 0.0, "took": 1.5, "labels": {"team": "x y"}},
    {"name": "ab", "time": 60.0, "took": 20.0},
    {"name": "c"},
]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["a", "ab", "c"]),
        ("name=a", ["a"]),
        ('name="a"', ["a"]),
        ("name!=a", ["ab", "c"]),
        ("name=a*", ["a", "ab"]),
        ("name!='a*'", ["c"]),
        ("name:c", ["c"]),
        ("time>=1970-01-01T00:01:00Z", ["ab"]),
        ('time<"1970-01-01T00:01:00Z"', ["a"]),
        ("time<1970-01-02", ["a", "ab"]),
        ("took>2s", ["ab"]),
        ("took>-1s", ["a", "ab"]),
        ('labels.team="x y"', ["a"]),
        ('label.team:"x y"', ["a"]),
        ("name=a AND took=1.5s", ["a"]),
        ("name=a took=1.5s", ["a"]),
        ("name=a OR name=c", ["a", "c"]),
        ("took>0s AND name=a OR name=c", ["a"]),
        ("(took>0s AND name=a) OR name=c", ["a", "c"]),
        ("NOT name=a", ["ab", "c"]),
        ("-name=a", ["ab", "c"]),
        ("NOT (name=a OR name=c)", ["ab"]),
    ],
)
def test_a_filter_lets_through(text: str, names: list[str]) -> None:
    passes = FIELDS.predicate(text)

    assert [each["name"] for each in RESOURCES if passes(each)] == names


@pytest.mark.parametrize(
    "text",
    ["name", "name=", "=a", "name=a AND", "(name=a", "name=a)", "colour=red", "time>soon", "took>long", "name~a", DEEP],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        FIELDS.predicate(text)

    assert refused.value.code == "INVALID_ARGUMENT"


@given(st.text(alphabet="name=\"'a *()ANDORT-<>!:\\.", max_size=40) | st.text(max_size=40))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        passes = FIELDS.predicate(text)
    except ApiError:
        return
    for each in RESOURCES:
        passes(each)
