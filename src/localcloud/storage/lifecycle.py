"""Which objects does a bucket's lifecycle configuration delete or move to another storage class, and when?

https://cloud.google.com/storage/docs/lifecycle
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import re2

from localcloud.storage.errors import invalid
from localcloud.storage.resources import STORAGE_CLASSES, StoredObject
from localcloud.storage.times import DAY_US, microseconds_of, midnight_of

MAX_RULES = 100
DELETE, SET_CLASS, ABORT = "Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"
# Of several classes that are due, the one that costs least to store in wins.
_CHEAPEST_LAST = ("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE")
_ABORT_CONDITIONS = frozenset({"age", "matchesPrefix", "matchesSuffix"})


def due(item: StoredObject, newer: int, rules: list[dict[str, Any]], now: int) -> str | None:
    """What is to be done with a version that has `newer` newer ones: DELETE, a storage class, or nothing."""
    classes = []
    for rule in rules:
        kind = rule["action"]["type"]
        if kind == ABORT or not _matches(rule["condition"], item, newer, now):
            continue
        if kind == DELETE:
            return DELETE
        classes.append(rule["action"]["storageClass"])
    ranked = [name for name in _CHEAPEST_LAST if name in classes]
    if not ranked or item.storage_class not in _CHEAPEST_LAST:
        return None
    colder = _CHEAPEST_LAST.index(ranked[-1]) > _CHEAPEST_LAST.index(item.storage_class)
    return ranked[-1] if colder else None


def abort_due(name: str, created: int, rules: list[dict[str, Any]], now: int) -> bool:
    """Whether an unfinished multipart upload of `name`, begun at `created`, is to be ended."""
    return any(
        rule["action"]["type"] == ABORT
        and now >= created + rule["condition"].get("age", 0) * DAY_US
        and _name_matches(rule["condition"], name)
        for rule in rules
    )


def rules_of(lifecycle: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The rules of a bucket's `lifecycle`, which `check` has seen."""
    return list((lifecycle or {}).get("rule") or ())


def check(lifecycle: Any) -> None:
    """Whether this may be a bucket's lifecycle configuration. Raises StorageError 400."""
    if lifecycle is None:
        return
    rules = lifecycle.get("rule") if isinstance(lifecycle, dict) else lifecycle
    if rules is None:
        return
    if not isinstance(rules, list) or len(rules) > MAX_RULES:
        raise invalid(f"Invalid value for lifecycle.rule: {rules!r:.40}, expected a list of up to {MAX_RULES}.")
    for number, rule in enumerate(rules):
        _check_rule(rule, f"lifecycle.rule[{number}]")


def _check_rule(rule: Any, where: str) -> None:
    action = rule.get("action") if isinstance(rule, dict) else None
    condition = rule.get("condition") if isinstance(rule, dict) else None
    if not isinstance(action, dict) or not isinstance(condition, dict):
        raise invalid(f"Invalid value for {where}: {rule!r:.60}, expected an action and a condition.")
    if not condition:
        raise invalid(f"Invalid value for {where}.condition: at least one condition is required.")
    kind = action.get("type")
    if kind not in (DELETE, SET_CLASS, ABORT):
        raise invalid(
            f"Invalid value for {where}.action.type: {kind!r:.40}, expected {DELETE}, {SET_CLASS} or {ABORT}."
        )
    if kind == SET_CLASS and action.get("storageClass") not in STORAGE_CLASSES:
        raise invalid(f"Invalid value for {where}.action.storageClass: {action.get('storageClass')!r:.40}.")
    for name, value in condition.items():
        parse = _CONDITIONS.get(name)
        if parse is None or (kind == ABORT and name not in _ABORT_CONDITIONS):
            raise invalid(f"Invalid condition of {where}: {name!r:.40} does not go with {kind}.")
        parse(value, f"{where}.condition.{name}")


def _matches(condition: Mapping[str, Any], item: StoredObject, newer: int, now: int) -> bool:
    """All that a condition names must hold; what is absent always does."""
    return _name_matches(condition, item.name) and all(
        _HOLDS[name](value, item, newer, now) for name, value in condition.items() if name in _HOLDS
    )


def _name_matches(condition: Mapping[str, Any], name: str) -> bool:
    prefixes, suffixes = condition.get("matchesPrefix"), condition.get("matchesSuffix")
    return (not prefixes or name.startswith(tuple(prefixes))) and (not suffixes or name.endswith(tuple(suffixes)))


def _custom_time(item: StoredObject) -> int | None:
    text = item.fields.get("customTime")
    return None if text is None else microseconds_of(text, "customTime")


def _is_past(since: int | None, days: int, now: int) -> bool:
    return since is not None and now >= since + days * DAY_US


def _is_before(moment: int | None, day: str) -> bool:
    return moment is not None and moment < midnight_of(day, "condition")


# What a condition's value says of an item that has `newer` newer versions.
_HOLDS: dict[str, Callable[[Any, StoredObject, int, int], bool]] = {
    "age": lambda days, item, newer, now: _is_past(item.created, days, now),
    "createdBefore": lambda day, item, newer, now: _is_before(item.created, day),
    "customTimeBefore": lambda day, item, newer, now: _is_before(_custom_time(item), day),
    "daysSinceCustomTime": lambda days, item, newer, now: _is_past(_custom_time(item), days, now),
    "daysSinceNoncurrentTime": lambda days, item, newer, now: _is_past(item.deleted, days, now),
    "isLive": lambda live, item, newer, now: live == (item.deleted is None),
    "matchesPattern": lambda pattern, item, newer, now: re2.fullmatch(pattern, item.name) is not None,
    "matchesStorageClass": lambda classes, item, newer, now: item.storage_class in classes,
    "noncurrentTimeBefore": lambda day, item, newer, now: _is_before(item.deleted, day),
    "numNewerVersions": lambda count, item, newer, now: newer >= count,
    "sizeAboveBytes": lambda size, item, newer, now: item.size > int(size),
    "sizeBelowBytes": lambda size, item, newer, now: item.size < int(size),
}


def _is_count(value: Any, field: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise invalid(f"Invalid value for {field}: {value!r:.40}, expected a whole number, 0 or more.")


def _is_size(value: Any, field: str) -> None:
    if not (isinstance(value, (str, int)) and str(value).isascii() and str(value).isdigit() and len(str(value)) < 20):
        raise invalid(f"Invalid value for {field}: {value!r:.40}, expected a number of bytes.")


def _is_flag(value: Any, field: str) -> None:
    if not isinstance(value, bool):
        raise invalid(f"Invalid value for {field}: {value!r:.40}, expected true or false.")


def _is_texts(value: Any, field: str) -> None:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise invalid(f"Invalid value for {field}: {value!r:.40}, expected a list of strings.")


def _is_pattern(value: Any, field: str) -> None:
    try:
        re2.compile(value if isinstance(value, str) else "(")
    except re2.error as error:
        raise invalid(f"Invalid value for {field}: {value!r:.40}, expected a regular expression of RE2.") from error


_CONDITIONS: dict[str, Callable[[Any, str], Any]] = {
    "age": _is_count,
    "createdBefore": midnight_of,
    "customTimeBefore": midnight_of,
    "daysSinceCustomTime": _is_count,
    "daysSinceNoncurrentTime": _is_count,
    "isLive": _is_flag,
    "matchesPattern": _is_pattern,
    "matchesPrefix": _is_texts,
    "matchesStorageClass": _is_texts,
    "matchesSuffix": _is_texts,
    "noncurrentTimeBefore": midnight_of,
    "numNewerVersions": _is_count,
    "sizeAboveBytes": _is_size,
    "sizeBelowBytes": _is_size,
}
