"""The links of the chain: rows of the log, a page at a time, and how far they follow from one another."""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self
from uuid import UUID

LINK_BYTES = 32
_sha256 = hashlib.sha256
_NUMBERS = struct.Struct(">qi")


class Row(NamedTuple):
    """One row: what its link was made from, but for the link before, and the link that is stored."""

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
    """Rows in their order: `numbers` has the position and the content's length of each, `blob` their contents
    and links by turns.

    So what a link was made from, the link before and the content, stands in one piece.
    """

    numbers: bytes
    blob: bytes

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Self:
        """A link that has not the length of one becomes one that fits nothing."""
        kept = list(rows)
        numbers = b"".join(_NUMBERS.pack(row.position, len(row.content)) for row in kept)
        return cls(numbers, b"".join(part for row in kept for part in (row.content, _fixed(row.chain))))

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


def _fixed(chain: bytes) -> bytes:
    return chain if len(chain) == LINK_BYTES else bytes(LINK_BYTES)


def follow(page: Page, position: int, chain: bytes) -> tuple[int, bytes]:
    """How far the page's rows follow from this link: the position and link of the last one that does."""
    blob = memoryview(chain + page.blob)
    begin, at = 0, len(chain)
    for found, length in _NUMBERS.iter_unpack(page.numbers):
        end = at + length
        if found != position + 1 or _sha256(blob[begin:end]).digest() != blob[end : end + LINK_BYTES]:
            break
        position, begin, at = found, end, end + LINK_BYTES
    return position, bytes(blob[begin:at])
