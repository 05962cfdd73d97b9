"""`map`. https://cloud.google.com/workflows/docs/reference/stdlib/map/get"""

from __future__ import annotations

from localcloud.workflows import choices
from localcloud.workflows.functions import expect, pure
from localcloud.workflows.values import Value


@pure("map.get")
def _get(map_: Value, keys: Value) -> Value:
    path = keys if type(keys) is list else [keys]
    for key in path:
        expect(key, str, "key")
    for key in path:
        map_ = map_.get(key) if type(map_) is dict else None
    return map_


@pure("map.delete")
def _delete(map_: Value, key: Value) -> Value:
    return choices.deleted(expect(map_, dict, "map"), expect(key, str, "key"))


@pure("map.merge")
def _merge(first: Value, second: Value) -> Value:
    return {**expect(first, dict, "first"), **expect(second, dict, "second")}


@pure("map.merge_nested")
def _merge_nested(first: Value, second: Value) -> Value:
    merged = dict(expect(first, dict, "first"))
    for key, value in expect(second, dict, "second").items():
        both = type(value) is dict and type(merged.get(key)) is dict
        merged[key] = _merge_nested(merged[key], value) if both else value
    return merged
