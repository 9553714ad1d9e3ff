"""The demo server as an ASGI app: its description of itself, its picture files, and routes for tests."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import HttpMethod, Litestar, Request, Response, WebSocket, get, post, route, websocket
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath, FromQuery
from litestar.response import Stream
from PIL import Image

from huajuan.demo_comfyui import job_routes
from huajuan.demo_comfyui.execution import ViewRefused, etag
from huajuan.demo_comfyui.faults import Fault, Mode
from huajuan.demo_comfyui.jobs import BODY_BYTES_MAX, FEATURES
from huajuan.demo_comfyui.nodes import NODES
from huajuan.demo_comfyui.server import (
    SERVER_ERROR,
    AnyRequest,
    DemoServer,
    DemoServerState,
    RawResponse,
    plain,
    reply,
    with_api_prefix,
)

# The version and the names of models are recorded in events, so they do not change.
VERSION = "0.33.0-demo-painter"
PART_BYTES = 64
HUGE_BYTES = 1024 * 1024
REASONS = {403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 413: "Request Entity Too Large"}


@get(with_api_prefix("/system_stats"))
async def system_stats() -> Response[Any]:
    """As ComfyUI's, with a mark that there is no model."""
    system = {"os": "any", "comfyui_version": VERSION, "demo_comfyui": True}
    system["note"] = "demo ComfyUI, no model draws"
    device = {"name": "none (demo ComfyUI)", "type": "cpu", "index": 0, "vram_total": 0, "vram_free": 0}
    return reply({"system": system, "devices": [device]})


@get(with_api_prefix("/features"))
async def features() -> Response[Any]:
    return reply(FEATURES)


@get(with_api_prefix("/object_info"))
async def object_info(demo: DemoServerState) -> Response[Any]:
    _hide_if_faulty(demo)
    return reply({name: _described(name, demo) for name in NODES})


@get(with_api_prefix("/object_info/{name:str}"))
async def object_info_of_one(name: FromPath[str], demo: DemoServerState) -> Response[Any]:
    _hide_if_faulty(demo)
    return reply({name: _described(name, demo)} if name in NODES else {})


def _hide_if_faulty(demo: DemoServer) -> None:
    if demo.faults.takes(Mode.OBJECT_INFO_HIDDEN):
        raise NotFoundException


def _described(name: str, demo: DemoServer) -> dict[str, Any]:
    if name == "CheckpointLoaderSimple" and demo.faults.takes(Mode.NO_CHECKPOINTS):
        return NODES[name].description(name)
    return demo.model_files.description(name)


@get(with_api_prefix("/models/{folder:str}"))
async def models(folder: FromPath[str], demo: DemoServerState) -> Response[Any]:
    if folder not in demo.model_files.folders:
        raise NotFoundException
    hidden = folder == "checkpoints" and demo.faults.takes(Mode.NO_CHECKPOINTS)
    return reply([] if hidden else demo.model_files.folders[folder])


@route(with_api_prefix("/view"), http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def view(
    request: AnyRequest,
    demo: DemoServerState,
    filename: FromQuery[str] = "",
    subfolder: FromQuery[str] = "",
    kind: FromQuery[str] = "output",
) -> Response[Any]:
    """A picture's file. The parameter `type` is read from the request, since it is a Python builtin."""
    try:
        body = demo.files.read(filename, subfolder, request.query_params.get("type", kind))
    except ViewRefused as refused:
        return Response(b"", status_code=refused.status, media_type="text/plain")
    if request.headers.get("if-none-match") == etag(body):
        return Response(b"", status_code=304, headers={"ETag": etag(body)}, media_type="image/png")
    return _faulty(body, demo) or _picture(body)


def _picture(body: bytes) -> Response[bytes]:
    return Response(body, status_code=200, media_type="image/png", headers={"ETag": etag(body)})


def _faulty(body: bytes, demo: DemoServer) -> Response[Any] | None:
    faults = demo.faults
    if faults.takes(Mode.PICTURE_BROKEN_OFF):
        return RawResponse(body[:100], "image/png", is_cut=True)
    if (fault := faults.take(Mode.PICTURE_DRIPS)) is not None:
        return Stream(_slow_parts(body, fault.seconds), status_code=200, media_type="image/png")
    fault = faults.first(*PICTURE_FAULTS)
    return None if fault is None else _picture(PICTURE_FAULTS[fault.mode](body))


async def _slow_parts(body: bytes, seconds: float) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PART_BYTES):
        yield body[start : start + PART_BYTES]
        await asyncio.sleep(seconds)


def _of_other_size(body: bytes) -> bytes:
    file = io.BytesIO()
    with Image.open(io.BytesIO(body)) as picture:
        picture.resize((picture.width + 8, picture.height)).save(file, format="PNG")
    return file.getvalue()


PICTURE_FAULTS: dict[Mode, Callable[[bytes], bytes]] = {
    Mode.PICTURE_TRUNCATED: lambda body: body[: len(body) * 2 // 3],
    Mode.PICTURE_NO_PNG: lambda _body: b"<html>not a picture</html>",
    Mode.PICTURE_WRONG_SIZE: _of_other_size,
    Mode.PICTURE_HUGE: lambda body: body + bytes(HUGE_BYTES),
}


@websocket(["/ws", "/api/ws"])
async def events(socket: WebSocket[Any, Any, Any], demo: DemoServerState) -> None:
    await demo.hub.serve(socket)


@post("/demo/faults", status_code=200)
async def set_fault(request: AnyRequest, demo: DemoServerState) -> Response[Any]:
    """`{"mode": …, "times": n or null, "seconds": x}` sets a fault, `{}` clears all."""
    body = msgspec.json.decode(await request.body(), type=dict[str, Any])
    try:
        fault = msgspec.convert(body, Fault) if body else None
    except msgspec.ValidationError as problem:
        return reply({"error": str(problem)}, 400)
    if fault is None:
        demo.faults.clear()
    else:
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


HANDLERS = [system_stats, features, object_info, object_info_of_one, models, view, events]
TEST_HANDLERS = [set_fault, list_faults, restart]


def create_app(demo: DemoServer) -> Litestar:
    """The app. The routes for tests are there only if faults are enabled."""
    return Litestar(
        [*job_routes.HANDLERS, *HANDLERS, *(TEST_HANDLERS if demo.faults.enabled else [])],
        dependencies={"demo": Provide(lambda: demo, sync_to_thread=False)},
        lifespan=[lambda _app: _lifespan(demo)],
        exception_handlers={
            HTTPException: _plain_error,
            500: lambda _request, _problem: plain(SERVER_ERROR, 500),
        },
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
    return plain(f"{status}: {REASONS.get(status, 'Bad Request')}", status)


def _forbid_foreign_pages(request: Request[Any, Any, Any]) -> Response[bytes] | None:
    """Reject requests from web pages of other origins, as ComfyUI does on loopback."""
    origin = request.headers.get("origin", "").partition("://")[2]
    foreign = origin and origin != request.headers.get("host", "")
    if foreign or request.headers.get("sec-fetch-site") == "cross-site":
        return Response(b"", status_code=403, media_type="text/plain")
    return None
