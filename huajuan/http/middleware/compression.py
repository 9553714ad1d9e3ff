"""Compresses whole replies to GET with gzip when the client asks for it."""

import asyncio
import re
import zlib
from functools import lru_cache
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from huajuan.http.openapi.swagger_ui import PATH as STATIC_PATH

GZIP = b"gzip"
# A shorter reply fits into one packet anyway.
BODY_BYTES_MIN = 1_024
# What takes longer than about a millisecond is done in a thread.
THREAD_BYTES_MIN = 1 << 16
IN_THREADS_MAX = 4
LEVEL = 4
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
_ACCEPT_CHARACTERS_MAX = 500
# Tokens and passwords are in replies to other methods, which are never compressed: their length would tell of them.
_METHODS = frozenset({"GET", "HEAD"})
_TYPES = re.compile(rb"(application/(json|javascript|.*\+json)|text/(?!event-stream)[a-z.+-]+)\s*(;.*)?")
_WEIGHT = re.compile(r"q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)
_VARY = (b"vary", b"Accept-Encoding")
Headers = list[tuple[bytes, bytes]]


def coding_for(scope: Any) -> bytes:
    """`gzip`, or nothing when the reply is to be sent as it is."""
    given = [value for name, value in scope["headers"] if name == b"accept-encoding"]
    return GZIP if given and accepts_gzip(b",".join(given).decode("latin-1")) else b""


def accepts_gzip(accepted: str) -> bool:
    return len(accepted) <= _ACCEPT_CHARACTERS_MAX and _accepts_gzip(accepted)


@lru_cache(maxsize=64)
def _accepts_gzip(accepted: str) -> bool:
    """Also not if the client prefers the reply as it is."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        coding, *parameters = (word.strip() for word in part.split(";"))
        weights[coding] = _weight(parameters)
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0)))
    return gzip > 0 and gzip >= weights.get("identity", 0)


def _weight(parameters: list[str]) -> float:
    """What cannot be read is not acceptable."""
    if not parameters:
        return 1
    found = _WEIGHT.fullmatch(parameters[0])
    return float(found[1]) if found else 0


def compressing(app: ASGIApp) -> ASGIApp:
    """Streams, pictures, and replies that are compressed already, pass through as they are."""
    threads = _Threads()

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] not in _METHODS:
            await app(scope, receive, send)
            return
        await app(scope, receive, _Reply(send, scope, threads).send)

    return enter


class _Threads:
    """How many replies are being compressed in threads."""

    busy = 0


class _Reply:
    """Holds the start of a reply back until it is known how long its body is."""

    def __init__(self, send: Send, scope: Any, threads: _Threads) -> None:
        self._send = send
        self._is_static = scope["path"].startswith(STATIC_PATH)
        self._is_head = scope["method"] == "HEAD"
        self._is_asked_for = bool(coding_for(scope))
        self._threads = threads
        self._start: Any = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            if not is_compressible(message["status"], headers):
                await self._send(message)
                return
            self._start = {**message, "headers": [*headers, _VARY]}
        elif self._start is None:
            await self._send(message)
        else:
            await self._send_whole(message)

    async def _send_whole(self, message: Any) -> None:
        start, self._start = self._start, None
        body = message.get("body", b"")
        if self._is_asked_for and not message.get("more_body"):
            if self._is_head:
                start["headers"] = self._of_head(start["headers"])
            elif len(body) >= BODY_BYTES_MIN and self._has_room(len(body)):
                body = await self._compressed(bytes(body))
                start["headers"] = compressed_headers(start["headers"], len(body))
        await self._send(start)
        message["body"] = body
        await self._send(message)

    def _of_head(self, headers: Headers) -> Headers:
        """As those of the GET. How long its compressed body would be is not known."""
        length = int(dict(headers).get(b"content-length", b"0"))
        return compressed_headers(headers, None) if length >= BODY_BYTES_MIN else headers

    def _has_room(self, length: int) -> bool:
        return length < THREAD_BYTES_MIN or self._threads.busy < IN_THREADS_MAX

    async def _compressed(self, body: bytes) -> bytes:
        compress = _compress_static if self._is_static else compress_gzip
        if len(body) < THREAD_BYTES_MIN:
            return compress(body)
        self._threads.busy += 1
        try:
            return await asyncio.to_thread(compress, body)
        finally:
            self._threads.busy -= 1


def is_compressible(status: int, headers: Headers) -> bool:
    """A whole success of a kind that becomes smaller."""
    given = dict(headers)
    if status != 200 or b"content-encoding" in given or b"no-transform" in given.get(b"cache-control", b""):
        return False
    return _TYPES.fullmatch(given.get(b"content-type", b"").lower()) is not None


def compressed_headers(headers: Headers, length: int | None) -> Headers:
    """An `ETag` of other bytes is a weak one."""
    kept = [(n, _weak(v) if n == b"etag" else v) for n, v in headers if n != b"content-length"]
    told = [] if length is None else [(b"content-length", b"%d" % length)]
    return [*kept, *told, (b"content-encoding", GZIP)]


def _weak(tag: bytes) -> bytes:
    return tag if tag.startswith(b"W/") else b"W/" + tag


def compress_gzip(body: bytes) -> bytes:
    """Without a time in it, so that equal replies stay equal."""
    return zlib.compress(body, LEVEL, _GZIP_FORMAT)


_compress_static = lru_cache(maxsize=8)(compress_gzip)
