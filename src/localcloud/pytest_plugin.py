"""How does a test get a local cloud of its own? `pytest_plugins = ["localcloud.pytest_plugin"]` in a conftest, then:

    def test_an_upload_is_counted(localcloud):
        localcloud.deploy(buckets=("uploads",))
        localcloud.client(storage.Client).bucket("uploads").blob("a").upload_from_string(b"x")

Each test has a cloud with nothing in it, on free ports, so tests may run at the same time. While one runs, the
environment points Google's client libraries and gcloud at its cloud. `@pytest.mark.localcloud(frozen_clock=True)` has
time stand still until `localcloud.clock.advance(minutes=10)`; the marker takes every setting of `CloudConfig`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:  # a second, which only the tests that use it are to pay
    from localcloud.clock import Clock
    from localcloud.cloud import LocalCloud
    from localcloud.faults import Faults

_Client = TypeVar("_Client")


class LocalCloudOfATest:
    """The local cloud of one test. `cloud` is the whole of it."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud

    @property
    def clock(self) -> Clock:
        """Virtual time: `clock.advance(minutes=10)`."""
        return self.cloud.clock

    @property
    def faults(self) -> Faults:
        """What is to go wrong: `faults.add(Fault("storage.objects.insert", status=503))`."""
        return self.cloud.faults

    @property
    def project(self) -> str:
        """The id of the project."""
        return self.cloud.config.project

    def deploy(self, **deployment: Any) -> None:
        """Make what is named: the fields of `localcloud.cloud.Deployment`, such as `buckets=("uploads",)`.

        Raises:
            TypeError: there is no such field, or it is not one of these.
        """
        from localcloud.cloud import Deployment

        if reason := _unknown(deployment, Deployment):
            raise TypeError(f"deploy() {reason}")
        self.cloud.call(self.cloud.deploy, Deployment(**deployment))

    def is_idle(self) -> bool:
        """Is nothing on its way: no event undelivered, no execution active, no request in flight?"""
        return self.cloud.is_idle()

    def client(self, kind: type[_Client], **options: Any) -> _Client:
        """One of Google's clients, connected to this cloud: `client(storage.Client)`, `client(run_v2.JobsClient)`.

        `options` are passed on to it.

        Raises:
            TypeError: it is no class of one of Google's client libraries.
        """
        if not f"{getattr(kind, '__module__', '')}.".startswith("google."):
            raise TypeError(f"client() got {kind!r:.80}; expected a class such as google.cloud.storage.Client")
        make: Any = kind
        if f"{kind.__module__}.".startswith("google.cloud.pubsub_v1."):  # these read the environment
            pass
        elif hasattr(kind, "get_transport_class"):
            options = {"transport": self._transport(kind), **options}
        else:
            endpoint = {"api_endpoint": self.cloud.http_url}
            options = {"project": self.project, "credentials": _nobody(), "client_options": endpoint, **options}
        client: _Client = make(**options)
        return client

    def _transport(self, kind: Any) -> Any:
        try:
            rest = kind.get_transport_class("rest")
        except KeyError:  # of Workflow Executions there is gRPC only
            import grpc

            return kind.get_transport_class("grpc")(channel=grpc.insecure_channel(self.cloud.grpc_address))
        return rest(host=self.cloud.http_url.removeprefix("http://"), url_scheme="http", credentials=_nobody())


def _nobody() -> Any:
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()  # type: ignore[no-untyped-call]


def _settings(marker: pytest.Mark | None, config: type[Any]) -> dict[str, Any]:
    if marker is None:
        return {}
    reason = "takes settings by their names only" if marker.args else _unknown(marker.kwargs, config)
    if reason:
        pytest.fail(f"@pytest.mark.localcloud {reason}", pytrace=False)
    return dict(marker.kwargs)


def _unknown(given: Mapping[str, Any], kind: type[Any]) -> str:
    """What is wrong with names that are to be fields of a dataclass; empty: nothing."""
    known = [each.name for each in fields(kind)]
    name = next((name for name in given if name not in known), None)
    return "" if name is None else f"has no {name!r}; expected some of: {', '.join(known)}"


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest know the marker."""
    config.addinivalue_line("markers", "localcloud(**settings): settings of the test's local cloud, as of CloudConfig")


@pytest.fixture
def localcloud(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalCloudOfATest]:
    """A local cloud for this test alone."""
    from localcloud.cloud import CloudConfig, running

    settings = _settings(request.node.get_closest_marker("localcloud"), CloudConfig)
    # Below pytest's own directory, which is cleared some day even if this process is killed.
    folder = tempfile.TemporaryDirectory(prefix="localcloud-", dir=tmp_path_factory.getbasetemp())
    with folder as state, running(CloudConfig(**{"state": Path(state), **settings})) as cloud:
        for name, value in {**cloud.environment(), **cloud.gcloud_environment()}.items():
            monkeypatch.setenv(name, value)
        yield LocalCloudOfATest(cloud)
