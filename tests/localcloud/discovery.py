"""Is this JSON what Google's API takes and gives? Checked against the discovery documents of google-api-python-client.

A document lists the methods of an API by HTTP method and path, and the schemas of their bodies:
https://developers.google.com/discovery/v1/reference/apis
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec

# By the first segment of a path: which documents may know it.
DOCUMENTS = {
    "storage": ("storage.v1",),
    "compute": ("compute.v1",),
    "apis": ("run.v1",),
    "v2": ("run.v2",),
    "v1": (
        *("pubsub.v1", "eventarc.v1", "workflows.v1", "workflowexecutions.v1", "run.v1", "iamcredentials.v1"),
        *("iam.v1", "cloudscheduler.v1"),
    ),
}
MEDIA_PREFIXES = ("upload", "download", "resumable/upload")

# What is right although no document has it: where (a pattern), and why.
EXCEPTIONS = {
    "* /v1/*/executions/*/callbacks/*: no document": "the URL that events.create_callback_endpoint gives",
    "* /v2/*: error has unknown members: hint": "what to do next, for people; clients read code, message and status",
    "storage.objects.*: request .retention.retentionExpirationTime": "null, which google-cloud-storage sends along",
    "storage.*: query upload_id": "names a resumable upload; part of the URL that the server hands out",
    "*: query $alt": "a system parameter: https://cloud.google.com/apis/docs/system-parameters",
    "*: query access_token": "a system parameter, which storage's own document leaves out",
}

_FORMATS = {
    "int64": re.compile(r"-?\d{1,19}"),
    "uint64": re.compile(r"\d{1,20}"),
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "date-time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)"),
    "google-duration": re.compile(r"-?\d{1,12}(\.\d{1,9})?s"),
    "google-fieldmask": re.compile(r"[\w.,*`-]*"),
    "byte": re.compile(r"[A-Za-z0-9+/_-]*={0,2}"),
}
_FORMATS["google-datetime"] = _FORMATS["date-time"]
_INTEGERS = {"int32": (-(2**31), 2**31), "uint32": (0, 2**32)}


@dataclass
class Findings:
    """What is wrong with one value. `lenient_enums`: numbers may stand for names, as the caller asked for."""

    is_request: bool = False  # there null takes a value away, and a number may stand for the string of an int64
    lenient_enums: bool = False
    problems: list[str] = field(default_factory=list)

    def add(self, path: str, problem: str) -> None:
        self.problems.append(f"{path or 'the body'}: {problem}")


Check = Callable[[Any, str, Findings], None]


@dataclass(frozen=True)
class Method:
    """A method of an API, and the schemas by name that its document has."""

    api: str
    id: str
    parameters: Mapping[str, Any]
    request: str | None
    response: str | None
    literals: int  # of its path: the more, the closer it is to a path that it matches
    pattern: re.Pattern[str]

    def query_problems(self, query: str) -> Iterator[str]:
        """What is wrong with the names and values of query parameters."""
        given = parse_qsl(query, keep_blank_values=True)
        for name, value in given:
            spec = self.parameters.get(name)
            if spec is None or spec.get("location") == "path":
                yield f"{self.id}: query {name}: the method has no such parameter"
            elif (problem := _parameter_problem(spec, value)) and value:
                yield f"{self.id}: query {name}: {problem}"
        missing = {n for n, s in self.parameters.items() if s.get("required") and s.get("location") == "query"}
        yield from (f"{self.id}: query {name}: missing, but required" for name in missing - {n for n, _ in given})

    def body_problems(self, schema: str | None, body: Any, *, is_request: bool, lenient_enums: bool) -> Iterator[str]:
        """What is wrong with a body."""
        side = "request" if is_request else "answer"
        if schema is None:
            if body:
                yield f"{self.id}: {side}: a body, where the method has none"
            return
        findings = Findings(is_request, lenient_enums)
        _schema(self.api, schema)(body, "", findings)
        yield from (f"{self.id}: {side} {problem}" for problem in findings.problems)


def problems(value: Any, api: str, schema: str) -> list[str]:
    """What is wrong with a value that should be, say, a `PubsubMessage` of `pubsub.v1`; exceptions are left out."""
    findings = Findings()
    _schema(api, schema)(value, "", findings)
    return [each for each in (f"{schema}: {problem}" for problem in findings.problems) if not is_exception(each)]


def is_exception(problem: str) -> bool:
    """Whether the table of exceptions knows it."""
    return any(fnmatchcase(problem, f"{known}*") for known in EXCEPTIONS)


def is_api(path: str) -> bool:
    """Whether a path is one that a Google API could have."""
    return _below(path).partition("/")[0] in DOCUMENTS


def methods(verb: str, path: str) -> list[Method]:
    """The methods that a request may mean, of several APIs where they have the same path (operations)."""
    is_media, below = _below(path) != path.lstrip("/"), _below(path)
    # Whatever the step of an upload, the method is that which creates the object.
    wanted = "POST" if is_media and verb == "PUT" else verb
    found = [
        method
        for api in DOCUMENTS.get(below.partition("/")[0], ())
        for method in _methods(api).get((wanted, below.count("/")), ())
        if method.pattern.fullmatch(below)
    ]
    most = max((method.literals for method in found), default=0)
    return [method for method in found if method.literals == most]


def _below(path: str) -> str:
    path = path.lstrip("/")
    for prefix in MEDIA_PREFIXES:
        if path.startswith(f"{prefix}/storage/"):
            return path.removeprefix(f"{prefix}/")
    return path


@cache
def _document(api: str) -> dict[str, Any]:
    spec = importlib.util.find_spec("googleapiclient")  # looked up, not imported: that takes a while
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "discovery_cache" / "documents"
    return dict(msgspec.json.decode((folder / f"{api}.json").read_bytes()))


@cache
def _methods(api: str) -> dict[tuple[str, int], list[Method]]:
    """By HTTP method and number of slashes."""
    document = _document(api)
    found: dict[tuple[str, int], list[Method]] = {}
    for spec in _listed(document):
        path = document["servicePath"] + spec.get("flatPath", spec["path"])
        method = Method(
            api=api,
            id=spec["id"],
            parameters={**document["parameters"], **spec.get("parameters", {})},
            request=spec.get("request", {}).get("$ref"),
            response=spec.get("response", {}).get("$ref"),
            literals=len(re.sub(r"\{[^}]*\}", "", path)),
            pattern=re.compile("".join(_pattern(part) for part in re.split(r"(\{[^}]*\})", path))),
        )
        found.setdefault((spec["httpMethod"], path.count("/")), []).append(method)
    return found


def _listed(resource: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from resource.get("methods", {}).values()
    for below in resource.get("resources", {}).values():
        yield from _listed(below)


def _pattern(part: str) -> str:
    return "[^/]+" if part.startswith("{") else re.escape(part)


def _parameter_problem(spec: Mapping[str, Any], value: str) -> str | None:
    kind, form = spec.get("type"), spec.get("format")
    if kind == "boolean" and value not in ("true", "false", "True", "False"):
        return f"{value!r} is no boolean"
    if kind == "integer" and not re.fullmatch(r"-?\d+", value):
        return f"{value!r} is no integer"
    if kind == "string" and form in _FORMATS and not _FORMATS[form].fullmatch(value):
        return f"{value!r} is no {form}"
    if "enum" in spec and value not in spec["enum"] and not value.isdigit():
        return f"{value!r} is none of {', '.join(spec['enum'])}"
    return None


@cache
def _schema(api: str, name: str) -> Check:
    """The check of a named schema. Made when first used, since schemas may contain themselves."""
    made: list[Check] = []

    def check(value: Any, path: str, findings: Findings) -> None:
        if not made:
            made.append(_check(api, _document(api)["schemas"][name]))
        made[0](value, path, findings)

    return check


def _check(api: str, spec: Mapping[str, Any]) -> Check:
    """The check of what stands in a schema; null, where it is allowed, is always right."""
    if "$ref" in spec:
        return _schema(api, spec["$ref"])
    kind = spec["type"]
    if kind == "any":
        return lambda value, path, findings: None
    inner = {"object": _object, "array": _array, "string": _string, "boolean": _boolean}.get(kind, _number)(api, spec)

    def check(value: Any, path: str, findings: Findings) -> None:
        if value is not None or not findings.is_request:
            inner(value, path, findings)

    return check


def _object(api: str, spec: Mapping[str, Any]) -> Check:
    members = {name: _check(api, member) for name, member in spec.get("properties", {}).items()}
    others = _check(api, spec["additionalProperties"]) if "additionalProperties" in spec else None
    kind = spec.get("properties", {}).get("kind", {}).get("default")

    def check(value: Any, path: str, findings: Findings) -> None:
        if not isinstance(value, dict):
            findings.add(path, f"is {_shown(value)}; expected an object")
            return
        for name, member in value.items():
            inner = members.get(name, others)
            if inner is None:
                findings.add(f"{path}.{name}", "the schema has no such member")
            else:
                inner(member, f"{path}.{name}", findings)
        if kind is not None and value.get("kind", kind) != kind:
            findings.add(f"{path}.kind", f"is {_shown(value['kind'])}; expected {kind}")

    return check


def _array(api: str, spec: Mapping[str, Any]) -> Check:
    item = _check(api, spec["items"])

    def check(value: Any, path: str, findings: Findings) -> None:
        if not isinstance(value, list):
            findings.add(path, f"is {_shown(value)}; expected a list")
            return
        for index, each in enumerate(value):
            item(each, f"{path}[{index}]", findings)

    return check


def _string(_: str, spec: Mapping[str, Any]) -> Check:
    form = spec.get("format", "")
    pattern, names = _FORMATS.get(form), frozenset(spec.get("enum", ()))

    def check(value: Any, path: str, findings: Findings) -> None:
        if isinstance(value, int) and (findings.lenient_enums if names else findings.is_request and "int64" in form):
            return
        if not isinstance(value, str):
            findings.add(path, f"is {_shown(value)}; expected a string" + (f" ({form})" if form else ""))
        elif pattern is not None and not pattern.fullmatch(value):
            findings.add(path, f"is {_shown(value)}; expected the format {form}")
        elif names and value not in names:
            findings.add(path, f"is {_shown(value)}; expected one of {', '.join(sorted(names))}")

    return check


def _boolean(_: str, __: Mapping[str, Any]) -> Check:
    def check(value: Any, path: str, findings: Findings) -> None:
        if not isinstance(value, bool):
            findings.add(path, f"is {_shown(value)}; expected true or false")

    return check


def _number(_: str, spec: Mapping[str, Any]) -> Check:
    kind: Any = int if spec["type"] == "integer" else (int, float)
    low, high = _INTEGERS.get(spec.get("format", ""), (float("-inf"), float("inf")))

    def check(value: Any, path: str, findings: Findings) -> None:
        if isinstance(value, bool) or not isinstance(value, kind):
            findings.add(path, f"is {_shown(value)}; expected a number, {spec.get('format', spec['type'])}")
        elif not low <= value < high:
            findings.add(path, f"is {value}, which does not fit {spec['format']}")

    return check


def _shown(value: Any) -> str:
    return repr(value)[:80]
