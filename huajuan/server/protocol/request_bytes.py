"""Counts the bytes of a request that the parser keeps or skips without a callback."""

import enum

from huajuan.http.limits import HttpLimits
from huajuan.server.protocol.replies import headers_too_large

# Method, version and white space of a request line.
BESIDE_URL_BYTES = 64
# Of a chunked body: chunk sizes, extensions and trailers, for each byte of content.
FRAMING_PER_BYTE = 16
# Colon, space and line end.
BESIDE_HEADER_BYTES = 4


class Reading(enum.Enum):
    """The part of a request that is expected next."""

    START = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


# Looking up a member by its class takes longer.
START, HEAD, BODY = Reading


class RequestBytes:
    """Bytes come in slices, and what is counted is exact to within one slice. `body` is the content so far."""

    def __init__(self, limits: HttpLimits) -> None:
        self.body = 0
        self._most = limits.header_bytes_max
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
        """Where in the slice it ended is not known, so the rest of the slice counts for nothing."""
        self._has_ended = True
        self._head = 0

    def end_slice(self, began_in: Reading, ends_in: Reading, url_bytes: int) -> None:
        """Raises `RequestRefused`."""
        if self._has_ended:
            return
        if ends_in is not BODY:
            self._head += self._slice
            if self._head - url_bytes - BESIDE_URL_BYTES > self._most:
                raise headers_too_large("the request head does not end")
        elif began_in is BODY:
            self._check_framing()

    def check_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Of a complete head. Raises `RequestRefused`."""
        if self._head + self._slice <= self._most:
            return
        if sum(len(name) + len(value) + BESIDE_HEADER_BYTES for name, value in headers) > self._most:
            raise headers_too_large("the headers are too large")

    def _check_framing(self) -> None:
        self._fed += self._slice
        self._run = 0 if self._has_content else self._run + self._slice
        if self._run > self._most or self._fed - self.body > self._most + FRAMING_PER_BYTE * self.body:
            raise headers_too_large("chunk extensions or trailers do not end")
