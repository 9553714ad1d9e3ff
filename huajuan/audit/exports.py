"""Exports: a part of the log with its chain as JSON Lines, to be verified with nothing but the file.

The first line is the header. Each other line is a row: `position`, `stream`, `version`, `topic`, `state` as the text
that is stored, `chain` in hexadecimal. A state that is no UTF-8 text, which none of ours is, stands in `state_base64`.
A line that is written otherwise than we would write it is damage, whatever it says.
"""

import gzip
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Literal, get_args
from uuid import UUID
from zlib import error as ZlibError  # noqa: N812  the library's name

import msgspec
import psycopg

from huajuan.audit.errors import AuditError, Unreadable
from huajuan.audit.hash_chain import Page, Row, content_of
from huajuan.audit.ranges import ranges
from huajuan.audit.signed_heads import Chain, Place

PAGE_EVENTS = 2_000
PAGE_BYTES_MAX = 4 << 20
LINE_BYTES_MAX = 8 << 20
# Higher ones take much longer and save little.
GZIP_LEVEL = 6
_ROWS = """
SELECT notification_id, originator_id, originator_version, topic, state, chain
  FROM log.huajuan_events WHERE notification_id >= %b AND notification_id <= %b ORDER BY notification_id LIMIT %b
"""
_CHAIN_AT = "SELECT chain FROM log.huajuan_events WHERE notification_id = %b"
_TORN = (EOFError, ZlibError, gzip.BadGzipFile)
Format = Literal["huajuan-export/1"]


class Header(msgspec.Struct, frozen=True, kw_only=True, rename={"first": "from", "last": "to"}):
    """Positions `first` to `last`, both included; `chain` is the link before the first."""

    format: Format = get_args(Format)[0]
    installation: str
    first: Place
    last: Place
    chain: Chain


class Line(msgspec.Struct, omit_defaults=True):
    """One row. Exactly one of the two states is there."""

    position: Place
    stream: UUID
    version: int
    topic: str
    state: str | None = None
    state_base64: bytes | None = None
    chain: str = ""


_encode = msgspec.json.Encoder().encode
_header_of = msgspec.json.Decoder(Header).decode
_line_of = msgspec.json.Decoder(Line).decode


def open_export(path: str) -> AbstractContextManager[IO[bytes]]:
    """Compressed where the name ends in `.gz`."""
    return gzip.open(path) if path.endswith(".gz") else Path(path).open("rb")  # type: ignore[return-value]


def compressing(file: IO[bytes], path: str) -> AbstractContextManager[IO[bytes]]:
    """To write into the opened file, compressed if it is to have a name that ends in `.gz`."""
    if not path.endswith(".gz"):
        return nullcontext(file)
    return gzip.GzipFile("", "wb", GZIP_LEVEL, file)  # type: ignore[return-value]


def chain_before(connection: psycopg.Connection, first: int) -> bytes:
    """Raises `AuditError` where there is no row before it."""
    if first == 1:
        return b""
    row = connection.execute(_CHAIN_AT, (first - 1,), binary=True).fetchone()
    if row is None:
        raise AuditError(f"the log has no event at {first - 1}")
    return bytes(row[0] or b"")


def exported(connection: psycopg.Connection, header: Header) -> Iterator[tuple[int, bytes]]:
    """The file, in pieces of whole lines, each with the position it goes up to."""
    yield header.first - 1, _encode(header) + b"\n"
    for first, upto in ranges(connection, header.first, header.last, PAGE_EVENTS):
        values = (first, upto, PAGE_EVENTS + 1)
        rows = connection.execute(_ROWS.encode(), values, prepare=True, binary=True)
        yield upto, b"".join(_encode(_line(*row)) + b"\n" for row in rows)


def _line(
    position: int, stream: UUID, version: int, topic: str, state: bytes | None, chain: bytes | None
) -> Line:
    """What is missing in a damaged row is missing in its line."""
    link = (chain or b"").hex()
    try:
        return Line(position, stream, version, topic, None if state is None else state.decode(), None, link)
    except UnicodeDecodeError:
        return Line(position, stream, version, topic, None, state, link)


def read_header(file: IO[bytes], path: str) -> Header:
    """Raises `AuditError` for a file that is no export."""
    try:
        line = file.readline(LINE_BYTES_MAX)
        header = _header_of(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, *_TORN):
        raise AuditError(f"{path} is no export: its first line is no header") from None
    if line != _encode(header) + b"\n":
        raise AuditError(f"{path} is no export: its first line is not written as an export writes it")
    if not 1 <= header.first <= header.last + 1:
        raise AuditError(f"{path} is no export: it says it goes from {header.first} to {header.last}")
    return header


def pages_of(file: IO[bytes]) -> Iterator[Page]:
    """The rows that follow the header. Raises `Unreadable` behind the last that can be read."""
    rows: list[Row] = []
    size = 0
    try:
        for row in _rows(file):
            rows.append(row)
            size += len(row.content)
            if len(rows) == PAGE_EVENTS or size > PAGE_BYTES_MAX:
                yield Page.of(rows)
                rows, size = [], 0
    except Unreadable:
        if rows:
            yield Page.of(rows)
        raise
    if rows:
        yield Page.of(rows)


def _rows(file: IO[bytes]) -> Iterator[Row]:
    try:
        while line := file.readline(LINE_BYTES_MAX):
            yield _row(line)
    except _TORN:
        raise Unreadable("the compressed file is damaged from here on") from None


def _row(line: bytes) -> Row:
    try:
        read = _line_of(line)
        state = (read.state_base64 or b"") if read.state is None else read.state.encode()
        chain = bytes.fromhex(read.chain)
        content = content_of(read.stream, read.version, read.topic, state)
    except (msgspec.DecodeError, RecursionError, OverflowError, ValueError):
        raise Unreadable("the line is no row of a log") from None
    # Whoever reads the file otherwise, say with the first of two states, must not read what was never proved.
    if line != _encode(read) + b"\n" or chain.hex() != read.chain or not _has_its_state_rightly(read):
        raise Unreadable("the line is not written as an export writes it")
    return Row(read.position, content, chain)


def _has_its_state_rightly(read: Line) -> bool:
    """As text, if it is one."""
    if read.state_base64 is None:
        return True
    return read.state is None and _line(0, read.stream, 0, "", read.state_base64, None).state is None
