"""Exports: a part of the log with its hash chain as JSON Lines, which can be verified without a database.

The first line is the header. Each other line is a row: `position`, `stream`, `version`, `topic`, `state` as
stored text, `chain` in hexadecimal. A damaged state that is not UTF-8 is in `state_base64`. A line that
differs in any byte from what an export writes for the same row is damage.
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

from huajuan.audit.connection import AuditError, UnreadableLine, fetch_all
from huajuan.audit.hash_chain import Page, Row, content_of, position_ranges
from huajuan.audit.verify import Chain, Position

PAGE_EVENTS = 2_000
PAGE_BYTES_MAX = 4 << 20
LINE_BYTES_MAX = 8 << 20
# Higher levels take much longer and save little.
GZIP_LEVEL = 6
_ROWS = """
SELECT notification_id, originator_id, originator_version, topic, state, chain
  FROM log.huajuan_events WHERE notification_id >= %b AND notification_id <= %b
 ORDER BY notification_id LIMIT %b
"""
_CHAIN_AT = "SELECT chain FROM log.huajuan_events WHERE notification_id = %b"
_TORN = (EOFError, ZlibError, gzip.BadGzipFile)
Format = Literal["huajuan-export/1"]


class ExportHeader(msgspec.Struct, frozen=True, kw_only=True, rename={"first": "from", "last": "to"}):
    """Positions `first` to `last`, inclusive; `chain` is the link before the first row."""

    format: Format = get_args(Format)[0]
    installation: str
    first: Position
    last: Position
    chain: Chain


class ExportLine(msgspec.Struct, omit_defaults=True):
    """One row, with either `state` or `state_base64`."""

    position: Position
    stream: UUID
    version: int
    topic: str
    state: str | None = None
    state_base64: bytes | None = None
    chain: str = ""


_encode = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(ExportHeader).decode
_decode_line = msgspec.json.Decoder(ExportLine).decode


def open_export(path: str) -> AbstractContextManager[IO[bytes]]:
    """Decompresses if the name ends in `.gz`."""
    return gzip.open(path) if path.endswith(".gz") else Path(path).open("rb")  # type: ignore[return-value]


def compress_if_gz(file: IO[bytes], path: str) -> AbstractContextManager[IO[bytes]]:
    """A file to write to, which compresses into the open `file` if `path` ends in `.gz`."""
    if not path.endswith(".gz"):
        return nullcontext(file)
    return gzip.GzipFile("", "wb", GZIP_LEVEL, file)  # type: ignore[return-value]


def chain_before(connection: psycopg.Connection, first: int) -> bytes:
    """The link of the row before `first`. Raises `AuditError` if there is no such row."""
    if first == 1:
        return b""
    for (chain,) in fetch_all(connection, _CHAIN_AT, first - 1):
        return bytes(chain or b"")
    raise AuditError(f"the log has no event at {first - 1}")


def export_chunks(connection: psycopg.Connection, header: ExportHeader) -> Iterator[tuple[int, bytes]]:
    """The file in chunks of complete lines, each with its last position."""
    yield header.first - 1, _encode(header) + b"\n"
    for first, upto in position_ranges(connection, header.first, header.last, PAGE_EVENTS):
        rows = fetch_all(connection, _ROWS, first, upto, PAGE_EVENTS + 1)
        yield upto, b"".join(_encode(_line(*row)) + b"\n" for row in rows)


def _line(
    position: int, stream: UUID, version: int, topic: str, state: bytes | None, chain: bytes | None
) -> ExportLine:
    """Values that a damaged row lacks are missing in its line too."""
    link = (chain or b"").hex()
    try:
        text = None if state is None else state.decode()
    except UnicodeDecodeError:
        return ExportLine(position, stream, version, topic, None, state, link)
    return ExportLine(position, stream, version, topic, text, None, link)


def read_header(file: IO[bytes], path: str) -> ExportHeader:
    """Raises `AuditError` if the file is not an export."""
    try:
        line = file.readline(LINE_BYTES_MAX)
        header = _decode_header(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, *_TORN):
        raise AuditError(f"{path} is not an export: its first line is not a header") from None
    if line != _encode(header) + b"\n":
        raise AuditError(f"{path} is not an export: its first line is not written as an export writes it")
    if not 1 <= header.first <= header.last + 1:
        raise AuditError(f"{path} is not an export: its header has positions {header.first} to {header.last}")
    return header


def read_pages(file: IO[bytes]) -> Iterator[Page]:
    """The rows after the header. Raises `UnreadableLine` after the last readable row."""
    rows: list[Row] = []
    size, unreadable = 0, None
    try:
        for row in _rows(file):
            rows.append(row)
            size += len(row.content)
            if len(rows) == PAGE_EVENTS or size > PAGE_BYTES_MAX:
                yield Page.of(rows)
                rows, size = [], 0
    except UnreadableLine as error:
        unreadable = error
    if rows:
        yield Page.of(rows)
    if unreadable:
        raise unreadable


def _rows(file: IO[bytes]) -> Iterator[Row]:
    try:
        while line := file.readline(LINE_BYTES_MAX):
            yield _row(line)
    except _TORN:
        raise UnreadableLine("the compressed file is damaged from here on") from None


def _row(line: bytes) -> Row:
    try:
        read = _decode_line(line)
        state = (read.state_base64 or b"") if read.state is None else read.state.encode()
        chain = bytes.fromhex(read.chain)
        content = content_of(read.stream, read.version, read.topic, state)
    except (msgspec.DecodeError, RecursionError, OverflowError, ValueError):
        raise UnreadableLine("the line is not a row of a log") from None
    # Another JSON parser, say one that takes the first of two states, must not read content that was not
    # verified.
    if line != _encode(read) + b"\n" or chain.hex() != read.chain or not _has_canonical_state(read):
        raise UnreadableLine("the line is not written as an export writes it")
    return Row(read.position, content, chain)


def _has_canonical_state(read: ExportLine) -> bool:
    """Text is in `state`, anything else in `state_base64`."""
    if read.state_base64 is None:
        return True
    return read.state is None and _line(0, read.stream, 0, "", read.state_base64, None).state is None
