"""From a moment to a position: the last event whose time is not after it."""

from datetime import UTC, datetime, timedelta

import psycopg

from huajuan.audit.connection import newest

# Events are in the order of their commits, not quite of their times: a fact may wait for its commit, and the
# clocks of several machines differ, but never by more than this.
CLOCKS_APART_SECONDS_MAX = 300
_CLOCKS_APART = timedelta(seconds=CLOCKS_APART_SECONDS_MAX)
_LATEST = datetime.max.replace(tzinfo=UTC) - _CLOCKS_APART
_TIME = "(convert_from(state, 'UTF8')::json->>'timestamp')::timestamptz"
_NEXT = f"""
SELECT notification_id, {_TIME} FROM log.huajuan_events
 WHERE notification_id >= %b ORDER BY notification_id LIMIT 1
"""  # noqa: S608  our own words
_LAST = f"""
SELECT notification_id FROM log.huajuan_events
 WHERE notification_id <= %b AND {_TIME} <= %b ORDER BY notification_id DESC LIMIT 1
"""  # noqa: S608  our own words


def position_at(connection: psycopg.Connection, moment: datetime) -> int:
    """0 before the first event."""
    certainly_later = _first_after(connection, min(moment, _LATEST) + _CLOCKS_APART)
    found = connection.execute(_LAST.encode(), (certainly_later, moment), binary=True).fetchone()
    return int(found[0]) if found else 0


def _first_after(connection: psycopg.Connection, moment: datetime) -> int:
    """A position behind which every event is later than the moment, but for clocks that differ."""
    low, high = 1, newest(connection)[0]
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(_NEXT.encode(), (middle,), prepare=True, binary=True).fetchone()
        if row is None or row[1] > moment:
            high = middle
        else:
            low = row[0] + 1
    return high
