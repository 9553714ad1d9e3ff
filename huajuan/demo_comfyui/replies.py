"""What the painter's routes answer with: JSON, nothing, or a connection that breaks."""

from typing import Any

from litestar import Request, Response
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Receive, Scope, Send

BODY_BYTES_MAX = 100 * 1024 * 1024
Asked = Request[Any, Any, Any]


def both(path: str) -> list[str]:
    """A route with and without the prefix, as ComfyUI has nearly all of them."""
    return [path, f"/api{path}"]


def reply(body: Any, status: int = 200) -> Response[Any]:
    return Response(body, status_code=status, media_type="application/json")


def empty() -> ASGIApp:
    """Many of ComfyUI's answers have neither body nor content type."""

    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return answer


def plain(text: str, status: int) -> Response[str]:
    return Response(text, status_code=status, media_type="text/plain")


class BrokenOff(Response[bytes]):
    """An answer that promises more than it sends, after which the server closes the connection."""

    def to_asgi_response(self, *_args: Any, **_options: Any) -> ASGIResponse:
        return _HalfSent(self.content, str(self.media_type))


class _HalfSent(ASGIResponse):
    def __init__(self, beginning: bytes, kind: str) -> None:
        super().__init__(body=beginning)
        self._kind = kind

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", self._kind.encode()), (b"content-length", b"100000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
