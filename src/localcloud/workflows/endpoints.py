"""Where does a call to a Google API go, and which other addresses may a workflow reach?"""

from __future__ import annotations

import ipaddress
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from localcloud.context import Context
from localcloud.workflows.errors import runtime_error

if TYPE_CHECKING:
    from yarl import URL

# `us-central1-run.googleapis.com` and `run.us-central1.rep.googleapis.com` are the service `run` too.
_GOOGLE = re.compile(r"(?:[a-z]+-[a-z]+\d+-)?([a-z]+)(?:\.[a-z]+-[a-z]+\d+\.rep)?\.googleapis\.com")


class Endpoints:
    """The addresses that executions may call; which ones the operator adds stands in the context."""

    def __init__(self, context: Context) -> None:
        self._default = context.http_url
        self._own = dict(context.endpoints)
        self._allowed = context.allowed_hosts

    def of_service(self, service: str) -> str:
        """The base URL of a Google API such as `compute`: the operator's, or else the local cloud's gateway."""
        return self._own.get(service, self._default).rstrip("/")

    def reachable(self, url: URL) -> URL:
        """Where a call to `url` really goes.

        Raises:
            WorkflowError: ConnectionFailedError, for a host outside this machine that nobody has allowed.
        """
        host = (url.host or "").rstrip(".")
        if _is_loopback(host) or self._is_allowed(host, url):
            return url
        if google := _GOOGLE.fullmatch(host):
            return self._local(url, google[1])
        raise runtime_error(
            "ConnectionFailedError",
            f"failed to connect: {host} is not on this machine, and calls that leave it are off"
            " (allow the host with --allow-host, or in a program with CloudConfig.allowed_hosts)",
        )

    def _local(self, url: URL, service: str) -> URL:
        from yarl import URL

        base = URL(self.of_service(service))
        return URL.build(
            scheme=base.scheme,
            host=base.host or "",
            port=base.port,
            path=base.raw_path.rstrip("/") + url.raw_path,
            query_string=url.raw_query_string,
            encoded=True,
        )

    def _is_allowed(self, host: str, url: URL) -> bool:
        from yarl import URL

        return any(fnmatchcase(host, pattern.lower()) for pattern in self._allowed) or any(
            url.origin() == URL(own).origin() for own in self._own.values()
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified  # connecting to 0.0.0.0 stays on this machine
