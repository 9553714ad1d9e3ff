"""Reads a server's version, models and node types, and caches them."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from huajuan.inference_client.errors import ServerUnavailable
from huajuan.inference_client.models import ClientLimits
from huajuan.inference_client.transport import Response, Transport, TransportError, UnusableResponse

NODE_TYPES_CACHED_MAX = 1000


class ServerInfo(msgspec.Struct, frozen=True):
    """The server's version, and whether it is the demo ComfyUI, which has no model."""

    version: str
    is_demo: bool


class Discovery:
    """Requests are cached for `checkpoints_cached_seconds`. Methods raise `ServerUnavailable`."""

    def __init__(self, transport: Transport, limits: ClientLimits) -> None:
        self._transport, self._limits = transport, limits
        self._models: dict[str, _Cached] = {}
        self._node_types: dict[str, _Cached] = {}
        self._version = _Cached("", float("-inf"))

    async def server(self) -> ServerInfo:
        with _unavailable():
            system = (await self._transport.get("/system_stats")).document().get("system")
        if not isinstance(system, dict):
            raise ServerUnavailable("no ComfyUI answers at this address", "/system_stats names no system")
        version = str(system.get("comfyui_version", "unknown"))[:60]
        return ServerInfo(version, system.get("demo_comfyui") is True)

    async def version(self) -> str:
        """Empty if the server does not answer in time. Raises nothing."""
        if not self._is_fresh(self._version):
            try:
                async with asyncio.timeout(self._limits.version_seconds_max):
                    self._version = _Cached((await self.server()).version, monotonic())
            except (ServerUnavailable, TimeoutError):
                return ""
        return str(self._version.value)

    async def descriptions(self, classes: Iterable[str]) -> dict[str, Any]:
        """The server's present descriptions of these node types, without those that it lacks."""
        names = list(dict.fromkeys(classes))
        with _unavailable():
            found = await self._describe(names)
        self._cache(names, found)
        return found

    async def cached_descriptions(self, classes: Iterable[str]) -> dict[str, Any]:
        """As `descriptions`, from the cache. Empty if the server answers but describes no node types."""
        names = list(dict.fromkeys(classes))
        if missing := [name for name in names if not self._is_fresh(self._node_types.get(name))]:
            with _unavailable():
                try:
                    self._cache(missing, await self._describe(missing))
                except UnusableResponse:
                    self._cache(missing, {})
        found = {name: self._node_types[name].value for name in names}
        return {name: described for name, described in found.items() if described is not None}

    async def cached_models(self, folder: str) -> list[str]:
        known = self._models.get(folder)
        if known is None or not known.value or not self._is_fresh(known):
            with _unavailable():
                listed = _names(await self._transport.get(f"/models/{folder}"))
            known = self._models[folder] = _Cached(listed, monotonic())
        return list(known.value)

    def clear_cache(self) -> None:
        self._models.clear()
        self._node_types.clear()

    async def _describe(self, names: list[str]) -> dict[str, Any]:
        # Some servers split a name with a slash into two path segments; then all node types are requested.
        paths = [f"/{quote(name)}" for name in names] if not any("/" in name for name in names) else [""]
        documents = [(await self._transport.get(f"/object_info{path}")).document() for path in paths]
        return {name: one[name] for one in documents for name in names if name in one}

    def _cache(self, names: list[str], found: dict[str, Any]) -> None:
        if len(self._node_types) > NODE_TYPES_CACHED_MAX:
            self._node_types.clear()
        self._node_types |= {name: _Cached(found.get(name), monotonic()) for name in names}

    def _is_fresh(self, known: "_Cached | None") -> bool:
        return known is not None and monotonic() - known.at <= self._limits.checkpoints_cached_seconds


class _Cached(NamedTuple):
    value: Any
    at: float


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except TransportError as error:
        raise ServerUnavailable(error.reason, str(error)) from error


def _names(response: Response) -> list[str]:
    if response.status == 404:
        return []
    listed = response.decoded()
    if response.status != 200 or not isinstance(listed, list) or not all(isinstance(n, str) for n in listed):
        raise UnusableResponse(response, "no list of models")
    return listed
