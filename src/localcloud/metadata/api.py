"""How is a metadata server asked? GET with `Metadata-Flavor: Google`, as google-auth and curl do.

https://cloud.google.com/compute/docs/metadata/querying-metadata
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

import msgspec
from aiohttp import web

from localcloud.context import Context
from localcloud.faults import Action
from localcloud.gateway import is_loopback
from localcloud.identity import LIFETIME_S
from localcloud.metadata import state
from localcloud.metadata.errors import MetadataError, not_found
from localcloud.metadata.state import ACCOUNTS, Metadata

ROOT = "/computeMetadata/v1"
FLAVOR = "Metadata-Flavor"
_TOKENS = ("identity", "token")
_ACTIONS = frozenset[Action](("fail", "fail_after", "delay"))
_OWN_HOST = b"metadata.google.internal"


class Api:
    """Answers the requests to one metadata server."""

    def __init__(self, context: Context, metadata: Metadata) -> None:
        self._context = context
        self._metadata = metadata

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One answer; refusals too carry the header by which a metadata server is known."""
        try:
            _check(request)
            response = await self._answer(request.path, request.query)
        except MetadataError as refusal:
            response = web.Response(status=refusal.status, text=str(refusal), headers=refusal.headers)
        response.headers.update({FLAVOR: "Google", "Server": "Metadata Server for VM"})
        return response

    async def _answer(self, path: str, query: Mapping[str, str]) -> web.Response:
        if path == "/":
            return web.Response(text="computeMetadata/\n")
        if path.rstrip("/") == "/computeMetadata":
            return web.Response(text="v1/\n")
        if path != ROOT and not path.startswith(f"{ROOT}/"):
            raise not_found(path)
        below = unquote(path.removeprefix(ROOT))
        await self._faults("metadata.values.get", below)
        account, _, kind = below.strip("/").removeprefix(f"instance/{ACCOUNTS}/").partition("/")
        if kind in _TOKENS and below.startswith(f"/instance/{ACCOUNTS}/"):
            return self._token(account, kind, query)
        return await self._value(below, query)

    async def _value(self, path: str, query: Mapping[str, str]) -> web.Response:
        if query.get("wait_for_change") == "true":
            timeout = _seconds(query.get("timeout_sec"))
            await self._metadata.changed(path, query.get("last_etag"), self._context.clock, timeout)
        node = self._metadata.find(path)
        if node is None or (path.endswith("/") and not isinstance(node, dict)):
            raise not_found(path)
        if isinstance(node, dict) and not path.endswith("/"):
            raise MetadataError(301, "", {"Location": f"{ROOT}{path}/"})
        headers, alt = {"ETag": state.etag_of(node)}, query.get("alt")
        recursive = isinstance(node, dict) and query.get("recursive", "").lower() == "true"
        if recursive and alt == "text":
            return _text("".join(f"{name} {text}\n" for name, text in state.flattened(node)), headers)
        if recursive or (alt == "json" and not isinstance(node, dict)):
            return _json(state.as_json(node, path.rstrip("/").rpartition("/")[2]), headers)
        return _text(_listing(path, node), headers)

    def _token(self, account: str, kind: str, query: Mapping[str, str]) -> web.Response:
        email = self._metadata.find(f"instance/{ACCOUNTS}/{account}/email")
        if not isinstance(email, str):
            raise not_found(f"{ACCOUNTS}/{account}/{kind}")
        identity = self._context.identity
        if kind == "token":
            scopes = query.get("scopes", "").split(",") if query.get("scopes") else self._scopes(account)
            token = identity.mint_access_token(email, scopes)
            return _json({"access_token": token, "expires_in": LIFETIME_S - 1, "token_type": "Bearer"})
        audience = query.get("audience")
        if not audience:
            raise MetadataError(400, "non-empty audience parameter required\n")
        return web.Response(text=identity.mint(audience, email), content_type="text/html")

    def _scopes(self, account: str) -> tuple[str, ...]:
        scopes = self._metadata.find(f"instance/{ACCOUNTS}/{account}/scopes")
        return scopes if isinstance(scopes, tuple) else ()

    async def _faults(self, call: str, resource: str) -> None:
        fault = self._context.faults.take(call, resource.strip("/"), _ACTIONS)
        if fault is not None and fault.action == "delay":
            await self._context.clock.sleep(fault.delay_s)
        elif fault is not None:  # reading has no effect, so before and after it are the same
            raise MetadataError(fault.http_status, f"Fault ordered for {fault.call}.\n")


def _check(request: web.BaseRequest) -> None:
    host = request.headers.get("Host", "").encode("latin-1", "replace")
    if not is_loopback(host) and host != _OWN_HOST:
        raise MetadataError(403, "This server answers to programs of this machine only.\n")
    if "X-Forwarded-For" in request.headers:
        raise MetadataError(403, "Requests with X-Forwarded-For are refused.\n")
    if request.path != "/" and request.headers.get(FLAVOR) != "Google":
        raise MetadataError(403, f"Your client does not have permission to get URL: missing {FLAVOR}:Google header.\n")
    if request.method not in ("GET", "HEAD"):
        raise MetadataError(405, "405 method not allowed\n", {"Allow": "GET, HEAD"})


def _listing(path: str, node: state.Node) -> str:
    """Accounts have two entries more that are made when they are asked for."""
    parent, _, _ = path.strip("/").rpartition("/")
    if isinstance(node, dict) and parent == f"instance/{ACCOUNTS}":
        return state.as_text({**node, **dict.fromkeys(_TOKENS, "")})
    return state.as_text(node)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    if not text.isdecimal():
        raise MetadataError(400, f"timeout_sec is {text!r:.80}; expected a number of seconds\n")
    return float(text[:9])


def _text(text: str, headers: Mapping[str, str]) -> web.Response:
    return web.Response(text=text, content_type="application/text", headers=headers)


def _json(value: object, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json", headers=headers)
