"""What the painter says of itself, its pictures by name, and the websocket."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

from litestar import HttpMethod, Response, WebSocket, get, route, websocket
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery
from litestar.response import Stream
from PIL import Image

from huajuan.demo_comfyui.demo_server import Here, Painter
from huajuan.demo_comfyui.faults import Mode
from huajuan.demo_comfyui.files import ViewRefused, etag
from huajuan.demo_comfyui.nodes import NODES
from huajuan.demo_comfyui.replies import BODY_BYTES_MAX, Asked, BrokenOff, both, reply

VERSION = "0.33.0-demo-painter"
DRIP_BYTES = 64
HUGE_BYTES = 1024 * 1024


@get(both("/system_stats"))
async def system_stats() -> Response[Any]:
    """As ComfyUI's, with an honest mark: no model is here."""
    system = {
        "os": "any",
        "comfyui_version": VERSION,
        "demo_painter": True,
        "note": "demo painter, no model draws",
    }
    device = {"name": "none (demo painter)", "type": "cpu", "index": 0, "vram_total": 0, "vram_free": 0}
    return reply({"system": system, "devices": [device]})


@get(both("/features"))
async def features() -> Response[Any]:
    return reply({"supports_preview_metadata": True, "max_upload_size": BODY_BYTES_MAX})


@get(both("/object_info"))
async def object_info(painter: Here) -> Response[Any]:
    _hide_on_request(painter)
    return reply({name: _described(name, painter) for name in NODES})


@get(both("/object_info/{name:str}"))
async def object_info_of_one(name: FromPath[str], painter: Here) -> Response[Any]:
    _hide_on_request(painter)
    return reply({name: _described(name, painter)} if name in NODES else {})


def _hide_on_request(painter: Painter) -> None:
    if painter.faults.takes(Mode.OBJECT_INFO_HIDDEN):
        raise NotFoundException


def _described(name: str, painter: Painter) -> dict[str, Any]:
    if name == "CheckpointLoaderSimple" and painter.faults.takes(Mode.NO_CHECKPOINTS):
        return NODES[name].description(name)
    return painter.stock.description(name)


@get(both("/models/{folder:str}"))
async def models(folder: FromPath[str], painter: Here) -> Response[Any]:
    if folder not in painter.stock.folders:
        raise NotFoundException
    hidden = folder == "checkpoints" and painter.faults.takes(Mode.NO_CHECKPOINTS)
    return reply([] if hidden else painter.stock.folders[folder])


@route(both("/view"), http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def view(
    request: Asked,
    painter: Here,
    filename: FromQuery[str] = "",
    subfolder: FromQuery[str] = "",
    kind: FromQuery[str] = "output",
) -> Response[Any]:
    """A picture's file. `type` is read by hand, since it names no Python parameter well."""
    try:
        body = painter.files.read(filename, subfolder, request.query_params.get("type", kind))
    except ViewRefused as refused:
        return Response(b"", status_code=refused.status, media_type="text/plain")
    if request.headers.get("if-none-match") == etag(body):
        return Response(b"", status_code=304, headers={"ETag": etag(body)}, media_type="image/png")
    return _faulty(body, painter) or _picture(body)


def _picture(body: bytes) -> Response[bytes]:
    return Response(body, status_code=200, media_type="image/png", headers={"ETag": etag(body)})


def _faulty(body: bytes, painter: Painter) -> Response[Any] | None:
    faults = painter.faults
    if faults.takes(Mode.PICTURE_BROKEN_OFF):
        return BrokenOff(body[:100], media_type="image/png")
    if (fault := faults.take(Mode.PICTURE_DRIPS)) is not None:
        return Stream(_drops(body, fault.seconds), status_code=200, media_type="image/png")
    fault = faults.first(*SPOILT)
    return None if fault is None else _picture(SPOILT[fault.mode](body))


async def _drops(body: bytes, seconds: float) -> AsyncIterator[bytes]:
    for start in range(0, len(body), DRIP_BYTES):
        yield body[start : start + DRIP_BYTES]
        await asyncio.sleep(seconds)


def _of_other_size(body: bytes) -> bytes:
    file = io.BytesIO()
    with Image.open(io.BytesIO(body)) as picture:
        picture.resize((picture.width + 8, picture.height)).save(file, format="PNG")
    return file.getvalue()


SPOILT: dict[Mode, Callable[[bytes], bytes]] = {
    Mode.PICTURE_TRUNCATED: lambda body: body[: len(body) * 2 // 3],
    Mode.PICTURE_NO_PNG: lambda _body: b"<html>not a picture</html>",
    Mode.PICTURE_WRONG_SIZE: _of_other_size,
    Mode.PICTURE_HUGE: lambda body: body + bytes(HUGE_BYTES),
}


@websocket(["/ws", "/api/ws"])
async def events(socket: WebSocket[Any, Any, Any], painter: Here) -> None:
    await painter.hub.serve(socket)


HANDLERS = [system_stats, features, object_info, object_info_of_one, models, view, events]
