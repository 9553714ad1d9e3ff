"""Ranges of positions with rows in them: a page is all of its range, so that a position given twice is seen."""

from collections.abc import Iterator

import psycopg

from huajuan.audit.connection import one

_NEXT = "SELECT min(notification_id) FROM log.huajuan_events WHERE notification_id >= %b AND notification_id <= %b"


def ranges(
    connection: psycopg.Connection, first: int, last: int, positions: int
) -> Iterator[tuple[int, int]]:
    """Each has at most so many positions, both ends included, and begins with a row, across whatever gap."""
    while first <= last and (found := one(connection, _NEXT, first, last)[0]) is not None:
        upto = min(found + positions - 1, last)
        yield found, upto
        first = upto + 1
