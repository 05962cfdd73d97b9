"""Does Cloud Storage behave as a small model says, whatever is done in whatever order, by one writer or several?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.api_core import exceptions as api
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.localcloud.storage.storage_cloud import Cloud, Host

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "8"))  # histories; more of them at night
NAMES = st.sampled_from(["a", "a/b", "a/c", "b", "\u00fc/1"])
DATA = st.sampled_from([b"", b"1", b"22", b"x" * 70_000])
# What a precondition compares the present state with: none, what is there, nothing there, or something else.
CONDITION = st.sampled_from([None, "current", "absent", "stale"])
METADATA = st.dictionaries(st.sampled_from(["k", "l"]), st.one_of(st.none(), st.sampled_from(["v", "w"])), max_size=2)


@dataclass
class Version:
    """What the model knows of one version."""

    generation: int
    data: bytes
    metadata: dict[str, str] = field(default_factory=dict)
    metageneration: int = 1


class Model(RuleBasedStateMachine):
    """A bucket as a dictionary: live versions by name, and noncurrent ones, oldest first."""

    host: Host

    @initialize(versioned=st.booleans())
    def begin(self, versioned: bool) -> None:
        self.cloud = Cloud(self.host)
        self.bucket = self.cloud.client().bucket("bkt")
        self.bucket.versioning_enabled = self.versioned = versioned
        self.bucket.patch()
        self.live: dict[str, Version] = {}
        self.old: dict[str, list[Version]] = {}
        self.told = 0  # events

    def teardown(self) -> None:
        if hasattr(self, "cloud"):
            self.cloud.stop()

    # Changes

    @rule(name=NAMES, data=DATA, metadata=METADATA, condition=CONDITION)
    def upload(self, name: str, data: bytes, metadata: dict[str, Any], condition: str | None) -> None:
        blob = self.bucket.blob(name)
        blob.metadata = {key: value for key, value in metadata.items() if value is not None}
        with self.expected(self.holds(name, condition)):
            blob.upload_from_string(data, **self.condition(name, condition))
            self.create(name, Version(blob.generation, data, dict(blob.metadata or {})))

    @rule(name=NAMES, metadata=METADATA, condition=CONDITION)
    def patch(self, name: str, metadata: dict[str, Any], condition: str | None) -> None:
        known = self.live.get(name)
        blob = self.bucket.blob(name)
        blob.metadata = metadata
        with self.expected(known is not None and condition != "absent" and self.holds(name, condition), known is None):
            blob.patch(**self.condition(name, condition))
            assert known is not None
            merged = {**known.metadata, **metadata}
            known.metadata = {key: value for key, value in merged.items() if value is not None}
            known.metageneration += 1
            self.told += 1

    @rule(name=NAMES, condition=CONDITION)
    def delete(self, name: str, condition: str | None) -> None:
        known = self.live.get(name)
        with self.expected(known is not None and condition != "absent" and self.holds(name, condition), known is None):
            self.bucket.blob(name).delete(**self.condition(name, condition))
            assert known is not None
            del self.live[name]
            self.retire(name, known)

    @rule(name=NAMES, number=st.integers(0, 3))
    def delete_a_noncurrent_version(self, name: str, number: int) -> None:
        versions = self.old.get(name, [])
        if number < len(versions):
            self.bucket.delete_blob(name, generation=versions.pop(number).generation)
            self.told += 1

    @rule(source=NAMES, destination=NAMES, condition=CONDITION)
    def copy(self, source: str, destination: str, condition: str | None) -> None:
        known = self.live.get(source)
        with self.expected(known is not None and self.holds(destination, condition), known is None):
            conditions = self.condition(destination, condition)
            copied = self.bucket.copy_blob(self.bucket.blob(source), self.bucket, destination, **conditions)
            assert known is not None
            self.create(destination, Version(copied.generation, known.data, dict(known.metadata)))

    @rule(source=NAMES, destination=NAMES)
    def move(self, source: str, destination: str) -> None:
        known = self.live.get(source)
        if source == destination:
            return
        with self.expected(known is not None, known is None):
            moved = self.bucket.move_blob(self.bucket.blob(source), destination)
            assert known is not None
            self.create(destination, Version(moved.generation, known.data, dict(known.metadata)))
            self.retire(source, self.live.pop(source))

    @rule(sources=st.lists(NAMES, min_size=1, max_size=3), destination=NAMES)
    def compose(self, sources: list[str], destination: str) -> None:
        known = [self.live.get(source) for source in sources]
        with self.expected(None not in known, True):
            blob = self.bucket.blob(destination)
            blob.compose([self.bucket.blob(source) for source in sources])
            self.create(destination, Version(blob.generation, b"".join(part.data for part in known if part)))

    @rule(name=NAMES, writers=st.integers(2, 4), data=DATA)
    def race(self, name: str, writers: int, data: bytes) -> None:
        """Several writers, each on the condition that nobody has changed the object: one wins."""
        current = self.live[name].generation if name in self.live else 0

        def write(_: int) -> int:
            blob = self.bucket.blob(name)
            try:
                blob.upload_from_string(data, if_generation_match=current)
            except api.PreconditionFailed:
                return 0
            return int(blob.generation)

        with ThreadPoolExecutor(writers) as pool:
            (winner,) = [generation for generation in pool.map(write, range(writers)) if generation]
        self.create(name, Version(winner, data))

    @rule(name=NAMES, writers=st.integers(2, 4))
    def race_to_patch(self, name: str, writers: int) -> None:
        """Several writers, each on the condition that nobody has changed the metadata: one wins."""
        known = self.live.get(name)
        if known is None:
            return
        seen = known.metageneration

        def patch(number: int) -> str:
            blob = self.bucket.blob(name)
            blob.metadata = {"winner": str(number)}
            try:
                blob.patch(if_metageneration_match=seen)
            except api.PreconditionFailed:
                return ""
            return str(number)

        with ThreadPoolExecutor(writers) as pool:
            (winner,) = filter(None, pool.map(patch, range(writers)))
        known.metadata = {**known.metadata, "winner": winner}
        known.metageneration += 1
        self.told += 1

    @rule(name=NAMES, writers=st.integers(2, 3))
    def pile_up(self, name: str, writers: int) -> None:
        """Several writers without a condition: all win, one after the other."""

        def write(number: int) -> tuple[int, bytes]:
            blob = self.bucket.blob(name)
            blob.upload_from_string(b"%d" % number)
            return int(blob.generation), b"%d" % number

        with ThreadPoolExecutor(writers) as pool:
            for generation, data in sorted(pool.map(write, range(writers))):
                self.create(name, Version(generation, data))

    # What is seen

    @invariant()
    def the_listing_shows_what_there_is(self) -> None:
        if not hasattr(self, "cloud"):
            return
        expected = [(name, self.live[name].generation) for name in sorted(self.live)]
        assert [(blob.name, blob.generation) for blob in self.bucket.list_blobs(page_size=2)] == expected
        every = [
            (name, version.generation)
            for name in sorted({*self.live, *self.old})
            for version in [*self.old.get(name, []), *([self.live[name]] if name in self.live else [])]
        ]
        assert [(blob.name, blob.generation) for blob in self.bucket.list_blobs(versions=True)] == every
        assert len(self.cloud.events) == self.told

    @rule(name=NAMES)
    def read(self, name: str) -> None:
        for version in [*self.old.get(name, []), *([self.live[name]] if name in self.live else [])]:
            blob = self.bucket.get_blob(name, generation=version.generation)
            assert (blob.metadata or {}, blob.metageneration) == (version.metadata, version.metageneration)
            assert blob.download_as_bytes() == version.data
        if name not in self.live:
            assert self.bucket.get_blob(name) is None

    @rule()
    def fold(self) -> None:
        found = self.bucket.list_blobs(delimiter="/")
        names = [blob.name for blob in found]
        assert names == sorted(name for name in self.live if "/" not in name)
        assert found.prefixes == {f"{name.partition('/')[0]}/" for name in self.live if "/" in name}

    # The model itself

    def create(self, name: str, version: Version) -> None:
        before = self.live.get(name)
        if before is not None:
            assert version.generation > before.generation
            self.retire(name, before)
        self.live[name] = version
        self.told += 1

    def retire(self, name: str, version: Version) -> None:
        if self.versioned:
            self.old.setdefault(name, []).append(version)
        self.told += 1

    def condition(self, name: str, condition: str | None) -> dict[str, int]:
        current = self.live[name].generation if name in self.live else 0
        values = {"current": current, "absent": 0, "stale": current + 1}
        return {} if condition is None else {"if_generation_match": values[condition]}

    def holds(self, name: str, condition: str | None) -> bool:
        return condition in (None, "current") or (condition == "absent" and name not in self.live)

    @contextmanager
    def expected(self, succeeds: bool, missing: bool = False) -> Iterator[None]:
        """The body succeeds, or else fails as it should: for what is missing, or on its condition."""
        if succeeds:
            yield
            return
        with pytest.raises((api.NotFound, api.PreconditionFailed) if missing else api.PreconditionFailed):
            yield


def test_a_bucket_is_what_the_model_says(host: Host) -> None:
    Model.host = host
    settings_ = settings(
        max_examples=EXAMPLES, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Model, settings=settings_)
