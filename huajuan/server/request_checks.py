"""Requests that the protocol itself rejects, in the JSON format of the API, and the checks that find them."""

import enum
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import uuid4

import httptools
import msgspec

from huajuan.http import messages
from huajuan.server.connections import HttpLimits

Headers = list[tuple[bytes, bytes]]
RETRY_AFTER_SECONDS = b"1"
# Method, version and white space of a request line.
REQUEST_LINE_EXTRA_BYTES = 64
# Chunk sizes, extensions and trailers of a chunked body, for each byte of content.
FRAMING_PER_BYTE = 16
# Colon, space and line end.
HEADER_EXTRA_BYTES = 4
_MESSAGES = {
    400: messages.BAD_REQUEST,
    408: messages.REQUEST_TIMEOUT,
    414: messages.REQUEST_LINE_TOO_LONG,
    431: messages.HEADERS_TOO_LARGE,
    503: messages.BUSY,
}
_VERSIONS = frozenset({"1.0", "1.1"})
_SCHEMES = frozenset({b"http", b"https"})


class RequestRejected(Exception):
    """The protocol itself answers the request; `reason` is for the log."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    @property
    def is_overload(self) -> bool:
        return self.status == HTTPStatus.SERVICE_UNAVAILABLE


class RejectionReply(NamedTuple):
    """The bytes of a complete reply; the connection is closed after it."""

    request_id: str
    content: bytes


def rejection_reply(rejection: RequestRejected, default_headers: Headers) -> RejectionReply:
    status, request_id = rejection.status, uuid4().hex
    body = msgspec.json.encode({"code": status, "message": _MESSAGES[status]})
    headers = [
        *default_headers,
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    if rejection.is_overload:
        headers.append((b"retry-after", RETRY_AFTER_SECONDS))
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    return RejectionReply(request_id, line + _lines(headers) + b"\r\n" + body)


def _lines(headers: Headers) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


class Reading(enum.Enum):
    """The part of a request that is expected next."""

    START = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


# Access through the class is slower.
START, HEAD, BODY = Reading


class RequestBytes:
    """Counts bytes that the parser buffers or skips without a callback; exact to within one slice.

    `body` is the number of content bytes so far.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self.body = 0
        self._max = limits.header_bytes_max
        self._head = self._slice = 0
        self._fed = self._run = 0
        self._has_content = self._has_ended = False

    def begin_slice(self, count: int) -> None:
        self._slice = count
        self._has_content = self._has_ended = False

    def begin_head(self) -> None:
        self._head = 0

    def begin_body(self) -> None:
        self.body = self._fed = self._run = 0

    def add_content(self, count: int) -> None:
        self._has_content = True
        self.body += count

    def end_message(self) -> None:
        """The rest of the slice is not counted, because the end's offset in the slice is not known."""
        self._has_ended = True
        self._head = 0

    def end_slice(self, began_in: Reading, ends_in: Reading, url_bytes: int) -> None:
        """Raises `RequestRejected`."""
        if self._has_ended:
            return
        if ends_in is not BODY:
            self._head += self._slice
            if self._head - url_bytes - REQUEST_LINE_EXTRA_BYTES > self._max:
                raise RequestRejected(431, "the request head does not end")
        elif began_in is BODY:
            self._check_framing()

    def check_headers(self, headers: Headers) -> None:
        """For a complete head. Raises `RequestRejected`."""
        if self._head + self._slice <= self._max:
            return
        if sum(len(name) + len(value) + HEADER_EXTRA_BYTES for name, value in headers) > self._max:
            raise RequestRejected(431, "the headers are too large")

    def _check_framing(self) -> None:
        self._fed += self._slice
        self._run = 0 if self._has_content else self._run + self._slice
        if self._run > self._max or self._fed - self.body > self._max + FRAMING_PER_BYTE * self.body:
            raise RequestRejected(431, "chunk extensions or trailers do not end")


def check_head(method: bytes, version: str, headers: Headers) -> None:
    """Raises `RequestRejected` for a head that proxies could read differently, or that is not HTTP/1."""
    if version not in _VERSIONS:
        raise RequestRejected(400, "HTTP version")
    if method == b"CONNECT":
        raise RequestRejected(400, "CONNECT")
    names = [name for name, _ in headers]
    if names.count(b"host") > 1:
        raise RequestRejected(400, "two Host headers")
    if b"transfer-encoding" in names and not _is_chunked(version, headers):
        raise RequestRejected(400, "Transfer-Encoding")


def _is_chunked(version: str, headers: Headers) -> bool:
    return version != "1.0" and dict(headers)[b"transfer-encoding"].lower() == b"chunked"


def origin_form(url: bytes, method: bytes) -> bytes:
    """Path and query of an absolute URL, as clients send it to a proxy. Raises `RequestRejected`."""
    if url == b"*" and method == b"OPTIONS":
        return url
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise RequestRejected(400, "request target") from None
    # Each part may be None, whatever its type says.
    if (parsed.schema or b"").lower() not in _SCHEMES:
        raise RequestRejected(400, "request target")
    path = parsed.path or b"/"
    return b"%b?%b" % (path, parsed.query) if parsed.query else path


def without_upgrade(method: bytes, url: bytes, headers: Headers) -> bytes:
    """The head without its `Upgrade` header."""
    kept = [header for header in headers if header[0] != b"upgrade"]
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, url, _lines(kept))


def rejection_of(error: httptools.HttpParserError) -> RequestRejected:
    """The rejection that a callback raised (the error's context), or a reply to a malformed request."""
    cause = error.__context__
    if isinstance(cause, RequestRejected):
        return cause
    return RequestRejected(400, str(error) if cause is None else type(cause).__name__)


def new_parser(protocol: Any) -> httptools.HttpRequestParser:
    """With the same leniency as uvicorn's own parser."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
