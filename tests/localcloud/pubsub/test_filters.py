"""The filter language lets through what the service's documentation says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.pubsub import filters
from localcloud.pubsub.errors import InvalidArgument

ATTRIBUTES = {"domain": "com", "ce-type": "x", "empty": "", "iana.org/language_tag": "en-GB", "みん": "π", 'q"': "\\"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "attributes:domain",
        "attributes : domain",
        "attributes:empty",
        'attributes.domain = "com"',
        'attributes.domain="com"',
        'attributes.domain != "org"',
        'attributes.missing != "org"',
        'attributes.empty = ""',
        'attributes.ce-type = "x"',
        'attributes:"iana.org/language_tag"',
        'attributes."iana.org/language_tag" = "en-GB"',
        'hasPrefix(attributes."iana.org/language_tag", "en")',
        'hasPrefix ( attributes.domain , "" )',
        "NOT attributes:missing",
        "-attributes:missing",
        "NOT -attributes:domain",
        "NOT (attributes:missing)",
        'attributes:domain AND attributes.domain = "com" AND -attributes:missing',
        "attributes:missing OR attributes:domain",
        'attributes:domain AND (attributes.domain = "org" OR attributes.domain = "com")',
        "((attributes:domain))",
        r'attributes."\u307F\u3093" = "\u03c0"',
        'attributes."みん" = "π"',
        r'attributes."q\"" = "\\"',
        r'attributes.domain = "\x63\157m"',
    ],
    ids=repr,
)
def test_the_filter_matches(text: str) -> None:
    assert filters.parse(text)(ATTRIBUTES)


@pytest.mark.parametrize(
    "text",
    [
        "attributes:missing",
        "attributes:Domain",
        'attributes.domain = "COM"',
        'attributes.missing = ""',
        'attributes.domain != "com"',
        'hasPrefix(attributes.domain, "o")',
        'hasPrefix(attributes.missing, "")',
        "NOT attributes:domain",
        "-attributes:domain",
        "attributes:domain AND attributes:missing",
        "attributes:missing OR NOT attributes:domain",
        "-attributes:missing AND attributes:missing",
    ],
    ids=repr,
)
def test_the_filter_does_not_match(text: str) -> None:
    assert not filters.parse(text)(ATTRIBUTES)


@pytest.mark.parametrize(
    "text",
    [
        "bogus ((",
        "attributes",
        "attributes.a",
        "attributes.a =",
        "attributes.a = b",
        "attributes.a = 'b'",
        'attributes.a == "b"',
        'attributes.a < "b"',
        'attributes.a = "b',
        'data = "x"',
        "attributes:a and attributes:b",
        "attributes:a AND",
        "attributes:a attributes:b",
        "attributes:a AND attributes:b OR attributes:c",
        "(attributes:a",
        "attributes:a)",
        "()",
        "hasPrefix(attributes:a)",
        'hasPrefix(attributes.a "b")',
        'hasSuffix(attributes.a, "b")',
        r'attributes.a = "\UFFFFFFFF"',
        "attributes.みん",
        "NOT",
    ],
    ids=repr,
)
def test_a_filter_that_breaks_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="filter"):
        filters.parse(text)


def test_a_filter_has_at_most_256_bytes() -> None:
    filters.parse('attributes.a = "' + "x" * 239 + '"')
    with pytest.raises(InvalidArgument, match="257 bytes"):
        filters.parse('attributes.a = "' + "x" * 240 + '"')


TOKENS = st.sampled_from(
    ["attributes", ".", ":", "=", "!=", '"a"', "a", "hasPrefix", "(", ")", ",", "AND", "OR", "NOT", "-", " ", "\\", '"']
)


@given(
    st.one_of(st.text(max_size=300), st.lists(TOKENS, max_size=60).map(" ".join), st.integers(1, 255).map("(".__mul__))
)
def test_any_text_is_a_filter_or_a_clear_refusal(text: str) -> None:
    try:
        match = filters.parse(text)
    except InvalidArgument:
        return

    assert match({"a": "a"}) in (True, False)


NAMES = st.sampled_from(["a", "b", "c"])
CONDITIONS = st.recursive(
    st.one_of(
        NAMES.map(lambda k: (f"attributes:{k}", lambda m: k in m)),
        st.tuples(NAMES, NAMES).map(lambda kv: (f'attributes.{kv[0]}="{kv[1]}"', lambda m: m.get(kv[0]) == kv[1])),
        st.tuples(NAMES, NAMES).map(lambda kv: (f'attributes.{kv[0]}!="{kv[1]}"', lambda m: m.get(kv[0]) != kv[1])),
    ),
    lambda inner: st.one_of(
        inner.map(lambda c: (f"NOT ({c[0]})", lambda m: not c[1](m))),
        st.tuples(inner, inner).map(
            lambda cs: (f"({cs[0][0]}) AND ({cs[1][0]})", lambda m: cs[0][1](m) and cs[1][1](m))
        ),
        st.tuples(inner, inner).map(lambda cs: (f"({cs[0][0]}) OR ({cs[1][0]})", lambda m: cs[0][1](m) or cs[1][1](m))),
    ),
    max_leaves=6,
)


@given(CONDITIONS, st.dictionaries(NAMES, NAMES))
def test_a_composed_filter_means_what_its_parts_mean(condition: tuple, attributes: dict[str, str]) -> None:
    text, expected = condition
    if len(text) <= filters.MAX_BYTES:
        assert filters.parse(text)(attributes) == expected(attributes)
