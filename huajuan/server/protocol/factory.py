"""Makes the HTTP protocols of one server, which share a bound on connections."""

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from huajuan.http.limits import HttpLimits
from huajuan.server.protocol.connections import Connections
from huajuan.server.protocol.http_protocol import HttpProtocol
from huajuan.server.protocol.open_files import connections_bound


class HttpProtocolFactory:
    """Makes the protocols of one server. It is sent to worker processes before it has made any."""

    def __init__(self, limits: HttpLimits, reserved_descriptors: int) -> None:
        self._limits = limits
        self._reserved = reserved_descriptors
        self._connections: Connections | None = None

    def __call__(self, config: Config, server_state: ServerState, app_state: Any, **_: Any) -> HttpProtocol:
        if self._connections is None:
            bound = connections_bound(self._limits.connections_max, self._reserved)
            self._connections = Connections(self._limits, bound, asyncio.get_running_loop())
        return HttpProtocol(self._connections, config, server_state, app_state)
