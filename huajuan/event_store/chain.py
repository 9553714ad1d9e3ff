"""Walks the hash chain and finds the first position at which the log is not what was appended."""

import hashlib
from dataclasses import dataclass

from psycopg import AsyncConnection

_PAGE = """
SELECT notification_id,
       uuid_send(originator_id) || int8send(originator_version) || int4send(octet_length(topic))
       || convert_to(topic, 'UTF8') || state,
       chain
  FROM log.huajuan_events WHERE notification_id > %b ORDER BY notification_id LIMIT %b
"""
PAGE_EVENTS = 5_000


@dataclass(frozen=True)
class Verdict:
    """How far the chain holds. `broken_at` is the first bad position, `None` if there is none."""

    events: int
    head: bytes
    broken_at: int | None = None


async def verify_chain(connection: AsyncConnection, page_events: int = PAGE_EVENTS) -> Verdict:
    """Check every link from the first event on, in bounded memory."""
    position, head = 0, b""
    while rows := await _page(connection, position, page_events):
        for found, content, link in rows:
            expected = hashlib.sha256(head + content).digest()
            if found != position + 1 or link != expected:
                return Verdict(position, head, broken_at=position + 1)
            position, head = found, link
    return Verdict(position, head)


async def _page(connection: AsyncConnection, after: int, events: int) -> list[tuple[int, bytes, bytes]]:
    cursor = await connection.execute(_PAGE, (after, events), prepare=True, binary=True)
    return await cursor.fetchall()
