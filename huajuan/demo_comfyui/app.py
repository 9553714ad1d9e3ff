"""The painter as an ASGI app, with errors in plain text as ComfyUI has them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.exceptions import HTTPException

from huajuan.demo_comfyui import demo_routes, discovery_routes, job_routes, prompt_routes
from huajuan.demo_comfyui.demo_server import Painter
from huajuan.demo_comfyui.replies import BODY_BYTES_MAX

REASONS = {403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 413: "Request Entity Too Large"}


def create_app(painter: Painter) -> Litestar:
    """The app around a painter. Faults can be set over HTTP only if they are enabled."""
    handlers = [*prompt_routes.HANDLERS, *job_routes.HANDLERS, *discovery_routes.HANDLERS]
    return Litestar(
        [*handlers, *(demo_routes.HANDLERS if painter.faults.enabled else [])],
        dependencies={"painter": Provide(lambda: painter, sync_to_thread=False)},
        lifespan=[lambda _app: _living(painter)],
        exception_handlers={HTTPException: _plain_error, 500: _plain_500},
        before_request=_forbid_foreign_pages,
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
    )


@asynccontextmanager
async def _living(painter: Painter) -> AsyncIterator[None]:
    painter.start()
    try:
        yield
    finally:
        await painter.stop()
        painter.files.close()


def _plain_error(_request: Request[Any, Any, Any], problem: HTTPException) -> Response[str]:
    status = problem.status_code
    return Response(
        f"{status}: {REASONS.get(status, 'Bad Request')}", status_code=status, media_type="text/plain"
    )


def _plain_500(_request: Request[Any, Any, Any], _problem: Exception) -> Response[str]:
    text = "500 Internal Server Error\n\nServer got itself in trouble"
    return Response(text, status_code=500, media_type="text/plain")


def _forbid_foreign_pages(request: Request[Any, Any, Any]) -> Response[bytes] | None:
    """A page of another site, open in a browser on this machine, must not reach a server on loopback."""
    origin = request.headers.get("origin", "").partition("://")[2]
    foreign = origin and origin != request.headers.get("host", "")
    if foreign or request.headers.get("sec-fetch-site") == "cross-site":
        return Response(b"", status_code=403, media_type="text/plain")
    return None
