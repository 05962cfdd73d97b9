"""The ledger's entries of VMs and refusals: each one object whose metadata says it all, so that one list reads many."""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from zeroidle.contracts import codec, names
from zeroidle.contracts.codec import Contract
from zeroidle.contracts.machines import Report, VmEntry, VmRef
from zeroidle.contracts.services import ObjectRef
from zeroidle.core.capacity import Block
from zeroidle.errors import Conflict, InvalidMessage, MissingObject, ZeroidleError
from zeroidle.ports import ABSENT, Gone, ObjectInfo, Objects

KEY = "zeroidle-entry"
T = TypeVar("T")


class _Block(Contract, frozen=True, kw_only=True):
    cluster: str
    region: str
    code: str
    at: float
    until: float
    failures: int


class BucketVmStore:
    """`zeroidle.ports.VmStore` in the bucket `bucket`."""

    def __init__(self, objects: Objects, bucket: str) -> None:
        self._objects = objects
        self._bucket = bucket

    def enter(self, entry: VmEntry) -> None:
        """Enter a VM that is about to be asked for; one that stands there already stays as it is."""
        try:
            self._write(self._entry_ref(entry.ref), entry, ABSENT)
        except Conflict:
            return

    def entry(self, ref: VmRef) -> VmEntry | None:
        """The entry of a VM, or None."""
        info = self._objects.stat(self._entry_ref(ref))
        return None if info is None else _decoded(info, VmEntry)

    def entries(self) -> tuple[VmEntry, ...]:
        """All of them: what is live or asked for."""
        return tuple(_decoded(info, VmEntry) for info in self._objects.list(self._bucket, names.VMS_PREFIX))

    def report(self, ref: VmRef, report: Report) -> None:
        """What the VM's worker does from now on."""
        info = self._objects.stat(self._entry_ref(ref))
        if info is None:
            raise MissingObject(f"VM {ref.name} in {ref.region} has no entry any more")
        entry = _decoded(info, VmEntry)
        try:
            self._write(info.ref, replace(entry, report=report), info.generation)
        except Conflict as error:
            raise MissingObject(f"VM {ref.name} in {ref.region} has no entry any more") from error

    def remove(self, ref: VmRef) -> None:
        """The VM is gone; a missing entry is no error."""
        self._objects.write(ObjectRef(bucket=self._bucket, name=names.vm_gone(ref.region, ref.name)), b"")
        self._objects.delete(self._entry_ref(ref))

    def gone(self) -> tuple[Gone, ...]:
        """VMs that were removed and not yet forgotten."""
        return tuple(Gone(info.ref.name, info.created) for info in self._objects.list(self._bucket, names.GONE_PREFIX))

    def forget(self, gone: Gone) -> None:
        """It will not come back."""
        self._objects.delete(ObjectRef(bucket=self._bucket, name=gone.name))

    def blocks(self) -> tuple[Block, ...]:
        """The refusals that were kept, also those that are over."""
        found = (_decoded(info, _Block) for info in self._objects.list(self._bucket, names.CAPACITY_PREFIX))
        return tuple(Block(each.cluster, each.region, each.code, each.at, each.until, each.failures) for each in found)

    def block(self, block: Block) -> None:
        """Keep a refusal, in place of the one that stood there."""
        kept = _Block(
            cluster=block.cluster,
            region=block.region,
            code=block.code,
            at=block.at,
            until=block.until,
            failures=block.failures,
        )
        name = names.capacity_block(block.cluster, block.region)
        self._write(ObjectRef(bucket=self._bucket, name=name), kept, None)

    def _entry_ref(self, ref: VmRef) -> ObjectRef:
        return ObjectRef(bucket=self._bucket, name=names.vm_entry(ref.region, ref.name))

    def _write(self, ref: ObjectRef, value: Contract, if_generation: int | None) -> None:
        plain = ObjectRef(bucket=ref.bucket, name=ref.name)
        self._objects.write(plain, b"", metadata={KEY: codec.encode(value).decode()}, if_generation=if_generation)


def _decoded(info: ObjectInfo, kind: type[T]) -> T:
    """What we wrote ourselves."""
    try:
        return codec.decode(info.metadata.get(KEY, ""), kind, what=info.ref.name)
    except InvalidMessage as error:
        raise ZeroidleError(error.message, code="BROKEN_LEDGER") from error
