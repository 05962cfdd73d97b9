"""What does an update with a field mask make of a resource?

https://protobuf.dev/reference/protobuf/google.protobuf/#field-mask
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localcloud.pubsub.errors import InvalidArgument, shown


def merged(old: Any, new: Any, paths: Sequence[str], *, fixed: Sequence[str]) -> Any:
    """`old` with the fields that the mask names from `new`; one that `new` lacks is cleared.

    Raises:
        InvalidArgument: the mask is empty, names a field that is not there, or one of `fixed`.
    """
    from google.protobuf.field_mask_pb2 import FieldMask

    if not paths:
        raise InvalidArgument("update_mask is empty; expected the names of the fields to change")
    changed, source = type(old)(), type(old)()
    changed.CopyFrom(old)
    source.CopyFrom(new)
    for path in paths:
        if path.partition(".")[0] in fixed or not FieldMask(paths=[path]).IsValidForDescriptor(old.DESCRIPTOR):
            raise InvalidArgument(f"update_mask names {shown(path)}, which cannot be changed")
        _prepare(source, path)
    FieldMask(paths=paths).MergeMessage(source, changed, True, True)
    return changed


def _prepare(source: Any, path: str) -> None:
    """Have the messages on the way to a field, or nothing below them would be cleared."""
    *parents, _ = path.split(".")
    for name in parents:
        source = getattr(source, name)
        source.SetInParent()
