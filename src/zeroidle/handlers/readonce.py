"""How do many jobs share one look at the ledger's VMs and refusals?

Every job that waits for a VM has to know all of them. A call that looks after many jobs reads them once, and again
after each change of its own: what it has just taken is not offered to the next job. What others change meanwhile is
seen later, and does no harm: whoever takes a VM's entry counts all of them after that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from zeroidle.contracts.machines import Report, VmEntry, VmRef
from zeroidle.core.capacity import Block
from zeroidle.ports import Clock, Gone, VmStore

# A look is not older than this: warm VMs come and go.
MAX_AGE_S = 30.0
T = TypeVar("T")


class ReadOnce:
    """`zeroidle.ports.VmStore` over another one, for as long as a call takes."""

    def __init__(self, vms: VmStore, clock: Clock) -> None:
        self._vms = vms
        self._entries = _Memory(vms.entries, clock)
        self._blocks = _Memory(vms.blocks, clock)

    def enter(self, entry: VmEntry) -> None:
        """Enter a VM that is about to be asked for."""
        self._entries.forget()
        self._vms.enter(entry)

    def entry(self, ref: VmRef) -> VmEntry | None:
        """The entry of a VM as it is now."""
        return self._vms.entry(ref)

    def entries(self) -> tuple[VmEntry, ...]:
        """All of them, as they were a moment ago."""
        return self._entries.recall()

    def report(self, ref: VmRef, report: Report) -> None:
        """What the VM's worker does from now on."""
        self._entries.forget()
        self._vms.report(ref, report)

    def remove(self, ref: VmRef) -> None:
        """The VM is gone."""
        self._entries.forget()
        self._vms.remove(ref)

    def gone(self) -> tuple[Gone, ...]:
        """VMs that were removed and not yet forgotten."""
        return self._vms.gone()

    def forget(self, gone: Gone) -> None:
        """It will not come back."""
        self._vms.forget(gone)

    def blocks(self) -> tuple[Block, ...]:
        """The refusals that were kept, as they were a moment ago."""
        return self._blocks.recall()

    def block(self, block: Block) -> None:
        """Keep a refusal."""
        self._blocks.forget()
        self._vms.block(block)


class _Memory(Generic[T]):
    def __init__(self, read: Callable[[], T], clock: Clock) -> None:
        self._read, self._clock = read, clock
        self._kept: tuple[float, T] | None = None

    def recall(self) -> T:
        now = self._clock.now()
        if self._kept is None or now - self._kept[0] > MAX_AGE_S:
            self._kept = now, self._read()
        return self._kept[1]

    def forget(self) -> None:
        self._kept = None
