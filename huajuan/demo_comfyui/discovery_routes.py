"""The server's description of itself, its picture files, and the websocket."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

from litestar import HttpMethod, Response, WebSocket, get, route, websocket
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery
from litestar.response import Stream
from PIL import Image

from huajuan.demo_comfyui.faults import Mode
from huajuan.demo_comfyui.files import ViewRefused, etag
from huajuan.demo_comfyui.nodes import NODES
from huajuan.demo_comfyui.server import (
    BODY_BYTES_MAX,
    AnyRequest,
    DemoServer,
    DemoServerState,
    TruncatedResponse,
    reply,
    with_api_prefix,
)

# The version and the names of models are recorded in events, so they do not change.
VERSION = "0.33.0-demo-painter"
PART_BYTES = 64
HUGE_BYTES = 1024 * 1024


@get(with_api_prefix("/system_stats"))
async def system_stats() -> Response[Any]:
    """As ComfyUI's, with a mark that there is no model."""
    system = {
        "os": "any",
        "comfyui_version": VERSION,
        "demo_comfyui": True,
        "note": "demo ComfyUI, no model draws",
    }
    device = {"name": "none (demo ComfyUI)", "type": "cpu", "index": 0, "vram_total": 0, "vram_free": 0}
    return reply({"system": system, "devices": [device]})


@get(with_api_prefix("/features"))
async def features() -> Response[Any]:
    return reply({"supports_preview_metadata": True, "max_upload_size": BODY_BYTES_MAX})


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
        return TruncatedResponse(body[:100], media_type="image/png")
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


HANDLERS = [system_stats, features, object_info, object_info_of_one, models, view, events]
