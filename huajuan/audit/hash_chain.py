"""The hash chain in pages: a row's link is the SHA-256 of the previous link and the row's content."""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self
from uuid import UUID

import psycopg

from huajuan.audit.connection import fetch_one

LINK_BYTES = 32
PAGE_EVENTS = 2_000
LOWEST = -(2**63)
_sha256 = hashlib.sha256
_NUMBERS = struct.Struct(">qi")
_NEXT = """
SELECT min(notification_id) FROM log.huajuan_events WHERE notification_id >= %b AND notification_id <= %b
"""
# A missing link, or one of a wrong length, becomes 32 zero bytes, which match nothing.
_PAGE = """
SELECT string_agg(int8send(position) || int4send(octet_length(content)), ''), string_agg(content || chain, '')
  FROM (SELECT notification_id AS position,
               coalesce(uuid_send(originator_id) || int8send(originator_version)
                        || int4send(octet_length(topic)) || convert_to(topic, 'UTF8')
                        || state, '') AS content,
               CASE octet_length(chain) WHEN 32 THEN chain ELSE decode(repeat('00', 32), 'hex') END AS chain
          FROM log.huajuan_events WHERE notification_id >= %b AND notification_id <= %b
         ORDER BY notification_id LIMIT %b) AS page
"""


class Row(NamedTuple):
    """A row's position, the content that its link is computed from, and its stored link."""

    position: int
    content: bytes
    chain: bytes

    def follows(self, chain: bytes) -> bool:
        return link(chain, self.content) == self.chain


def link(chain: bytes, content: bytes) -> bytes:
    return _sha256(chain + content).digest()


def content_of(stream: UUID, version: int, topic: str, state: bytes) -> bytes:
    """Stream, version (8 bytes), length of the topic (4 bytes), topic, state. Raises `OverflowError`."""
    name = topic.encode()
    return b"".join(
        (stream.bytes, version.to_bytes(8, signed=True), len(name).to_bytes(4, signed=True), name, state)
    )


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in order. `numbers` has position and content length of each row;

    `blob` alternates contents and links.

    So the input of each link, the previous link and the content, is one contiguous slice of `blob`.
    """

    numbers: bytes
    blob: bytes

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Self:
        """A link of a wrong length is replaced by zero bytes."""
        rows = list(rows)
        numbers = b"".join(_NUMBERS.pack(row.position, len(row.content)) for row in rows)
        return cls(numbers, b"".join(part for row in rows for part in (row.content, _link_bytes(row.chain))))

    @property
    def last(self) -> int:
        """The position of the last row."""
        position: int = _NUMBERS.unpack_from(self.numbers, len(self.numbers) - _NUMBERS.size)[0]
        return position

    @property
    def count(self) -> int:
        return len(self.numbers) // _NUMBERS.size

    def rows(self) -> Iterator[Row]:
        at = 0
        for position, length in _NUMBERS.iter_unpack(self.numbers):
            end = at + length
            yield Row(position, self.blob[at:end], self.blob[end : end + LINK_BYTES])
            at = end + LINK_BYTES


def _link_bytes(chain: bytes) -> bytes:
    return chain if len(chain) == LINK_BYTES else bytes(LINK_BYTES)


def follow(page: Page, position: int, chain: bytes) -> tuple[int, bytes]:
    """Position and link of the last row of the page up to which all rows follow from the given link."""
    blob = memoryview(chain + page.blob)
    begin, at = 0, len(chain)
    for found, length in _NUMBERS.iter_unpack(page.numbers):
        end = at + length
        if found != position + 1 or _sha256(blob[begin:end]).digest() != blob[end : end + LINK_BYTES]:
            break
        position, begin, at = found, end, end + LINK_BYTES
    return position, bytes(blob[begin:at])


def position_ranges(
    connection: psycopg.Connection, first: int, last: int, size_max: int
) -> Iterator[tuple[int, int]]:
    """Inclusive ranges of at most `size_max` positions that begin with a stored row; gaps are skipped."""
    while first <= last and (found := fetch_one(connection, _NEXT, first, last)[0]) is not None:
        upto = min(found + size_max - 1, last)
        yield found, upto
        first = upto + 1


def log_pages(connection: psycopg.Connection, last: int, page_events: int = PAGE_EVENTS) -> Iterator[Page]:
    """All rows up to a position, also rows with positions below 1.

    A page is one range of positions plus one row, so that a duplicate position is visible.
    """
    for first, upto in position_ranges(connection, LOWEST, last, page_events):
        numbers, blob = fetch_one(connection, _PAGE, first, upto, page_events + 1)
        yield Page(numbers, blob)
