"""Reads a server's version, models and node types, and caches them."""

import asyncio
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from huajuan.inference_client.errors import ServerUnavailable
from huajuan.inference_client.models import ClientLimits, Clock
from huajuan.inference_client.transport import Response, Transport, TransportError, UnusableResponse

NODE_TYPES_CACHED_MAX = 1000
T = TypeVar("T")


class ServerInfo(msgspec.Struct, frozen=True):
    """The server's version, and whether it is the demo ComfyUI, which has no model."""

    version: str
    is_demo: bool

    @property
    def kind(self) -> str:
        return "demo ComfyUI" if self.is_demo else "ComfyUI"


class Discovery:
    """Requests are cached for `checkpoints_cached_seconds`. Methods raise `ServerUnavailable`."""

    def __init__(self, transport: Transport, limits: ClientLimits, clock: Clock) -> None:
        self._transport = transport
        self._limits = limits
        self._clock = clock
        self._models: dict[str, _Cached[list[str]]] = {}
        self._node_types: dict[str, _Cached[Any]] = {}
        self._version = ""
        self._version_at = float("-inf")

    async def server(self) -> ServerInfo:
        try:
            system = (await self._transport.get("/system_stats")).document().get("system")
        except TransportError as error:
            raise ServerUnavailable(error.reason, str(error)) from error
        if not isinstance(system, dict):
            raise ServerUnavailable("no ComfyUI answers at this address", "/system_stats names no system")
        return ServerInfo(
            str(system.get("comfyui_version", "unknown"))[:60], system.get("demo_comfyui") is True
        )

    async def models(self, folder: str) -> list[str]:
        try:
            response = await self._transport.get(f"/models/{folder}")
            return [] if response.status == 404 else _names(response)
        except TransportError as error:
            raise ServerUnavailable(error.reason, str(error)) from error

    async def version(self) -> str:
        """Empty if the server does not answer in time. Raises nothing."""
        if self._clock() - self._version_at > self._limits.checkpoints_cached_seconds:
            try:
                async with asyncio.timeout(self._limits.version_seconds_max):
                    self._version = (await self.server()).version
            except (ServerUnavailable, TimeoutError):
                return ""
            self._version_at = self._clock()
        return self._version

    async def descriptions(self, classes: Iterable[str]) -> dict[str, Any]:
        """The server's present descriptions of these node types, without those that it lacks."""
        names = list(dict.fromkeys(classes))
        try:
            found = await self._describe(names)
        except TransportError as error:
            raise ServerUnavailable(error.reason, str(error)) from error
        self._cache(names, found)
        return found

    async def cached_descriptions(self, classes: Iterable[str]) -> dict[str, Any]:
        """As `descriptions`, from the cache.

        Empty if the server answers but does not describe its node types.
        """
        names = list(dict.fromkeys(classes))
        missing = [name for name in names if not self._is_fresh(self._node_types.get(name))]
        if missing:
            try:
                self._cache(missing, await self._describe(missing))
            except UnusableResponse:
                self._cache(missing, {})
            except TransportError as error:
                raise ServerUnavailable(error.reason, str(error)) from error
        found = {name: self._node_types[name].value for name in names}
        return {name: described for name, described in found.items() if described is not None}

    def clear_cache(self) -> None:
        self._models.clear()
        self._node_types.clear()

    async def cached_models(self, folder: str) -> list[str]:
        known = self._models.get(folder)
        if known is None or not known.value or not self._is_fresh(known):
            known = self._models[folder] = _Cached(await self.models(folder), self._clock())
        return known.value

    async def _describe(self, names: list[str]) -> dict[str, Any]:
        # Some servers split a name with a slash into two path segments; then all node types are requested.
        paths = [quote(name) for name in names] if not any("/" in name for name in names) else [""]
        documents = [
            (await self._transport.get(f"/object_info/{path}".rstrip("/"))).document() for path in paths
        ]
        return {name: one[name] for one in documents for name in names if name in one}

    def _cache(self, names: list[str], found: dict[str, Any]) -> None:
        if len(self._node_types) > NODE_TYPES_CACHED_MAX:
            self._node_types.clear()
        self._node_types |= {name: _Cached(found.get(name), self._clock()) for name in names}

    def _is_fresh(self, known: "_Cached[Any] | None") -> bool:
        return known is not None and self._clock() - known.at <= self._limits.checkpoints_cached_seconds


class _Cached(NamedTuple, Generic[T]):
    value: T
    at: float


def _names(response: Response) -> list[str]:
    listed = response.decoded()
    if response.status != 200 or not isinstance(listed, list) or not all(isinstance(n, str) for n in listed):
        raise UnusableResponse(response, "no list of models")
    return listed
