"""What a server is, which models it has, and which kinds of node."""

import asyncio
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from huajuan.inference_client.errors import ServerUnavailable
from huajuan.inference_client.limits import Limits
from huajuan.inference_client.transport import Answer, Transport, Trouble, Unusable
from huajuan.inference_client.watches import Clock

KINDS_REMEMBERED_MAX = 1000
T = TypeVar("T")


class ServerInfo(msgspec.Struct, frozen=True):
    """The server's version as it says itself, and whether no model draws but the demo painter."""

    version: str
    is_demo_painter: bool

    @property
    def kind(self) -> str:
        return "demo painter" if self.is_demo_painter else "ComfyUI"


class Discovery:
    """Asks, and remembers models and kinds of node for `checkpoints_cached_seconds`."""

    def __init__(self, transport: Transport, limits: Limits, clock: Clock) -> None:
        self._transport = transport
        self._limits = limits
        self._clock = clock
        self._models: dict[str, _Remembered[list[str]]] = {}
        self._kinds: dict[str, _Remembered[Any]] = {}
        self._version = ""
        self._version_at = float("-inf")

    async def server(self) -> ServerInfo:
        try:
            system = (await self._transport.get("/system_stats")).document().get("system")
        except Trouble as trouble:
            raise ServerUnavailable(trouble.reason, str(trouble)) from trouble
        if not isinstance(system, dict):
            raise ServerUnavailable("no ComfyUI answers at this address", "/system_stats names no system")
        return ServerInfo(
            str(system.get("comfyui_version", "unknown"))[:60], system.get("demo_painter") is True
        )

    async def models(self, folder: str) -> list[str]:
        try:
            answer = await self._transport.get(f"/models/{folder}")
            return [] if answer.status == 404 else _names(answer)
        except Trouble as trouble:
            raise ServerUnavailable(trouble.reason, str(trouble)) from trouble

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
        """What the server says now of these kinds of node; those it lacks are not there."""
        names = list(dict.fromkeys(classes))
        try:
            found = await self._asked(names)
        except Trouble as trouble:
            raise ServerUnavailable(trouble.reason, str(trouble)) from trouble
        self._remember(names, found)
        return found

    async def known_descriptions(self, classes: Iterable[str]) -> dict[str, Any]:
        """As `descriptions`, remembered for a while; nothing where the server answers but does not say."""
        names = list(dict.fromkeys(classes))
        missing = [name for name in names if not self._is_fresh(self._kinds.get(name))]
        if missing:
            try:
                self._remember(missing, await self._asked(missing))
            except Unusable:
                self._remember(missing, {})
            except Trouble as trouble:
                raise ServerUnavailable(trouble.reason, str(trouble)) from trouble
        kinds = {name: self._kinds[name].value for name in names}
        return {name: said for name, said in kinds.items() if said is not None}

    def forget(self) -> None:
        self._models.clear()
        self._kinds.clear()

    async def known_models(self, folder: str) -> list[str]:
        known = self._models.get(folder)
        if known is None or not known.value or not self._is_fresh(known):
            known = self._models[folder] = _Remembered(await self.models(folder), self._clock())
        return known.value

    async def _asked(self, names: list[str]) -> dict[str, Any]:
        # Of a name with a slash some servers make two parts of the address, so then all kinds are asked for.
        paths = [quote(name) for name in names] if not any("/" in name for name in names) else [""]
        said = [(await self._transport.get(f"/object_info/{path}".rstrip("/"))).document() for path in paths]
        return {name: one[name] for one in said for name in names if name in one}

    def _remember(self, names: list[str], found: dict[str, Any]) -> None:
        if len(self._kinds) > KINDS_REMEMBERED_MAX:
            self._kinds.clear()
        self._kinds |= {name: _Remembered(found.get(name), self._clock()) for name in names}

    def _is_fresh(self, known: "_Remembered[Any] | None") -> bool:
        return known is not None and self._clock() - known.at <= self._limits.checkpoints_cached_seconds


class _Remembered(NamedTuple, Generic[T]):
    value: T
    at: float


def _names(answer: Answer) -> list[str]:
    listed = answer.decoded()
    if answer.status != 200 or not isinstance(listed, list) or not all(isinstance(n, str) for n in listed):
        raise Unusable(answer, "no list of models")
    return listed
