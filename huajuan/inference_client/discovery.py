"""What a server is, which models it has, and which kinds of node."""

import asyncio
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import msgspec

from huajuan.inference_client.errors import Rejected, ServerUnavailable
from huajuan.inference_client.limits import Limits
from huajuan.inference_client.transport import NoAnswer, Transport, Trouble
from huajuan.inference_client.watches import Clock


class ServerInfo(msgspec.Struct, frozen=True):
    """The server's version as it says itself, and whether no model draws but the demo painter."""

    version: str
    is_demo_painter: bool

    @property
    def kind(self) -> str:
        return "demo painter" if self.is_demo_painter else "ComfyUI"


class Discovery:
    """Asks, and remembers the models for `checkpoints_cached_seconds`."""

    def __init__(self, transport: Transport, limits: Limits, clock: Clock) -> None:
        self._transport = transport
        self._limits = limits
        self._clock = clock
        self._checkpoints: list[str] = []
        self._asked_at = float("-inf")
        self._version = ""
        self._version_at = float("-inf")

    async def server(self) -> ServerInfo:
        try:
            system = (await self._transport.get("/system_stats")).document().get("system")
        except Trouble as trouble:
            raise ServerUnavailable("the server cannot be reached", str(trouble)) from trouble
        system = system if isinstance(system, dict) else {}
        return ServerInfo(
            str(system.get("comfyui_version", "unknown"))[:60], system.get("demo_painter") is True
        )

    async def checkpoints(self) -> list[str]:
        try:
            answer = await self._transport.get("/models/checkpoints")
            return [] if answer.status == 404 else _names(answer.status, answer.decoded())
        except Trouble as trouble:
            raise ServerUnavailable("the server cannot be reached", str(trouble)) from trouble

    async def version(self) -> str:
        """Empty when the server does not say in time; raises nothing."""
        if self._clock() - self._version_at > self._limits.checkpoints_cached_seconds:
            try:
                async with asyncio.timeout(self._limits.version_seconds_max):
                    self._version = (await self.server()).version
            except (ServerUnavailable, TimeoutError):
                return ""
            self._version_at = self._clock()
        return self._version

    async def descriptions(self, classes: Iterable[str]) -> dict[str, Any]:
        """What the server says of these kinds of node; those it lacks are not there."""
        names = dict.fromkeys(classes)
        # Of a name with a slash some servers make two parts of the address, so then all kinds are asked for.
        paths = [quote(name) for name in names] if not any("/" in name for name in names) else [""]
        try:
            said = [
                (await self._transport.get(f"/object_info/{path}".rstrip("/"))).document() for path in paths
            ]
        except Trouble as trouble:
            raise ServerUnavailable("the server cannot be reached", str(trouble)) from trouble
        return {name: one[name] for one in said for name in names if name in one}

    def forget(self) -> None:
        self._checkpoints = []

    async def first_checkpoint(self) -> str:
        """Rejected when the server has none: nothing can be drawn there."""
        if self._clock() - self._asked_at > self._limits.checkpoints_cached_seconds or not self._checkpoints:
            self._checkpoints = await self.checkpoints()
            self._asked_at = self._clock()
        if not self._checkpoints:
            raise Rejected("the server has no model")
        return self._checkpoints[0]


def _names(status: int, listed: Any) -> list[str]:
    if status != 200 or not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise NoAnswer(f"HTTP {status}: no list of models")
    return listed
