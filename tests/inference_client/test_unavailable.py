"""The reasons why a server is unavailable."""

import asyncio

import pytest

from huajuan.inference_client import ComfyUI, ServerUnavailable, text_to_image
from tests.inference_client.conftest import RunningDemo, drawing
from tests.inference_client.test_hostile_server import QUICK, http, server

NO_COMFYUI = "no ComfyUI answers at this address"
ANSWERS = {
    "password": (http("401 Unauthorized", "text/html", b"<html>"), "the server asks for a password"),
    "proxy's password": (
        http("407 Proxy Authentication Required", "", b""),
        "the server asks for a password",
    ),
    "forbidden": (http("403 Forbidden", "text/plain", b""), "the server refuses to answer us"),
    "too many": (http("429 Too Many Requests", "text/plain", b""), "the server refuses to answer us"),
    "not found": (http("404 Not Found", "text/plain", b"404"), NO_COMFYUI),
    "a page": (http("200 OK", "text/html", b"<html>"), NO_COMFYUI),
    "elsewhere": (
        b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.invalid/\r\nContent-Length: 0\r\n\r\n",
        NO_COMFYUI,
    ),
    "another service": (http("200 OK", "application/json", b'{"status": "up"}'), NO_COMFYUI),
    "broken": (http("502 Bad Gateway", "text/html", b"<html>"), "the server answers with an error"),
    "no http": (b"SSH-2.0-OpenSSH_9.6\r\n", "the server does not answer clearly"),
}


@pytest.mark.parametrize(("answer", "reason"), ANSWERS.values(), ids=ANSWERS)
async def test_the_reason_is_named(answer: bytes, reason: str) -> None:
    async with server(answer) as url, ComfyUI(url, limits=QUICK) as comfyui:
        with pytest.raises(ServerUnavailable) as checked:
            await comfyui.check()
        assert checked.value.reason == reason
        if reason == NO_COMFYUI and b"status" in answer:
            return
        for question in (comfyui.draw(drawing()), comfyui.check_compatibility(text_to_image())):
            with pytest.raises(ServerUnavailable) as unavailable:
                await question
            assert unavailable.value.reason == reason


async def test_a_server_that_is_not_there_and_one_that_is_slow() -> None:
    async with ComfyUI("http://127.0.0.1:1", limits=QUICK) as comfyui:
        with pytest.raises(ServerUnavailable, match="the server cannot be reached"):
            await comfyui.check()
    async with server(b"", stays_silent=True) as url:
        async with ComfyUI(url, limits=QUICK) as comfyui:
            with pytest.raises(ServerUnavailable, match="the server does not answer in time"):
                await comfyui.check()
        await asyncio.sleep(0.05)  # it closes its side as well


async def test_a_scheme_in_capitals_is_a_scheme(server: RunningDemo) -> None:
    async with ComfyUI(server.url.replace("http", "HTTP"), limits=QUICK) as comfyui:
        assert (await comfyui.draw(drawing())).content
