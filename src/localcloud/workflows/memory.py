"""How much memory do the variables of an execution take, as the documentation counts it?

Values are immutable, so a list or map that a variable holds is measured once, however many variables hold it and
however often it is assigned. https://cloud.google.com/workflows/docs/reference/syntax/variables#memory_usage
"""

from __future__ import annotations

from localcloud.workflows.values import SCALAR_BYTES, Value, memory_error, size

MAX_MEMORY_BYTES = 512 * 1024
FIXED = frozenset({type(None), bool, int, float})  # types whose values all count SCALAR_BYTES


class Memory:
    """The bytes that variables count for. Raises ResourceLimitError where they pass the limit."""

    __slots__ = ("_containers", "used")

    def __init__(self) -> None:
        self.used = 0
        # By identity, of containers that variables hold: the size, and how many variables do.
        self._containers: dict[int, list[int]] = {}

    def hold(self, value: Value, size_bytes: int | None = None) -> None:
        """One more variable has the value, whose size may be known."""
        self._grow(value, self._hold(value, size_bytes))

    def exchange(self, old: Value, new: Value, size_bytes: int | None = None) -> None:
        """A variable has another value now."""
        self._grow(new, self._hold(new, size_bytes) - self.measure(old))
        self._drop(old)

    def _grow(self, value: Value, growth: int) -> None:
        if self.used + growth > MAX_MEMORY_BYTES:
            self._drop(value)
            raise memory_error(f"variables take {self.used + growth} bytes, more than {MAX_MEMORY_BYTES}")
        self.used += growth

    def drop(self, value: Value) -> None:
        """A variable is gone."""
        self.used -= self._drop(value)

    def measure(self, value: Value) -> int:
        """The size of a value."""
        kind = type(value)
        if kind in FIXED:
            return SCALAR_BYTES
        if (kind is list or kind is dict) and (known := self._containers.get(id(value))) is not None:
            return known[0]
        return size(value, MAX_MEMORY_BYTES)

    def _hold(self, value: Value, size_bytes: int | None) -> int:
        kind = type(value)
        if kind in FIXED:
            return SCALAR_BYTES
        if kind is not list and kind is not dict:
            return size(value)
        known = self._containers.get(id(value))
        if known is None:
            known = [size(value, MAX_MEMORY_BYTES) if size_bytes is None else size_bytes, 0]
            self._containers[id(value)] = known
        known[1] += 1
        return known[0]

    def _drop(self, value: Value) -> int:
        kind = type(value)
        if kind in FIXED:
            return SCALAR_BYTES
        if kind is not list and kind is not dict:
            return size(value)
        known = self._containers[id(value)]
        known[1] -= 1
        if not known[1]:
            del self._containers[id(value)]
        return known[0]
