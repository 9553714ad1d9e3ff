"""The server side of the websocket: the connections, and which events each gets."""

import asyncio
from typing import Any
from uuid import uuid4

import msgspec
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from huajuan.demo_comfyui.faults import Faults, Mode
from huajuan.demo_comfyui.jobs import JobList

QUEUED_FRAMES_MAX = 1000
PING_TIMED_OUT = 1011
Frame = str | bytes


class SocketHub:
    """Sends job events to the socket of the job's client id, and queue changes to all sockets."""

    def __init__(self, jobs: JobList, faults: Faults) -> None:
        self._jobs = jobs
        self._faults = faults
        self._sockets: dict[str, asyncio.Queue[Frame]] = {}

    def send(self, kind: str, data: dict[str, Any], client_id: str | None = None) -> None:
        names = list(self._sockets) if client_id is None else [client_id]
        for name in names:
            self._put(name, _text(kind, data))

    def send_noise(self, client_id: str | None) -> None:
        """Send frames that a client must ignore: previews, events of other jobs or of none, invalid JSON."""
        other = {"prompt_id": str(uuid4()), "value": 9, "max": 9, "node": "sampler"}
        frames: list[Frame] = [
            "no json",
            "[]",
            b"\x00\x00\x00\x01\x00\x00\x00\x01jpeg",
            _text("progress", other),
        ]
        for frame in [*frames, _text("executing", {"node": None}), _text("execution_success", other)]:
            self._put(client_id or "", frame)

    def broadcast_status(self) -> None:
        self.send("status", self._status())

    async def serve(self, socket: WebSocket[Any, Any, Any]) -> None:
        """Serve one connection until it is closed."""
        if (fault := self._faults.take(Mode.SOCKET_FROZEN)) is not None:
            await asyncio.sleep(fault.seconds)
        if self._faults.takes(Mode.SOCKET_REFUSED):
            await socket.close()
            return
        await socket.accept()
        if self._faults.takes(Mode.SOCKET_CLOSED):
            await socket.close(code=PING_TIMED_OUT)
            return
        name = socket.query_params.get("clientId") or uuid4().hex
        outbox: asyncio.Queue[Frame] = asyncio.Queue(QUEUED_FRAMES_MAX)
        self._register(name, outbox)
        sender = asyncio.create_task(_send_all(socket, outbox))
        try:
            await self._read(socket, outbox)
        finally:
            # By name, as in ComfyUI: a newer connection of the same name gets no events any more either.
            self._sockets.pop(name, None)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    def _register(self, name: str, outbox: asyncio.Queue[Frame]) -> None:
        outbox.put_nowait(_text("status", self._status() | {"sid": name}))
        if (fault := self._faults.take(Mode.SOCKET_HUGE_FRAME)) is not None:
            outbox.put_nowait(bytes(int(fault.seconds * 1024 * 1024)))
        if not self._faults.takes(Mode.SOCKET_DEAF):
            self._sockets[name] = outbox

    async def _read(self, socket: WebSocket[Any, Any, Any], outbox: asyncio.Queue[Frame]) -> None:
        first = True
        while True:
            try:
                message = await socket.receive_data(mode="text")
            except WebSocketDisconnect:
                return
            if first and _is_feature_flags(message):
                flags = {"supports_preview_metadata": True, "max_upload_size": 104857600}
                outbox.put_nowait(_text("feature_flags", flags))
            first = False

    def _status(self) -> dict[str, Any]:
        return {"status": {"exec_info": {"queue_remaining": self._jobs.remaining()}}}

    def _put(self, name: str, frame: Frame) -> None:
        outbox = self._sockets.get(name)
        if outbox is None:
            return
        try:
            outbox.put_nowait(frame)
        except asyncio.QueueFull:
            del self._sockets[name]


async def _send_all(socket: WebSocket[Any, Any, Any], outbox: asyncio.Queue[Frame]) -> None:
    while True:
        frame = await outbox.get()
        await socket.send_data(frame, mode="text" if isinstance(frame, str) else "binary")


def _text(kind: str, data: dict[str, Any]) -> str:
    return msgspec.json.encode({"type": kind, "data": data}).decode()


def _is_feature_flags(message: str | bytes) -> bool:
    return b"feature_flags" in (message.encode() if isinstance(message, str) else message)
