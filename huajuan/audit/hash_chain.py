"""The hash chain: a row's link is the SHA-256 of the previous link and the row's content.

The kind of damage follows from the rows around the first one that does not follow:

- *missing*: positions are missing, and the row after them does not follow from the row before them.
- *renumbered*: positions are missing, but the links continue across them.
- *swapped*: the chain is intact when two rows, or their contents, are exchanged.
- *inserted*: a later row follows from the row before the inserted ones. *duplicated*: the row has the content
  of the row before it.
- *moved*: the row that belongs at this position is stored at a later one.
- *changed*: the content does not match the row's link, but the next row follows from that link; or only the
  link was changed, and the next row follows from the link of the content.
- *replaced*: none of these; no later row nearby follows.

A chain that was rewritten completely has no break: only a head published before shows it. If it was rewritten
up to a row, the next row is the first that can be shown to be bad.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, Self
from uuid import UUID

import psycopg

from huajuan.audit.connection import fetch_one

Kind = Literal[
    "missing",
    "renumbered",
    "swapped",
    "inserted",
    "duplicated",
    "moved",
    "changed",
    "replaced",
    "truncated",
    "unreadable",
    "gap",
]
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
    """Rows in order: `numbers` has positions and content lengths, `blob` contents and links in turn.

    So the input of each link, the previous link and the content, is one contiguous slice of `blob`.
    """

    numbers: bytes
    blob: bytes

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Self:
        """A link of a wrong length is replaced by zero bytes."""
        rows = list(rows)
        numbers = b"".join(_NUMBERS.pack(row.position, len(row.content)) for row in rows)
        links = (row.chain if len(row.chain) == LINK_BYTES else bytes(LINK_BYTES) for row in rows)
        return cls(numbers, b"".join(row.content + chain for row, chain in zip(rows, links, strict=True)))

    @property
    def count(self) -> int:
        return len(self.numbers) // _NUMBERS.size

    def rows(self) -> Iterator[Row]:
        at = 0
        for position, length in _NUMBERS.iter_unpack(self.numbers):
            end = at + length
            yield Row(position, self.blob[at:end], self.blob[end : end + LINK_BYTES])
            at = end + LINK_BYTES


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


@dataclass(frozen=True)
class Damage:
    """`position` is the first bad one; `says` is a description in one sentence."""

    position: int
    kind: Kind
    says: str


@dataclass(frozen=True)
class ChainBreak:
    """`position`, `chain` and `before` are of the last good row; `rows` begin with the first bad one."""

    position: int
    chain: bytes
    rows: Sequence[Row]
    before: Row | None = None

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def expected(self) -> int:
        return self.position + 1

    @property
    def bad(self) -> int:
        """The position to report. A first row with a position below 1 is reported with its own position."""
        return self.first.position if self.position == 0 and self.first.position < 1 else self.expected


def diagnose_damage(at: ChainBreak) -> Damage:
    """Needs at least one row; with more rows, a swapped or moved row is found further away."""
    for check in _CHECKS:
        if found := check(at):
            return Damage(at.bad, *found)
    return Damage(at.bad, "replaced", "neither its content nor a later row follows from the row before")


Found = tuple[Kind, str] | None


def _swapped_rows(at: ChainBreak) -> Found:
    """Complete rows with their links; in a file the positions may be unchanged."""
    for number, row in enumerate(at.rows[1:], 1):
        if row.follows(at.chain):
            before = row.chain if number == 1 else at.rows[number - 1].chain
            if at.first.follows(before):
                return "swapped", f"it and the row at {at.expected + number} are exchanged"
    return None


def _swapped_contents(at: ChainBreak) -> Found:
    """Contents without their links."""
    for number, (before, row) in enumerate(pairwise(at.rows), 1):
        ours = link(at.chain, row.content) == at.first.chain
        if ours and link(before.chain, at.first.content) == row.chain:
            return "swapped", f"its content and that of {at.expected + number} are exchanged"
    return None


def _repeated(at: ChainBreak) -> Found:
    if at.before is None or at.first.content != at.before.content:
        return None
    return "duplicated", f"its content repeats that of the row at {at.position}"


def _gap(at: ChainBreak) -> Found:
    if at.first.position <= at.expected:
        return None
    last = at.first.position - 1
    if at.first.follows(at.chain):
        skipped = f"positions {at.expected} to {last} are skipped"
        return "renumbered", f"{skipped}, but the links continue: no row is missing"
    return "missing", f"there is no row at positions {at.expected} to {last}"


def _inserted(at: ChainBreak) -> Found:
    for number, row in enumerate(at.rows[1:], 1):
        if row.follows(at.chain):
            return _inserted_or_moved(at, number)
    return None


def _inserted_or_moved(at: ChainBreak, number: int) -> Found:
    """If the row after the following one continues the chain, the rows before were inserted, else moved."""
    later = at.rows[number + 1 : number + 2]
    if later and not later[0].follows(at.rows[number].chain):
        return "moved", f"the row that belongs here is {number} rows further on"
    last = at.rows[number - 1].position
    which = "it does" if number == 1 else f"the rows up to {last} do"
    return "inserted", f"{which} not belong here: the row after follows from the row before"


def _too_low(at: ChainBreak) -> Found:
    if at.first.position >= at.expected:
        return None
    return "inserted", f"a row with position {at.first.position} is stored where {at.expected} is expected"


def _changed(at: ChainBreak) -> Found:
    if len(at.rows) == 1:
        return "changed", "its content does not match its link; no later row shows which of them is wrong"
    after = at.rows[1]
    if after.follows(at.first.chain):
        return "changed", (
            "its content does not match its link, and the next row follows from that link: it was changed, "
            "or rows before it were changed, added or removed and then renumbered and relinked up to here"
        )
    if after.follows(link(at.chain, at.first.content)):
        return "changed", "its link was changed: the next row follows from the link of its content"
    return None


_CHECKS: tuple[Callable[[ChainBreak], Found], ...] = (
    _swapped_rows,
    _swapped_contents,
    _repeated,
    _gap,
    _inserted,
    _too_low,
    _changed,
)
