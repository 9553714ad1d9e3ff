"""Compresses responses to GET with gzip if the client accepts it."""

import asyncio
import re
import zlib
from functools import lru_cache
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

GZIP = b"gzip"
# A shorter response fits into one packet anyway.
BODY_BYTES_MIN = 1_024
# A longer body takes more than about a millisecond and is compressed in a thread.
THREAD_BYTES_MIN = 1 << 16
IN_THREADS_MAX = 4
LEVEL = 4
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
_ACCEPT_CHARACTERS_MAX = 500
# Responses to other methods hold tokens; the length of a compressed secret would leak information (BREACH).
_METHODS = frozenset({"GET", "HEAD"})
_TYPES = re.compile(rb"(application/(json|javascript|.*\+json)|text/(?!event-stream)[a-z.+-]+)\s*(;.*)?")
_WEIGHT = re.compile(r"q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)
_VARY = (b"vary", b"Accept-Encoding")
Headers = list[tuple[bytes, bytes]]


def coding_for(scope: Any) -> bytes:
    """`gzip`, or empty if the response is sent uncompressed."""
    given = [value for name, value in scope["headers"] if name == b"accept-encoding"]
    return GZIP if given and accepts_gzip(b",".join(given).decode("latin-1")) else b""


def accepts_gzip(accepted: str) -> bool:
    return len(accepted) <= _ACCEPT_CHARACTERS_MAX and _accepts_gzip(accepted)


@lru_cache(maxsize=64)
def _accepts_gzip(accepted: str) -> bool:
    """False as well if the client prefers `identity`."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        coding, *parameters = (word.strip() for word in part.split(";"))
        weights[coding] = _weight(parameters)
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0)))
    return gzip > 0 and gzip >= weights.get("identity", 0)


def _weight(parameters: list[str]) -> float:
    """0, not acceptable, if the weight is malformed."""
    if not parameters:
        return 1
    found = _WEIGHT.fullmatch(parameters[0])
    return float(found[1]) if found else 0


def compress_responses(app: ASGIApp, static_path: str | None = None) -> ASGIApp:
    """Streams, pictures and compressed responses pass unchanged; responses below `static_path` are cached."""
    threads = _CompressionThreads()

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] not in _METHODS:
            await app(scope, receive, send)
            return
        await app(scope, receive, _CompressedResponse(send, scope, threads, static_path).send)

    return middleware


class _CompressionThreads:
    """The number of responses that are being compressed in threads."""

    busy = 0


class _CompressedResponse:
    """Holds the start of a response back until the length of its body is known."""

    def __init__(self, send: Send, scope: Any, threads: _CompressionThreads, static_path: str | None) -> None:
        self._send = send
        self._is_static = static_path is not None and scope["path"].startswith(static_path)
        self._is_head = scope["method"] == "HEAD"
        self._is_accepted = bool(coding_for(scope))
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
        if self._is_accepted and not message.get("more_body"):
            if self._is_head:
                start["headers"] = self._head_headers(start["headers"])
            elif len(body) >= BODY_BYTES_MIN and self._may_use_thread(len(body)):
                body = await self._compressed(bytes(body))
                start["headers"] = compressed_headers(start["headers"], len(body))
        await self._send(start)
        message["body"] = body
        await self._send(message)

    def _head_headers(self, headers: Headers) -> Headers:
        """The headers of the GET without `Content-Length`: the compressed length is unknown."""
        length = int(dict(headers).get(b"content-length", b"0"))
        return compressed_headers(headers, None) if length >= BODY_BYTES_MIN else headers

    def _may_use_thread(self, length: int) -> bool:
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
    """A complete success of a media type that compresses well."""
    given = dict(headers)
    if status != 200 or b"content-encoding" in given or b"no-transform" in given.get(b"cache-control", b""):
        return False
    return _TYPES.fullmatch(given.get(b"content-type", b"").lower()) is not None


def compressed_headers(headers: Headers, length: int | None) -> Headers:
    """Compressed bytes differ, so the `ETag` becomes weak."""
    kept = [(n, _weak(v) if n == b"etag" else v) for n, v in headers if n != b"content-length"]
    content_length = [] if length is None else [(b"content-length", b"%d" % length)]
    return [*kept, *content_length, (b"content-encoding", GZIP)]


def _weak(tag: bytes) -> bytes:
    return tag if tag.startswith(b"W/") else b"W/" + tag


def compress_gzip(body: bytes) -> bytes:
    """Without a timestamp, so that equal bodies give equal bytes."""
    return zlib.compress(body, LEVEL, _GZIP_FORMAT)


_compress_static = lru_cache(maxsize=8)(compress_gzip)
