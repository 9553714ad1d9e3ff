"""Replies to requests that do not reach the application, in the JSON format of the API."""

from http import HTTPStatus
from typing import NamedTuple
from uuid import uuid4

import msgspec

from huajuan.http import messages

Headers = list[tuple[bytes, bytes]]
RETRY_AFTER_SECONDS = b"1"


class RequestRejected(Exception):
    """The protocol itself answers the request; `reason` is for the log."""

    def __init__(self, status: int, message: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.message = message
        self.reason = reason

    @property
    def is_overload(self) -> bool:
        return self.status == HTTPStatus.SERVICE_UNAVAILABLE


class RejectionReply(NamedTuple):
    """The bytes of a complete reply; the connection is closed after it."""

    status: int
    request_id: str
    content: bytes


def malformed(reason: str) -> RequestRejected:
    return RequestRejected(400, messages.BAD_REQUEST, reason)


def timed_out(reason: str) -> RequestRejected:
    return RequestRejected(408, messages.REQUEST_TIMEOUT, reason)


def line_too_long() -> RequestRejected:
    return RequestRejected(414, messages.REQUEST_LINE_TOO_LONG, "the request line is too long")


def headers_too_large(reason: str) -> RequestRejected:
    return RequestRejected(431, messages.HEADERS_TOO_LARGE, reason)


def too_many_connections() -> RequestRejected:
    return RequestRejected(503, messages.BUSY, "too many connections")


def rejection_reply(rejection: RequestRejected, default_headers: Headers) -> RejectionReply:
    request_id = uuid4().hex
    body = msgspec.json.encode({"code": rejection.status, "message": rejection.message})
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
    line = f"HTTP/1.1 {rejection.status} {HTTPStatus(rejection.status).phrase}\r\n".encode()
    head = b"".join(b"%b: %b\r\n" % header for header in headers)
    return RejectionReply(rejection.status, request_id, line + head + b"\r\n" + body)
