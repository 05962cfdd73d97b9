"""The filter language lets through what the service's documentation says."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from localcloud.pubsub import filters
from localcloud.pubsub.errors import InvalidArgument
from localcloud.pubsub.filters import And, Differs, Equals, Filter, Has, HasPrefix, Not, Or

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
    assert filters.parse(text).matches(ATTRIBUTES)


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
    assert not filters.parse(text).matches(ATTRIBUTES)


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

    assert match.matches({"a": "a"}) in (True, False)


# Not only letters: what stands in quotes may be anything that has a UTF-8 form.
KEYS = st.one_of(st.sampled_from(["a", "b", "ce-type"]), st.text(st.characters(codec="utf-8"), max_size=4))
VALUES = st.one_of(st.sampled_from(["", "a", "b"]), st.text(st.characters(codec="utf-8"), max_size=4))
FILTERS = st.recursive(
    st.one_of(
        st.builds(Has, KEYS), st.builds(Equals, KEYS, VALUES), st.builds(Differs, KEYS, VALUES),
        st.builds(HasPrefix, KEYS, VALUES),
    ),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)  # fmt: skip


@given(FILTERS)
def test_a_printed_filter_parses_to_the_same_filter(tree: Filter) -> None:
    assume(len(str(tree).encode()) <= filters.MAX_BYTES)

    assert filters.parse(str(tree)) == tree


def means(tree: Filter, attributes: dict[str, str]) -> bool:
    """What the documentation says, in other words than the implementation."""
    match tree:
        case Has(key):
            return key in attributes
        case Equals(key, value):
            return (key, value) in attributes.items()
        case Differs(key, value):
            return (key, value) not in attributes.items()
        case HasPrefix(key, prefix):
            return attributes.get(key, "-" + prefix)[: len(prefix)] == prefix and key in attributes
        case Not(term):
            return not means(term, attributes)
        case And(terms):
            return not [term for term in terms if not means(term, attributes)]
        case Or(terms):
            return any([means(term, attributes) for term in terms])  # noqa: C419  # all of them are asked
    raise AssertionError(tree)


@given(FILTERS, st.dictionaries(KEYS, VALUES))
def test_a_composed_filter_means_what_its_parts_mean(tree: Filter, attributes: dict[str, str]) -> None:
    assert tree.matches(attributes) == means(tree, attributes)
