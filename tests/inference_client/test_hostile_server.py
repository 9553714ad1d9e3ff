"""Servers that are not ComfyUI: any response becomes an `InferenceError` in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from huajuan.inference_client import ComfyUI, InferenceError, OutcomeUnknown, ServerUnavailable
from tests.inference_client.conftest import drawing, limits


def http(status: str, kind: str, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n".encode() + body


ANSWERS = {
    "nothing": b"",
    "no http": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a login page": http("200 OK", "text/html", b"<html>"),
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.invalid/\r\nContent-Length: 0\r\n\r\n",
    "json of another kind": http("200 OK", "application/json", b"[1, 2]"),
    "broken json": http("200 OK", "application/json", b'{"status": '),
    "deep json": http("200 OK", "application/json", b"[" * 100_000),
    "not utf-8": http("200 OK", "application/json", b'{"status": "\xff\xfe"}'),
    "an unknown status": http("200 OK", "application/json", b'{"status": "resting"}'),
    "half an answer": http("200 OK", "application/json", b"{", 50),
    "an error without a body": http("503 Service Unavailable", "", b""),
    "too many requests": http("429 Too Many Requests", "text/plain", b""),
    "too much": http("200 OK", "application/json", b'"' + b"x" * 200_000 + b'"'),
}


@asynccontextmanager
async def server(answer: bytes, *, stays_silent: bool = False) -> AsyncIterator[str]:
    """A server with one response to every request, or with none."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if stays_silent:
            await reader.read()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


QUICK = limits(
    json_bytes_max=100_000, unreachable_seconds_max=0.1, read_seconds_max=0.3, request_seconds_max=0.5
)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_any_answer_becomes_an_error_of_ours(answer: bytes) -> None:
    asked = drawing()
    async with server(answer) as url, ComfyUI(url, limits=QUICK) as comfyui:
        with pytest.raises(ServerUnavailable):
            await comfyui.draw(asked)
        with pytest.raises(OutcomeUnknown):
            await comfyui.finish(asked)
        for question in (comfyui.find(asked.prompt_id), comfyui.checkpoints()):
            with pytest.raises((OutcomeUnknown, ServerUnavailable)):
                await question
        await comfyui.forget(asked.prompt_id)


async def test_a_silent_server_times_out() -> None:
    async with server(b"", stays_silent=True) as url, ComfyUI(url, limits=QUICK) as comfyui:
        with pytest.raises(ServerUnavailable):
            await comfyui.draw(drawing())
        with pytest.raises(OutcomeUnknown):
            await comfyui.finish(drawing())


async def test_an_answer_without_end_is_cut_off() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b"x" * 300_000
    async with server(endless, stays_silent=True) as url, ComfyUI(url, limits=QUICK) as comfyui:
        with pytest.raises(InferenceError, match="clearly"):
            await comfyui.find(drawing().prompt_id)


async def test_an_unresolvable_host_is_unavailable() -> None:
    async with ComfyUI("http://nowhere.invalid", limits=QUICK) as comfyui:
        with pytest.raises(ServerUnavailable):
            await comfyui.check()
