"""What does an expression evaluate to?"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.workflows import checker, operators, values
from localcloud.workflows.checker import Place
from localcloud.workflows.errors import DeploymentError, WorkflowError
from localcloud.workflows.evaluator import Code, Evaluator
from localcloud.workflows.names import StaticScope
from localcloud.workflows.parser import ExpressionError, parse
from localcloud.workflows.syntax import Embedded
from localcloud.workflows.thread import Call, Frame, Thread
from localcloud.workflows.tree import NOWHERE, Return, Routine, Workflow

INT64 = st.integers(values.INT_MIN, values.INT_MAX)
JSON = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def compiled(text: str, names: Sequence[str] = ()) -> Code:
    """The code of an expression, or DeploymentError."""
    checked = Workflow({"main": Routine("main", NOWHERE, {}, (Return(value=Embedded(parse(text), NOWHERE)),))})
    # Names are known as those of a loop around the expression would be.
    scope = StaticScope(frozenset(names))
    checker.RoutineChecker(checked, checked.routines["main"]).block(checked.routines["main"].body, Place(scope))
    return Evaluator({}, _never).code(checked.routines["main"].body[0].value, scope)  # type: ignore[attr-defined]


async def _never(_frame: Frame, _name: str, _args: object) -> None:
    raise NotImplementedError


def evaluate(text: str, **variables: Any) -> Any:
    frame = Frame(cast(Thread, None), Call("main"))
    frame.values.update(variables)
    now = compiled(text, list(variables)).now
    assert now is not None
    return now(frame)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("not true in [true, false]", True),  # not binds tighter than in
        ("not false and false", False),
        ("true or false and false", True),
        ("TRUE AND NOT False", True),
        ("1 == 1 == true", True),
        ("2 + 3 * 4 - 10 / 5", 12.0),
        ("-2 * -3", 6),
        ("10 - 4 - 3", 3),
        ("100 // 7 // 2", 7),
        ("-7 // 2", -4),
        ("7.5 // 2", 3),
        ("-7 % 3", 2),
        ("1 + 2 + 'x'", "3x"),
        ("'x' + 1 + 2", "x12"),
        ("1.5 + 'x' + true", "1.5xtrue"),
        ("1 + 2.5", 3.5),
        ('text.decode(text.encode("+2AA-"), "UTF-7")', "\ufffd"),
        ("6 / 3", 2.0),
        ("1 == 1.0", True),
        ("1 == '1'", False),
        ("true == 1", False),
        ("null == null", True),
        ("null == 0", False),
        ("[1, [2.0]] == [1.0, [2]]", True),
        ("'a' < 'b'", True),
        ("3 in [1, 3.0]", True),
        ("true in [1]", False),
        ('"k" in {"k": 1}', True),
        ('{"a": {"b": [5]}}.a["b"][0]', 5),
        ('"a\\n\\"b\\"\\t\\\\ \\d"', 'a\n"b"\t\\ \\d'),
        ("'single'", "single"),
        ('"\\ud83d\\ude00 \\ud83d"', "\U0001f600 \ufffd"),
        ('text.split("a-b", "-")[1]', "b"),
        ("-9223372036854775808", values.INT_MIN),
        ("1e3", 1000.0),
        ("false and 1 / 0 > 1", False),
        ("true or 1 / 0 > 1", True),
        ("  \n 1\n+\t2 ", 3),
        ('if(null, "yes", "no")', "no"),
        ('default(map.get({"a": 1}, ["a", "b"]), 9)', 9),
        ("list.prepend(list.concat([1], [2]), 0)", [0, 1, [2]]),
        ('map.merge_nested({"a": {"x": 1, "z": {"p": 1}}}, {"a": {"y": 2, "z": {"q": 2}}})',
         {"a": {"x": 1, "y": 2, "z": {"p": 1, "q": 2}}}),
        ('text.find_all("banana", "an")', [1, 3]),
        ('text.find_all_regex("banana", "a.")', [{"index": 1, "match": "an"}, {"index": 3, "match": "an"}]),
        ('text.replace_all_regex("aXXb", "X+", "\\1")', "a\\1b"),
        ('text.replace_all_regex("baaac", "a*", "-")', "-b-c-"),  # RE2: no empty match right behind another
        ('text.replace_all_regex("äb c", "\\\\b|$", "-")', "ä-b- -c-"),
        ('text.replace_all_regex("ä", "\\C", "-")', "--"),
        ('text.find_all_regex("äöb", "$")', [{"index": 3, "match": ""}]),
        ('text.find_all_regex("äxx", "x*")', [{"index": 0, "match": ""}, {"index": 1, "match": "xx"}]),
        ('text.url_encode("a b/ü")', "a%20b%2F%C3%BC"),
        ('text.url_encode_plus("a b")', "a+b"),
        ('text.url_decode("a%20b+c")', "a b c"),
        ('base64.encode(text.encode("hi"), false)', "aGk"),
        ('text.decode(base64.decode("aGk", false))', "hi"),
        ('json.encode_to_string({"b": 1, "a": [true, null, 1.5]})', '{"a":[true,null,1.5],"b":1}'),
        ('time.format(0)', "1970-01-01T00:00:00Z"),
        ('time.format(1.5, "Europe/Berlin")', "1970-01-01T01:00:01.500000+01:00"),
        ('time.parse("1970-01-01T01:00:00.123456+01:00")', 0.123456),
        ("time.format(-62135596800)", "0001-01-01T00:00:00Z"),
        ('time.format(-3000000000.5, "America/New_York")', "1874-12-07T13:43:59.500000-04:56"),
        ('time.parse(time.format(-3000000000.5, "America/New_York"))', -3000000000.5),
        ("math.max(1, 2.5)", 2.5),
        ("math.floor(-1.5)", -2),
        ('int("-12")', -12),
        ('double("1.5")', 1.5),
        ("keys({'b': 1, 'a': 2})", ["b", "a"]),
        ("get_type(retry.always)", "function"),
        ("http.default_retry.max_retries", 5),
        ("retry.default_backoff.multiplier", 1.25),
    ],
)  # fmt: skip
def test_an_expression_has_its_documented_value(text: str, expected: Any) -> None:
    found = evaluate(text)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "tag", "message"),
    [
        ("1 / 0", "ZeroDivisionError", "division by zero"),
        ("1.0 // 0", "ZeroDivisionError", "division by zero"),
        ("true + 1", "TypeError", "unsupported operand types for +: 'bool' and 'int'"),
        ("[1] + [2]", "TypeError", "'list' and 'list'"),
        ("null + 'a'", "TypeError", "'NoneType' and 'str'"),
        ("1 < 'a'", "TypeError", "unsupported operand types for <"),
        ("true < false", "TypeError", "unsupported operand types for <"),
        ("7.5 % 2", "TypeError", "unsupported operand types for %"),
        ("1 and true", "TypeError", "operand of and must be a boolean"),
        ("not null", "TypeError", "operand of not must be a boolean"),
        ("-'a'", "TypeError", "unsupported operand type for -: 'str'"),
        ("'a' in 'abc'", "TypeError", "The argument of 'in' must be a dict or an array; got: \"abc\""),
        ("'a' in null", "TypeError", "The argument of 'in' must be a dict or an array; got: null"),
        ("[1][-1]", "IndexError", "index out of range: -1"),
        ("[1][1.0]", "TypeError", "list indices must be integers"),
        ("[1].a", "TypeError", "list indices must be integers"),
        ("{'a': 1}.b", "KeyError", "key not found: b"),
        ("'abc'[0]", "TypeError", "value of type 'str' has no elements"),
        ("9223372036854775807 + 1", "ValueError", "integer overflow"),
        ("1e308 * 10", "ValueError", "not a finite number"),
        ("string({'a': 1})", "TypeError", "unsupported operand type for string(): 'dict'"),
        ("int('1_0')", "ValueError", "invalid literal"),
        ("int(true)", "TypeError", "unsupported operand type for int(): 'bool'"),
        ("double('inf')", "ValueError", "invalid literal for double()"),
        ("double('1e999')", "ValueError", "not a finite number"),
        ("int(' 5')", "ValueError", "invalid literal for int()"),
        ("int('9223372036854775808')", "ValueError", "integer overflow"),
        ("{[]: 1}", "TypeError", "map keys must be strings"),
        ("1 // 0", "ZeroDivisionError", "int // int"),
        ("1 % 0", "ZeroDivisionError", "int % int"),
        ("len(5)", "TypeError", "argument of len()"),
        ("base64.decode('!')", "ValueError", "not base64"),
        ("base64.encode('text')", "TypeError", "data must be bytes, not a string"),
        ("json.decode('{')", "ValueError", "not JSON"),
        ("json.decode('NaN')", "ValueError", "not JSON"),
        ("json.decode('[1e999]')", "ValueError", "1e999 does not fit in a double"),
        ("json.decode('1%s')" % ("0" * 350), "ValueError", "does not fit in a double"),
        ("json.encode(text.encode('a'))", "TypeError", "cannot encode as JSON"),
        ("text.split('a', '')", "ValueError", "separator"),
        ("text.encode('a', '\\u0000')", "ValueError", "cannot encode"),
        ("text.decode(text.encode('a'), 'no\\u0000')", "ValueError", "cannot decode"),
        ("text.substring('abc', 2, 5)", "IndexError", "out of bounds"),
        ("text.url_decode('%zz')", "ValueError", "URL escape"),
        ("time.format(0, 'Nowhere/Land')", "ValueError", "time zone"),
        ("time.parse('2024-01-01')", "ValueError", "RFC 3339"),
        ("time.parse('2024-13-01T00:00:00Z')", "ValueError", "RFC 3339"),
        ("time.parse(5)", "TypeError", "value must be a string"),
        ("hash.compute_checksum('a', 'CRC')", "ValueError", "algorithm"),
        ("map.merge({}, 1)", "TypeError", "second must be a map"),
        ("math.abs('1')", "TypeError", "x must be an integer or a double, not a string"),
    ],
)
def test_a_failing_expression_raises_googles_error(text: str, tag: str, message: str) -> None:
    with pytest.raises(WorkflowError) as raised:
        evaluate(text)

    assert raised.value.value["tags"][0] == tag
    assert message in raised.value.value["message"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 +", "the end of the expression"),
        ("1 2", "unexpected '2'"),
        ("true And false", "unexpected 'And'"),
        ("v[special!key]", "token recognition error at: '!key]'"),
        ("(1", "expecting"),
        ("nothing", "symbol 'nothing' is neither a variable nor a sub-workflow name"),
        ("no.such(1)", "symbol 'no.such' is neither a function nor a sub-workflow name"),
        ("http.get('u')", "blocks"),
        ("sys.sleep(1)", "blocks"),
        ("len()", "missing argument"),
        ("len(1, 2)", "too many arguments"),
        ("9223372036854775808", "does not fit in 64 bits"),
        ("(" * 101 + "1" + ")" * 101, "nested too deeply"),
        ("-" * 200 + "v", "nested too deeply"),
        ("1" + "+1" * 200, "401 characters long"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_place(text: str, message: str) -> None:
    with pytest.raises((ExpressionError, DeploymentError)) as refused:
        compiled(text)

    assert message in str(refused.value)


def test_a_variable_hides_a_module_except_in_a_call() -> None:
    assert evaluate("list.concat(list.items, 2)", list={"items": [1]}) == [1, 2]


def test_an_integer_key_is_found_by_what_keys_gives() -> None:
    assert evaluate("m[keys(m)[0]] + m[1]", m={"1": 10}) == 20


@given(INT64, INT64)
def test_integer_arithmetic_is_exact_or_an_error(a: int, b: int) -> None:
    for sign, exact in (("+", a + b), ("-", a - b), ("*", a * b)):
        if values.INT_MIN <= exact <= values.INT_MAX:
            assert evaluate(f"a {sign} b", a=a, b=b) == exact
        else:
            with pytest.raises(WorkflowError, match="overflow"):
                evaluate(f"a {sign} b", a=a, b=b)


@given(INT64, INT64.filter(bool))
def test_floor_division_and_remainder_belong_together(a: int, b: int) -> None:
    if (a, b) != (values.INT_MIN, -1):
        assert evaluate("a // b", a=a, b=b) * b + evaluate("a % b", a=a, b=b) == a


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_is_never_infinite(a: float, b: float) -> None:
    for text in ("a + b", "a - b", "a * b", "a / b"):
        try:
            assert math.isfinite(evaluate(text, a=a, b=b))
        except WorkflowError as error:
            assert error.value["tags"][0] in ("ValueError", "ZeroDivisionError")  # noqa: PT017  # either is right


@given(JSON)
def test_json_text_decodes_to_the_same_value(value: Any) -> None:
    assert operators.equals(evaluate("json.decode(json.encode(v))", v=value), value)


@given(INT64)
def test_an_integer_survives_its_string(number: int) -> None:
    assert evaluate("int(string(n))", n=number) == number


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_text_survives_url_encoding(text: str) -> None:
    assert evaluate("text.url_decode(text.url_encode(t))", t=text) == text
    assert evaluate("text.url_decode(text.url_encode_plus(t))", t=text) == text


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(ExpressionError, DeploymentError):
        compiled(text)


@given(JSON, st.lists(st.one_of(st.text(), st.integers(0, 5)), min_size=1, max_size=3), JSON)
def test_a_write_changes_a_copy_and_accounts_for_its_size(container: Any, path: list[Any], value: Any) -> None:
    before = values.to_json(container)
    try:
        changed, growth = values.with_item(container, path, value)
    except WorkflowError:
        return
    assert values.to_json(container) == before
    assert values.size(container) + growth == values.size(changed)
