"""The state of the demo server, and the responses that its routes share."""

import asyncio
from typing import Any

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Receive, Scope, Send

from huajuan.demo_comfyui.faults import Faults
from huajuan.demo_comfyui.files import Files
from huajuan.demo_comfyui.jobs import JobList
from huajuan.demo_comfyui.nodes import ModelFiles
from huajuan.demo_comfyui.sockets import SocketHub
from huajuan.demo_comfyui.worker import Worker

BODY_BYTES_MAX = 100 * 1024 * 1024
AnyRequest = Request[Any, Any, Any]


class DemoServer:
    """Queue, worker, sockets, files and active faults."""

    def __init__(self, *, step_seconds: float = 0.0, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.step_seconds = step_seconds
        self.hidden_until: dict[str, float] = {}
        self.files = Files()
        self.model_files = ModelFiles()
        self.jobs = JobList()
        self.hub = SocketHub(self.jobs, self.faults)
        self.worker = Worker(self.jobs, self.hub, self.files, self.faults, step_seconds)
        self._task: asyncio.Task[None] | None = None

    async def restart(self) -> None:
        """Discard all state in memory, as a restart of the process does."""
        await self.stop()
        self.jobs.clear()
        self.jobs.runs.clear()
        self.jobs.resent.clear()
        self.hidden_until.clear()
        self.model_files = ModelFiles()
        self.worker = Worker(self.jobs, self.hub, self.files, self.faults, self.step_seconds)
        self.start()

    def start(self) -> None:
        self._task = asyncio.create_task(self.worker.run(), name="demo worker")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


DemoServerState = NamedDependency[DemoServer]


def with_api_prefix(path: str) -> list[str]:
    """The paths of a route with and without the prefix /api, as ComfyUI has nearly all of them."""
    return [path, f"/api{path}"]


def reply(body: Any, status: int = 200) -> Response[Any]:
    return Response(body, status_code=status, media_type="application/json")


def empty() -> ASGIApp:
    """Many of ComfyUI's responses have neither body nor content type."""

    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return answer


def plain(text: str, status: int) -> Response[str]:
    return Response(text, status_code=status, media_type="text/plain")


class TruncatedResponse(Response[bytes]):
    """A response that is shorter than its Content-Length; then the server closes the connection."""

    def to_asgi_response(self, *_args: Any, **_options: Any) -> ASGIResponse:
        return _TruncatedBody(self.content, str(self.media_type))


class _TruncatedBody(ASGIResponse):
    def __init__(self, beginning: bytes, kind: str) -> None:
        super().__init__(body=beginning)
        self._kind = kind

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", self._kind.encode()), (b"content-length", b"100000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
