"""Replies to requests that never reach the application, in the envelope of the contract."""

from http import HTTPStatus
from typing import NamedTuple
from uuid import uuid4

import msgspec

from huajuan.http import messages

Headers = list[tuple[bytes, bytes]]
RETRY_AFTER_SECONDS = b"1"


class RequestRefused(Exception):
    """The request is answered by the protocol; `reason` is for the log."""

    def __init__(self, status: int, message: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.message = message
        self.reason = reason

    @property
    def is_for_want_of_place(self) -> bool:
        return self.status == HTTPStatus.SERVICE_UNAVAILABLE


class Refusal(NamedTuple):
    """A whole reply; the connection is closed behind it."""

    status: int
    request_id: str
    content: bytes


def malformed(reason: str) -> RequestRefused:
    return RequestRefused(400, messages.BAD_REQUEST, reason)


def timed_out(reason: str) -> RequestRefused:
    return RequestRefused(408, messages.REQUEST_TIMEOUT, reason)


def line_too_long() -> RequestRefused:
    return RequestRefused(414, messages.REQUEST_LINE_TOO_LONG, "the request line is too long")


def headers_too_large(reason: str) -> RequestRefused:
    return RequestRefused(431, messages.HEADERS_TOO_LARGE, reason)


def too_many_connections() -> RequestRefused:
    return RequestRefused(503, messages.BUSY, "too many connections")


def refusal_of(refused: RequestRefused, default_headers: Headers) -> Refusal:
    request_id = uuid4().hex
    body = msgspec.json.encode({"code": refused.status, "message": refused.message})
    headers = [
        *default_headers,
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    if refused.is_for_want_of_place:
        headers.append((b"retry-after", RETRY_AFTER_SECONDS))
    line = f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}\r\n".encode()
    head = b"".join(b"%b: %b\r\n" % header for header in headers)
    return Refusal(refused.status, request_id, line + head + b"\r\n" + body)
