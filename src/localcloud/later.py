"""How does a local cloud answer before all of it is imported? What a start can do without is made by the first call.

Stands behind what most programs call first; whoever is called here the first time pays for the imports, some 50 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import grpc
from starlette.routing import BaseRoute, Match, Router
from starlette.types import Receive, Scope, Send


class LaterRoutes(BaseRoute):
    """All routes that `make` returns, asked for by the first request. The last of an application: it takes the rest."""

    def __init__(self, make: Callable[[], Sequence[BaseRoute]]) -> None:
        self._make = make

    @cached_property
    def _router(self) -> Router:
        return Router(self._make(), redirect_slashes=False)

    @property
    def routes(self) -> list[BaseRoute]:
        """All of them."""
        return self._router.routes

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Any HTTP request; what none of the routes takes is not found."""
        return (Match.FULL if scope["type"] == "http" else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        await self._router(scope, receive, send)


class LaterMethods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc publishes no types
    """All gRPC methods of the handlers that `make` returns, asked for by the first call."""

    def __init__(self, make: Callable[[], Sequence[grpc.GenericRpcHandler]]) -> None:
        self._make = make

    @cached_property
    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        """All of them."""
        return self._make()

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method; None: there is no such method."""
        found = (handler.service(handler_call_details) for handler in self.handlers)
        return next((handler for handler in found if handler is not None), None)
