"""Where does a process find its metadata server? At a loopback port that only it is told of.

A port each, not a path or a host name on a shared one: then any client in any language can be pointed at it, and
nothing has to be guessed about who asks. A socket costs a fraction of a millisecond, a process fifty.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from localcloud.context import Context
from localcloud.gateway import HOST
from localcloud.metadata.state import Metadata

if TYPE_CHECKING:
    from aiohttp import web

AT_ONCE_S = 0.001  # aiohttp takes 0 for ever


class MetadataServer:
    """Serves one machine's metadata. `metadata.set(...)` changes what is served."""

    def __init__(self, context: Context, metadata: Metadata) -> None:
        self.metadata = metadata
        self._context = context
        self._address = ""
        self._handler: web.Server | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen at a free port. Raises OSError."""
        from aiohttp import web  # not before the first process starts: it takes a tenth of the cloud's own start

        from localcloud.metadata.api import Api

        bound = socket.socket()
        bound.bind((HOST, 0))
        self._address = f"{HOST}:{bound.getsockname()[1]}"
        self._handler = web.Server(Api(self._context, self.metadata).answer, access_log=None, lingering_time=0)
        self._server = await asyncio.get_running_loop().create_server(self._handler, sock=bound)

    async def stop(self) -> None:
        """Close the port and all connections to it; who waits for a change gets none."""
        if self._server is not None and self._handler is not None:
            self._server.close()
            await self._handler.shutdown(AT_ONCE_S)
            self._server = None

    def environment(self) -> dict[str, str]:
        """The variables by which Google's libraries find it; the last is the older name of the first."""
        return dict.fromkeys(("GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT"), self._address)
