"""The demo server as an ASGI app, with errors in plain text as ComfyUI has them, and routes for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.di import Provide
from litestar.exceptions import HTTPException

from huajuan.demo_comfyui import discovery_routes, job_routes, prompt_routes
from huajuan.demo_comfyui.faults import Fault
from huajuan.demo_comfyui.server import BODY_BYTES_MAX, AnyRequest, DemoServer, DemoServerState, reply

REASONS = {403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 413: "Request Entity Too Large"}


@post("/demo/faults", status_code=200)
async def set_fault(request: AnyRequest, demo: DemoServerState) -> Response[Any]:
    """`{"mode": …, "times": n or null, "seconds": x}` sets a fault, `{}` clears all."""
    body = await request.body()
    if not msgspec.json.decode(body, type=dict[str, Any]):
        demo.faults.clear()
        return await state(demo)
    try:
        fault = msgspec.json.decode(body, type=Fault)
    except msgspec.ValidationError as problem:
        return reply({"error": str(problem)}, 400)
    demo.faults.set(fault.mode, times=fault.times, seconds=fault.seconds)
    return await state(demo)


@get("/demo/faults")
async def list_faults(demo: DemoServerState) -> Response[Any]:
    return await state(demo)


@post("/demo/restart", status_code=200)
async def restart(demo: DemoServerState) -> Response[Any]:
    """Clear the queue, the history and the faults."""
    demo.faults.clear()
    await demo.restart()
    return await state(demo)


async def state(demo: DemoServerState) -> Response[Any]:
    """The active faults, how often each job has run, and how often each was submitted while it was known."""
    jobs = demo.jobs
    return reply({"faults": demo.faults.listed(), "runs": dict(jobs.runs), "resent": dict(jobs.resent)})


TEST_HANDLERS = [set_fault, list_faults, restart]


def create_app(demo: DemoServer) -> Litestar:
    """The app. The routes for tests are there only if faults are enabled."""
    handlers = [*prompt_routes.HANDLERS, *job_routes.HANDLERS, *discovery_routes.HANDLERS]
    return Litestar(
        [*handlers, *(TEST_HANDLERS if demo.faults.enabled else [])],
        dependencies={"demo": Provide(lambda: demo, sync_to_thread=False)},
        lifespan=[lambda _app: _lifespan(demo)],
        exception_handlers={HTTPException: _plain_error, 500: _plain_500},
        before_request=_forbid_foreign_pages,
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
    )


@asynccontextmanager
async def _lifespan(demo: DemoServer) -> AsyncIterator[None]:
    demo.start()
    try:
        yield
    finally:
        await demo.stop()
        demo.files.close()


def _plain_error(_request: Request[Any, Any, Any], problem: HTTPException) -> Response[str]:
    status = problem.status_code
    return Response(
        f"{status}: {REASONS.get(status, 'Bad Request')}", status_code=status, media_type="text/plain"
    )


def _plain_500(_request: Request[Any, Any, Any], _problem: Exception) -> Response[str]:
    text = "500 Internal Server Error\n\nServer got itself in trouble"
    return Response(text, status_code=500, media_type="text/plain")


def _forbid_foreign_pages(request: Request[Any, Any, Any]) -> Response[bytes] | None:
    """Reject requests from web pages of other origins, as ComfyUI does on loopback."""
    origin = request.headers.get("origin", "").partition("://")[2]
    foreign = origin and origin != request.headers.get("host", "")
    if foreign or request.headers.get("sec-fetch-site") == "cross-site":
        return Response(b"", status_code=403, media_type="text/plain")
    return None
